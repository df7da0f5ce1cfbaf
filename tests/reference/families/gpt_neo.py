"""GPT-Neo: local attention with a window shorter than the prompt, in turn and in runs, tied and not."""

import torch
from checkpoints import Case
from transformers import GPTNeoConfig, GPTNeoForCausalLM

NEO = dict(
    vocab_size=72,
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    max_position_embeddings=32,
    attention_types=[[["global", "local"], 1]],
    window_size=5,
    bos_token_id=0,
    eos_token_id=0,
)


def neo(**options):
    return lambda: GPTNeoForCausalLM(GPTNeoConfig(**NEO | options))


CASES = {
    "gpt_neo": Case(lambda: neo()().to(torch.bfloat16)),
    "gpt_neo-runs": Case(
        neo(
            num_layers=4,
            attention_types=[[["local"], 2], [["global", "local"], 1]],
            window_size=3,
            intermediate_size=40,
            activation_function="gelu",
            tie_word_embeddings=False,
        ),
        stored=False,
        spread=0.22,
    ),
}
