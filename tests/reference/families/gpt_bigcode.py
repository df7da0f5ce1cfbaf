"""GPT-BigCode: one key for all heads and one for each, scores scaled and not, tied and not."""

import torch
from checkpoints import Case
from transformers import GPTBigCodeConfig, GPTBigCodeForCausalLM

BIGCODE = dict(vocab_size=72, n_positions=32, n_embd=24, n_layer=2, n_head=3, n_inner=40, bos_token_id=0, eos_token_id=0)


def bigcode(**options):
    return lambda: GPTBigCodeForCausalLM(GPTBigCodeConfig(**BIGCODE | options))


CASES = {
    "gpt_bigcode": Case(lambda: bigcode()().to(torch.bfloat16), spread=0.4),
    "gpt_bigcode-heads": Case(
        bigcode(
            multi_query=False,
            scale_attn_weights=False,
            n_inner=None,
            activation_function="gelu",
            tie_word_embeddings=False,
        ),
        stored=False,
    ),
}
