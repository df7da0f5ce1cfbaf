"""Tiny random checkpoints with the tensors that `transformers` computes from them.

Every parameter is random (gains and biases too), with scales that keep attention far from uniform. The reference is read
back from the saved folder, so it is the reference of what is on disk: float32, eager attention, on the CPU.
"""

import json

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from texts import SENTENCES

LLAMA = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)
GPT2 = dict(vocab_size=96, n_positions=32, n_embd=36, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)

# name: (model, length of the sequence, options of save_pretrained)
CASES = {
    "llama-gqa": (lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)), 14, dict(max_shard_size="60KB")),
    "llama-tied-mqa": (
        lambda: LlamaForCausalLM(
            LlamaConfig(
                **LLAMA
                | dict(
                    hidden_size=36,
                    num_attention_heads=3,
                    num_key_value_heads=1,
                    head_dim=16,
                    num_hidden_layers=3,
                    tie_word_embeddings=True,
                    attention_bias=True,
                    mlp_bias=True,
                    rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
                )
            )
        ),
        12,
        {},
    ),
    "llama3-rope": (
        lambda: LlamaForCausalLM(
            LlamaConfig(
                **LLAMA
                | dict(
                    head_dim=16,
                    rope_parameters={
                        "rope_type": "llama3",
                        "rope_theta": 10000.0,
                        "factor": 8.0,
                        "low_freq_factor": 1.0,
                        "high_freq_factor": 4.0,
                        "original_max_position_embeddings": 16,
                    },
                )
            )
        ),
        16,
        {},
    ),
    "llama-linear": (
        lambda: LlamaForCausalLM(
            LlamaConfig(
                **LLAMA | dict(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})
            )
        ).to(torch.bfloat16),
        13,
        {},
    ),
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(**GPT2 | dict(vocab_size=320))), 15, {}),
    "gpt2-inverse": (
        lambda: GPT2LMHeadModel(
            GPT2Config(
                **GPT2
                | dict(
                    n_layer=3,
                    n_inner=50,
                    activation_function="gelu",
                    scale_attn_by_inverse_layer_idx=True,
                    tie_word_embeddings=False,
                )
            )
        ),
        12,
        {},
    ),
}


def older_keys(folder):
    """Rewrites the config as releases before 5 wrote it: `rope_theta` and `rope_scaling` in place of `rope_parameters`."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    rope = config.pop("rope_parameters")
    config |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope, "torch_dtype": config.pop("dtype")}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


@torch.no_grad()
def randomise(model, seed):
    """Draws every parameter: gains around one, biases around zero, matrices wide enough for peaked attention."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_((0.5 if "wte" in name or "embed" in name else 0.28) * noise)
        elif name.endswith("bias"):
            parameter.copy_(0.3 * noise)
        else:
            parameter.copy_(1.0 + 0.3 * noise)


@torch.no_grad()
def reference(folder, length, seed):
    """Runs the saved model in float32: `ids` [T], `logits` [T, vocab], `pattern.L` [heads, T, T]."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, model.config.vocab_size, (1, length), generator=generator)
    # A repeat, so that heads that look for one have something to find.
    ids[0, length // 2 : length // 2 + 4] = ids[0, 1:5]
    out = model(ids, output_attentions=True)
    tensors = {"ids": ids[0], "logits": out.logits[0]}
    tensors |= {f"pattern.{layer}": pattern[0] for layer, pattern in enumerate(out.attentions)}
    assert all(pattern.dtype == torch.float32 for pattern in out.attentions)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    # One entry: the order of several would change from run to run.
    source = {"source": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    save_file(tensors, folder / "reference.safetensors", metadata=source)
    rows = torch.stack([pattern[:, -1].max(-1).values for pattern in (p[0] for p in out.attentions)])
    print(f"{folder.name:16} largest attention of the last row, mean over heads: {rows.mean():.2f}")


def tokenizer(vocab_size):
    """A byte-level BPE tokenizer whose post-processor adds no BOS."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator(SENTENCES, trainer)
    assert tok.get_vocab_size() == vocab_size
    return tok


def write(root):
    """Writes every case below `root`."""
    transformers.utils.logging.disable_progress_bar()
    for seed, (name, (build, length, options)) in enumerate(CASES.items()):
        folder = root / name
        model = build()
        randomise(model, seed)
        model.save_pretrained(folder, **options)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name == "llama3-rope":
            older_keys(folder)
        reference(folder, length, seed)
    tokenizer(320).save(str(root / "gpt2" / "tokenizer.json"))
