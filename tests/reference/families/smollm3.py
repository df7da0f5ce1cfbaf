"""SmolLM3: layers without positions, by list and by interval, with and without windows."""

import torch
from checkpoints import Case, config_of, older_keys, without
from transformers import SmolLM3Config, SmolLM3ForCausalLM

SMOLLM3 = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=3,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def smollm3(**options):
    return lambda: SmolLM3ForCausalLM(SmolLM3Config(**SMOLLM3 | options))


def older(folder):
    """The keys of releases before 5; windows are where positions are not."""
    older_keys(folder)
    with config_of(folder) as config:
        del config["layer_types"]


CASES = {
    "smollm3": Case(
        lambda: smollm3(no_rope_layers=[1, 0, 1], use_sliding_window=True, sliding_window=5)().to(torch.bfloat16),
        rewrite=older,
    ),
    "smollm3-interval": Case(
        smollm3(no_rope_layer_interval=2, num_hidden_layers=4, tie_word_embeddings=False, attention_bias=True),
        stored=False,
    ),
    "smollm3-default": Case(
        smollm3(num_hidden_layers=5),
        rewrite=without("layer_types", "no_rope_layer_interval", "no_rope_layers", "rope_parameters", "tie_word_embeddings"),
        stored=False,
    ),
    "smollm3-kinds": Case(
        smollm3(
            num_attention_heads=4,
            num_key_value_heads=2,
            use_sliding_window=True,
            sliding_window=4,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            no_rope_layers=[0, 1, 1],
            mlp_bias=True,
        ),
        stored=False,
    ),
}
