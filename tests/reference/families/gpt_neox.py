"""GPT-NeoX: parallel and serial blocks, a quarter and all of each head rotated, with and without biases of attention."""

from checkpoints import Case
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

NEOX = dict(
    vocab_size=80,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=48,
    rotary_pct=0.25,
)


def neox(**options):
    return lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**NEOX | options))


CASES = {
    "gpt_neox": Case(neox()),
    "gpt_neox-serial": Case(
        neox(use_parallel_residual=False, rotary_pct=1.0, hidden_act="gelu_new"), stored=False
    ),
    "gpt_neox-unbiased": Case(neox(attention_bias=False, tie_word_embeddings=True), stored=False),
}
