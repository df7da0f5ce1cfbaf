"""StableLM: queries and keys normalised with gains of each head, blocks one after the other and side by side."""

import torch
from checkpoints import Case, older_keys
from transformers import StableLmConfig, StableLmForCausalLM

STABLELM = dict(
    vocab_size=72,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=32,
)


def stablelm(**options):
    return lambda: StableLmForCausalLM(StableLmConfig(**STABLELM | options))


CASES = {
    "stablelm": Case(
        lambda: stablelm(qk_layernorm=True, use_qkv_bias=True)().to(torch.bfloat16), length=10, rewrite=older_keys
    ),
    "stablelm-parallel": Case(
        stablelm(use_parallel_residual=True, qk_layernorm=True, num_key_value_heads=1),
        length=10,
        stored=False,
    ),
    "stablelm-tied": Case(
        stablelm(
            hidden_size=36,
            num_attention_heads=3,
            num_key_value_heads=3,
            partial_rotary_factor=0.5,
            hidden_act="gelu",
            tie_word_embeddings=True,
        ),
        stored=False,
    ),
}
