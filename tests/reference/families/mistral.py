"""Mistral: a window shorter than the prompt and none, heads wider than the width divided by them."""

import torch
from checkpoints import Case, older_keys
from transformers import MistralConfig, MistralForCausalLM

MISTRAL = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
    sliding_window=5,
)


def mistral(**options):
    return lambda: MistralForCausalLM(MistralConfig(**MISTRAL | options))


CASES = {
    "mistral": Case(lambda: mistral(head_dim=10)().to(torch.bfloat16), rewrite=older_keys),
    "mistral-without-window": Case(
        mistral(
            sliding_window=None,
            hidden_size=32,
            num_attention_heads=4,
            num_key_value_heads=2,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=True,
        ),
        stored=False,
    ),
    "mistral-of-one": Case(mistral(sliding_window=1, num_hidden_layers=3), stored=False),
}
