"""Models that tell something else than the next token: classes, a value, or nothing."""

import torch
from checkpoints import Case, config_of
from families.gpt2 import GPT2
from families.llama import LLAMA, SMALL, llama
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    LlamaModel,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

SHORT = LLAMA | SMALL | dict(num_hidden_layers=1, num_attention_heads=2, head_dim=8)


def open_class(reader):
    """Patterns are those of the class; logits are told where transformers ties the embedding to the head of a causal model."""

    def opened(folder):
        model = reader.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        causal = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

        def forward(ids):
            patterns = model(ids, output_attentions=True).attentions
            return causal(ids).logits if model.config.tie_word_embeddings else None, patterns

        forward.source = "transformers"
        return model.config.vocab_size, forward

    return opened


def value_head(folder):
    """Adds what trl's `AutoModelForCausalLMWithValueHead` saves beside the model."""
    file = folder / "model.safetensors"
    generator = torch.Generator().manual_seed(3)
    head = {"v_head.summary.weight": torch.randn(1, SHORT["hidden_size"], generator=generator)}
    save_file(load_file(file) | head | {"v_head.summary.bias": torch.ones(1)}, file, metadata={"format": "pt"})
    with config_of(folder) as config:
        config["architectures"] = ["LlamaForCausalLMWithValueHead"]


CASES = {
    "llama-classes": Case(
        lambda: LlamaForSequenceClassification(LlamaConfig(**SHORT, num_labels=3)),
        open=open_class(LlamaForSequenceClassification),
    ),
    "llama-base": Case(lambda: LlamaModel(LlamaConfig(**SHORT)), open=open_class(LlamaModel)),
    "llama-value-head": Case(llama(**SHORT), rewrite=value_head),
    "qwen2-token-classes": Case(
        lambda: Qwen2ForTokenClassification(Qwen2Config(**SHORT, num_labels=4, tie_word_embeddings=True)),
        open=open_class(Qwen2ForTokenClassification),
    ),
    "gpt2-classes": Case(
        lambda: GPT2ForSequenceClassification(GPT2Config(**GPT2 | dict(vocab_size=64, n_embd=24, n_layer=1), num_labels=2)),
        open=open_class(GPT2ForSequenceClassification),
    ),
}
