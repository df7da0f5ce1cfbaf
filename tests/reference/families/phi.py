"""Phi-1 and 2: half and a quarter of each head rotated, queries and keys normalised, grouped keys."""

import torch
from checkpoints import Case, older_keys
from transformers import PhiConfig, PhiForCausalLM

PHI = dict(
    vocab_size=72,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=32,
    bos_token_id=0,
    eos_token_id=0,
)


def phi(**options):
    return lambda: PhiForCausalLM(PhiConfig(**PHI | options))


CASES = {
    "phi": Case(lambda: phi()().to(torch.bfloat16), spread=0.4, rewrite=older_keys),
    "phi-normalised": Case(
        phi(
            qk_layernorm=True,
            hidden_size=32,
            num_attention_heads=4,
            num_key_value_heads=2,
            partial_rotary_factor=0.25,
            hidden_act="gelu",
            tie_word_embeddings=True,
        ),
        length=10,
        stored=False,
        spread=0.4,
    ),
}
