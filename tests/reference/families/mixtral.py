"""Mixtral: experts one by one and in stacks, with and without a window."""

import torch
from checkpoints import Case, older_keys, stacked_experts, without
from transformers import MixtralConfig, MixtralForCausalLM

MIXTRAL = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
    num_local_experts=4,
    num_experts_per_tok=2,
)


def mixtral(**options):
    return lambda: MixtralForCausalLM(MixtralConfig(**MIXTRAL | options))


CASES = {
    "mixtral": Case(lambda: mixtral(sliding_window=5)().to(torch.bfloat16), rewrite=older_keys),
    "mixtral-stacked": Case(
        mixtral(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_local_experts=3),
        rewrite=stacked_experts,
        stored=False,
    ),
    "mixtral-of-one": Case(
        mixtral(num_experts_per_tok=1, head_dim=10, tie_word_embeddings=True),
        rewrite=without("rms_norm_eps", "rope_parameters"),
        stored=False,
    ),
}
