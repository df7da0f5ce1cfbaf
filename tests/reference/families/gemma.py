"""Gemma 1 to 3: wide heads, caps, windows, norms on both sides, two rotations, a model of images beside."""

import json

import torch
from checkpoints import Case, older_keys, without_kinds
from safetensors.torch import load_file, save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
)

GEMMA = dict(
    vocab_size=72,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    head_dim=12,
    max_position_embeddings=64,
)
LINEAR = {
    "full_attention": dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
    "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
}
# Six layers, the sixth of which sees everything.
GEMMA3 = GEMMA | dict(hidden_size=16, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2, head_dim=8)
GEMMA3 |= dict(sliding_window=5, query_pre_attn_scalar=10, rope_parameters=LINEAR)


def gemma(**options):
    return lambda: GemmaForCausalLM(GemmaConfig(**GEMMA | options))


def gemma2(**options):
    options = dict(num_hidden_layers=3, sliding_window=4, query_pre_attn_scalar=7, num_attention_heads=2) | options
    return lambda: Gemma2ForCausalLM(Gemma2Config(**GEMMA | options)).to(torch.bfloat16)


def gemma3(**options):
    return lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA3 | options)).to(torch.bfloat16)


def gemma3_with_images():
    vision = dict(
        model_type="siglip_vision_model",
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        image_size=8,
        patch_size=4,
    )
    text = Gemma3TextConfig(**GEMMA3 | dict(num_hidden_layers=2))
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=70)
    return Gemma3ForConditionalGeneration(config)


def gelu(folder):
    """The name that the first releases had for the approximation."""
    change(folder, lambda config: config | {"hidden_act": "gelu"})


def pattern(folder):
    """Keys before `layer_types`, in the text's configuration where there is one."""

    def older(config):
        text = config.get("text_config", config)
        rope = text.pop("rope_parameters")
        full = rope["full_attention"]
        text |= {"rope_theta": full.pop("rope_theta"), "rope_scaling": full}
        text |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"], "sliding_window_pattern": 6}
        del text["layer_types"]
        return config

    change(folder, older)


def newer_names(folder):
    """As releases since 4.52 name tensors, and not as they write them."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    assert any(name.startswith("language_model.model.") for name in tensors)

    def newer(name):
        first, _, rest = name.partition(".")
        return f"model.language_model.{rest.removeprefix('model.')}" if first == "language_model" else f"model.{name}"

    save_file({newer(name): tensor for name, tensor in tensors.items()}, file, metadata={"format": "pt"})


def change(folder, edit):
    file = folder / "config.json"
    file.write_text(json.dumps(edit(json.loads(file.read_text())), indent=2, sort_keys=True) + "\n")


CASES = {
    "gemma": Case(gemma(), spread=0.22, stored=False),
    "gemma-gelu": Case(
        gemma(num_key_value_heads=3, attention_bias=True, tie_word_embeddings=False), stored=False, rewrite=gelu
    ),
    "gemma-older": Case(gemma(), stored=False, rewrite=older_keys),
    "gemma2": Case(gemma2(), length=12),
    "gemma2-uncapped": Case(
        gemma2(attn_logit_softcapping=None, final_logit_softcapping=None, num_key_value_heads=2, attention_bias=True),
        stored=False,
        rewrite=without_kinds,
    ),
    "gemma2-capped": Case(gemma2(attn_logit_softcapping=1.5, final_logit_softcapping=2.0), stored=False),
    "gemma3": Case(
        gemma3(num_hidden_layers=3, layer_types=["full_attention", "sliding_attention", "full_attention"]), length=12
    ),
    "gemma3-pattern": Case(gemma3(), stored=False),
    "gemma3-older": Case(gemma3(), stored=False, rewrite=pattern),
    "gemma3-mqa": Case(
        gemma3(num_key_value_heads=1, attention_bias=True, final_logit_softcapping=3.0, tie_word_embeddings=False),
        stored=False,
    ),
    "gemma3-images": Case(gemma3_with_images, stored=False, rewrite=pattern),
    "gemma3-images-newer": Case(gemma3_with_images, stored=False, rewrite=newer_names),
}
