"""OLMo 1 to 3: norms without weights, norms behind, cut queries and keys, windows beside YaRN."""

import torch
from checkpoints import Case, older_keys, without_kinds
from transformers import Olmo2Config, Olmo2ForCausalLM, Olmo3Config, Olmo3ForCausalLM, OlmoConfig, OlmoForCausalLM

OLMO = dict(
    vocab_size=72,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=64,
    pad_token_id=1,
    eos_token_id=2,
)
YARN = dict(rope_type="yarn", rope_theta=500000.0, factor=4.0, original_max_position_embeddings=16)


def olmo(**options):
    return lambda: OlmoForCausalLM(OlmoConfig(**OLMO | options))


def olmo2(**options):
    return lambda: Olmo2ForCausalLM(Olmo2Config(**OLMO | options))


def olmo3(full=YARN, **options):
    rope = {"full_attention": dict(full), "sliding_attention": dict(rope_type="default", rope_theta=500000.0)}
    options = dict(num_hidden_layers=4, sliding_window=5, rope_parameters=rope) | options
    return lambda: Olmo3ForCausalLM(Olmo3Config(**OLMO | options)).to(torch.bfloat16)


CASES = {
    "olmo": Case(olmo(clip_qkv=2.0, tie_word_embeddings=True), spread=0.5),
    "olmo-mha": Case(
        olmo(num_attention_heads=3, num_key_value_heads=3, attention_bias=True, clip_qkv=None),
        stored=False,
        rewrite=older_keys,
    ),
    "olmo2": Case(lambda: olmo2()().to(torch.bfloat16), spread=0.5),
    "olmo2-mqa": Case(
        olmo2(num_key_value_heads=1, attention_bias=True, tie_word_embeddings=True), stored=False, rewrite=older_keys
    ),
    "olmo3": Case(
        olmo3(num_hidden_layers=2, layer_types=["sliding_attention", "full_attention"]), length=20, spread=0.5
    ),
    "olmo3-pattern": Case(olmo3(), length=24, stored=False, spread=0.5),
    "olmo3-older": Case(olmo3(), length=24, stored=False, spread=0.5, rewrite=without_kinds),
    "olmo3-kinds": Case(
        olmo3(
            full=dict(rope_type="default", rope_theta=10000.0),
            num_hidden_layers=2,
            layer_types=["full_attention", "sliding_attention"],
        ),
        stored=False,
        spread=0.5,
    ),
}
