"""BLOOM: head counts that are and are not powers of two, in the spelling of its first configurations too."""

import json

import torch
from checkpoints import Case
from transformers import BloomConfig, BloomForCausalLM

BLOOM = dict(vocab_size=72, hidden_size=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)


def bloom(**options):
    return lambda: BloomForCausalLM(BloomConfig(**BLOOM | options))


def first_keys(folder):
    """Rewrites the config as the first releases of BLOOM have it."""
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config |= {"n_embed": config.pop("hidden_size"), "num_attention_heads": config.pop("n_head")}
    config |= {"offset_alibi": 100, "attention_softmax_in_fp32": True, "masked_softmax_fusion": True, "n_inner": None}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


CASES = {
    "bloom": Case(lambda: bloom()().to(torch.bfloat16), rewrite=first_keys, spread=0.35),
    "bloom-7-heads": Case(
        bloom(hidden_size=28, n_head=7, n_layer=1, tie_word_embeddings=False), stored=False, spread=0.5
    ),
    "bloom-8-heads": Case(bloom(hidden_size=32, n_head=8, n_layer=1), stored=False, spread=0.5),
}
