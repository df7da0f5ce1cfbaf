"""Qwen 2, Qwen 3 and Qwen 3 with experts: biases, norms of queries and keys, windows in some layers, experts in some."""

import torch
from checkpoints import Case, config_of, older_keys, stacked_experts, without
from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

QWEN = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
)
WINDOWS = dict(use_sliding_window=True, sliding_window=4, num_hidden_layers=3)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, head_dim=10)


def qwen2(**options):
    return lambda: Qwen2ForCausalLM(Qwen2Config(**QWEN | options))


def qwen3(**options):
    return lambda: Qwen3ForCausalLM(Qwen3Config(**QWEN | dict(head_dim=10) | options))


def qwen3_moe(**options):
    return lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**QWEN | EXPERTS | options))


def half(build):
    return lambda: build().to(torch.bfloat16)


def older(folder):
    """The keys of releases before 5, without those that later ones added."""
    older_keys(folder)
    with config_of(folder) as config:
        config.pop("layer_types", None)
        if "num_local_experts" in config:
            config |= {"num_experts": config.pop("num_local_experts"), "max_window_layers": 1}


def as_many_keys(folder):
    """Null is another thing than no key, by which there are 32; and a window that is there need not be used."""
    older(folder)
    with config_of(folder) as config:
        config |= {"num_key_value_heads": None, "sliding_window": 4}


CASES = {
    "qwen2": Case(half(qwen2(**WINDOWS, max_window_layers=1)), rewrite=older),
    "qwen2-kinds": Case(
        qwen2(
            **WINDOWS,
            num_attention_heads=4,
            num_key_value_heads=2,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            tie_word_embeddings=True,
        ),
        stored=False,
    ),
    "qwen2-without-window": Case(
        qwen2(
            num_key_value_heads=3,
            max_window_layers=0,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 1e6,
                "factor": 4.0,
                "original_max_position_embeddings": 12,
            },
        ),
        rewrite=as_many_keys,
        stored=False,
    ),
    "qwen3": Case(half(qwen3(**WINDOWS, max_window_layers=2))),
    "qwen3-biased": Case(qwen3(attention_bias=True, tie_word_embeddings=True), rewrite=older, stored=False),
    "qwen3-default": Case(
        qwen3(num_attention_heads=2, head_dim=128), rewrite=without("head_dim", "layer_types"), stored=False
    ),
    "qwen3_moe": Case(half(qwen3_moe(num_hidden_layers=3, mlp_only_layers=[1]))),
    "qwen3_moe-renormalised": Case(
        qwen3_moe(
            num_hidden_layers=4,
            num_experts=5,
            num_experts_per_tok=3,
            norm_topk_prob=True,
            decoder_sparse_step=2,
            use_sliding_window=True,
            sliding_window=4,
            attention_bias=True,
        ),
        rewrite=older,
        stored=False,
    ),
    "qwen3_moe-stacked": Case(
        qwen3_moe(num_hidden_layers=3, mlp_only_layers=[0]), rewrite=stacked_experts, stored=False
    ),
}
