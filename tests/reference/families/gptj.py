"""GPT-J and CodeGen: a part of each head rotated by neighbours and all of it, the unembedding with its bias, tied too."""

import torch
from checkpoints import Case
from transformers import CodeGenConfig, CodeGenForCausalLM, GPTJConfig, GPTJForCausalLM

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


def codegen(**options):
    return lambda: CodeGenForCausalLM(CodeGenConfig(**GPTJ | dict(n_embd=32, n_head=8) | options))


CASES = {
    "codegen": Case(lambda: codegen()().to(torch.bfloat16), spread=0.4),
    "codegen-one-head-a-piece": Case(codegen(n_head=4, rotary_dim=8), stored=False, spread=0.4),
    "gptj": Case(lambda: gptj()().to(torch.bfloat16), spread=0.4),
    "gptj-tied": Case(
        gptj(rotary_dim=8, n_inner=None, activation_function="gelu", tie_word_embeddings=True),
        stored=False,
        spread=0.4,
    ),
}
