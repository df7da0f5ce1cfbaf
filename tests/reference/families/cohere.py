"""Cohere's Command models: one norm without bias, neighbours rotated, scaled logits, gains of each head, layers without
positions."""

import torch
from checkpoints import Case, older_keys, without_kinds
from transformers import Cohere2Config, Cohere2ForCausalLM, CohereConfig, CohereForCausalLM

COHERE = dict(
    vocab_size=72,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=3,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)


def cohere(**options):
    return lambda: CohereForCausalLM(CohereConfig(**COHERE | options)).to(torch.bfloat16)


def cohere2(**options):
    options = dict(num_hidden_layers=4, sliding_window=5) | options
    return lambda: Cohere2ForCausalLM(Cohere2Config(**COHERE | options)).to(torch.bfloat16)


CASES = {
    "cohere": Case(cohere(use_qk_norm=True), spread=0.4),
    "cohere-gqa": Case(
        cohere(num_attention_heads=4, num_key_value_heads=2, attention_bias=True, tie_word_embeddings=False),
        stored=False,
        spread=0.4,
        rewrite=older_keys,
    ),
    "cohere-gqa-norm": Case(
        cohere(num_attention_heads=4, num_key_value_heads=1, use_qk_norm=True, logit_scale=0.5), stored=False, spread=0.4
    ),
    "cohere2": Case(cohere2(), spread=0.4),
    "cohere2-older": Case(cohere2(), stored=False, spread=0.4, rewrite=without_kinds),
    "cohere2-kinds": Case(
        cohere2(
            num_key_value_heads=1,
            num_hidden_layers=2,
            layer_types=["full_attention", "sliding_attention"],
            attention_bias=True,
        ),
        stored=False,
        spread=0.4,
        rewrite=older_keys,
    ),
}
