"""GPT-J: a part of each head rotated by neighbours and all of it, the unembedding with its bias, tied too."""

import torch
from checkpoints import Case
from transformers import GPTJConfig, GPTJForCausalLM

GPTJ = dict(
    vocab_size=72,
    n_positions=32,
    n_embd=24,
    n_layer=2,
    n_head=3,
    n_inner=40,
    rotary_dim=4,
    bos_token_id=0,
    eos_token_id=0,
)


def gptj(**options):
    return lambda: GPTJForCausalLM(GPTJConfig(**GPTJ | options))


CASES = {
    "gptj": Case(lambda: gptj()().to(torch.bfloat16), spread=0.4),
    "gptj-tied": Case(
        gptj(rotary_dim=8, n_inner=None, activation_function="gelu", tie_word_embeddings=True),
        stored=False,
        spread=0.4,
    ),
}
