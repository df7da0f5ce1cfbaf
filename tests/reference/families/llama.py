"""Llama: grouped-query and multi-query attention, biases, tied embeddings, shards, every rotary scaling."""

import torch
from checkpoints import Case, older_keys
from transformers import LlamaConfig, LlamaForCausalLM

LLAMA = dict(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=12,
    max_position_embeddings=64,
    bos_token_id=1,
    eos_token_id=2,
)


def llama(**options):
    return lambda: LlamaForCausalLM(LlamaConfig(**LLAMA | options))


CASES = {
    "llama-gqa": Case(llama(), options=dict(max_shard_size="60KB"), seed=0),
    "llama-tied-mqa": Case(
        llama(
            hidden_size=36,
            num_attention_heads=3,
            num_key_value_heads=1,
            head_dim=16,
            num_hidden_layers=3,
            tie_word_embeddings=True,
            attention_bias=True,
            mlp_bias=True,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        ),
        length=12,
        seed=1,
    ),
    "llama3-rope": Case(
        llama(
            head_dim=16,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 10000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16,
            },
        ),
        length=16,
        seed=2,
        rewrite=older_keys,
    ),
    "llama-linear": Case(
        lambda: llama(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})().to(
            torch.bfloat16
        ),
        length=13,
        seed=3,
    ),
}
