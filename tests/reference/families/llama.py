"""Llama: grouped-query and multi-query attention, biases, tied embeddings, shards, every rotary scaling."""

import torch
from checkpoints import Case, config_of, head_alone, older_keys, other_head
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
SMALL = dict(vocab_size=64, hidden_size=24, intermediate_size=40, num_attention_heads=3, num_key_value_heads=1)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    # So small that some pairs turn often enough to stay as they are.
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
    "beta_fast": 4.0,
    "beta_slow": 0.5,
}


def llama(**options):
    return lambda: LlamaForCausalLM(LlamaConfig(**LLAMA | options))


def half(build):
    return lambda: build().to(torch.bfloat16)


def sliced(folder):
    """Says that matrices were trained in slices, which changes nothing."""
    with config_of(folder) as config:
        config["pretraining_tp"] = 2


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
    # Files that disagree with the configuration about what is tied.
    "llama-other-head": Case(
        llama(**SMALL, num_hidden_layers=1, tie_word_embeddings=True), length=11, rewrite=other_head
    ),
    "llama-head-alone": Case(
        llama(**SMALL, num_hidden_layers=1, tie_word_embeddings=True), length=11, rewrite=head_alone
    ),
    "llama3-rope": Case(
        llama(head_dim=16, rope_parameters=LLAMA3),
        length=16,
        seed=2,
        rewrite=older_keys,
    ),
    "llama3-rope-5": Case(llama(head_dim=16, rope_parameters=LLAMA3), stored=False),
    "llama-linear": Case(
        half(llama(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0})),
        length=13,
        seed=3,
    ),
    # The prompt is longer than the context before it is stretched.
    "llama-dynamic": Case(
        half(
            llama(
                **SMALL,
                max_position_embeddings=9,
                rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
            )
        ),
        length=15,
    ),
    "llama-dynamic-short": Case(
        llama(
            max_position_embeddings=32,
            rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
        ),
        rewrite=older_keys,
        stored=False,
    ),
    "llama-yarn": Case(llama(**SMALL, rope_parameters=YARN), rewrite=older_keys, stored=False),
    "llama-yarn-given": Case(
        llama(rope_parameters=YARN | {"truncate": False, "attention_factor": 1.3}), stored=False
    ),
    "llama-yarn-scales": Case(
        llama(head_dim=16, rope_parameters=YARN | {"mscale": 1.5, "mscale_all_dim": 0.7}), stored=False
    ),
    "llama-biased": Case(llama(attention_bias=True, tie_word_embeddings=True), stored=False),
    "llama-biased-mlp": Case(llama(mlp_bias=True), rewrite=sliced, stored=False),
}
