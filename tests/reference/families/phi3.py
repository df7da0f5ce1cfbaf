"""Phi-3: shared tensors, rotations of a part of each head, LongRoPE on both sides of its limit, windows."""

import torch
from checkpoints import Case, config_of, older_keys, without
from transformers import Phi3Config, Phi3ForCausalLM

PHI3 = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=64,
    original_max_position_embeddings=64,
    pad_token_id=0,
    eos_token_id=2,
)


def phi3(**options):
    return lambda: Phi3ForCausalLM(Phi3Config(**PHI3 | options))


def longrope(limit, size, **options):
    """A model for texts of more than `limit` tokens, that rotates `size` numbers of a head of 8."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": size / 8,
        "short_factor": [1.0 + 0.2 * pair for pair in range(size // 2)],
        "long_factor": [1.5 + 1.5 * pair for pair in range(size // 2)],
    }
    return phi3(original_max_position_embeddings=limit, rope_parameters=rope | options)


def older(folder):
    """The keys of the first models for long texts."""
    older_keys(folder)
    with config_of(folder) as config:
        del config["rope_scaling"]["rope_type"]
        config["rope_scaling"]["type"] = "su"


CASES = {
    # The prompt, of 14 tokens, is longer than the limit.
    "phi3": Case(lambda: longrope(10, 8)().to(torch.bfloat16), rewrite=older),
    "phi3-short": Case(longrope(32, 8), stored=False),
    "phi3-part": Case(longrope(10, 6, attention_factor=1.2), stored=False),
    "phi3-window": Case(
        phi3(sliding_window=5, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=10),
        rewrite=older_keys,
        stored=False,
    ),
    "phi3-default": Case(phi3(), rewrite=without("rms_norm_eps", "rope_parameters"), stored=False),
    "phi3-tied": Case(
        phi3(
            tie_word_embeddings=True,
            num_key_value_heads=3,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        ),
        stored=False,
        spread=0.45,
    ),
}
