"""Granite: factors on the embedding, the scores, what blocks write and the logits."""

import torch
from checkpoints import Case, older_keys, without
from transformers import GraniteConfig, GraniteForCausalLM

GRANITE = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
    embedding_multiplier=2.5,
    attention_multiplier=0.4,
    residual_multiplier=0.6,
    logits_scaling=3.0,
    tie_word_embeddings=True,
)


def granite(**options):
    return lambda: GraniteForCausalLM(GraniteConfig(**GRANITE | options))


CASES = {
    "granite": Case(lambda: granite()().to(torch.bfloat16), rewrite=older_keys),
    "granite-default": Case(
        granite(embedding_multiplier=1.0, attention_multiplier=1.0, residual_multiplier=1.0, logits_scaling=1.0),
        rewrite=without("attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier"),
        stored=False,
    ),
    "granite-biased": Case(
        granite(
            attention_bias=True, mlp_bias=True, tie_word_embeddings=False, residual_multiplier=1.0, logits_scaling=0.5
        ),
        stored=False,
        spread=0.4,
    ),
}
