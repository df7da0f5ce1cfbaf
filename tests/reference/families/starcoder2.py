"""StarCoder2: a window shorter than the prompt, and neither window nor biases."""

import torch
from checkpoints import Case, older_keys
from transformers import Starcoder2Config, Starcoder2ForCausalLM

STARCODER2 = dict(
    vocab_size=72,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=32,
    bos_token_id=0,
    eos_token_id=0,
)


def starcoder2(**options):
    return lambda: Starcoder2ForCausalLM(Starcoder2Config(**STARCODER2 | options))


CASES = {
    "starcoder2": Case(lambda: starcoder2(sliding_window=6)().to(torch.bfloat16), rewrite=older_keys, spread=0.35),
    "starcoder2-plain": Case(
        starcoder2(
            use_bias=False,
            hidden_act="gelu",
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=10,
            tie_word_embeddings=False,
        ),
        stored=False,
    ),
}
