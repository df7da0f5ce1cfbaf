"""Families that differ from a known one in settings alone, each with the settings off their usual values."""

import copy

from checkpoints import Case, older_keys, without, without_kinds
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = dict(
    vocab_size=64,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=3,
    num_key_value_heads=1,
    max_position_embeddings=48,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
LLAMA3 = dict(
    rope_type="llama3",
    rope_theta=5000.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
YARN = dict(rope_type="yarn", rope_theta=100.0, factor=4.0, original_max_position_embeddings=12)
GQA = dict(num_attention_heads=4, num_key_value_heads=2)
BIASES = dict(attention_bias=True, mlp_bias=True)
HALF = dict(rope_type="default", rope_theta=500.0, partial_rotary_factor=0.75)
FACTORS = dict(embedding_multiplier=2.5, attention_multiplier=0.4, residual_multiplier=0.6, logits_scaling=3.0)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=12, head_dim=8, sliding_window=4)
XGLM = dict(d_model=18, ffn_dim=20, num_layers=2, attention_heads=3, hidden_size=..., intermediate_size=..., num_hidden_layers=...)
XGLM |= dict(num_key_value_heads=..., num_attention_heads=...)


def model(kind, **options):
    """A model of a kind, of those sizes unless told otherwise; `None` leaves a size to the kind."""
    # Configurations write into what they are given.
    options = copy.deepcopy({key: value for key, value in (SIZES | options).items() if value is not ...})
    return lambda: AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **options), attn_implementation="eager")


def case(kind, rewrite=None, length=14, spread=0.35, stored=False, **options):
    """A case of such a model."""
    return Case(model(kind, **options), stored=stored, rewrite=rewrite, length=length, spread=spread)


CASES = {
    "arcee": case("arcee", **BIASES),
    "arcee-gqa": case("arcee", **GQA, head_dim=10, rope_parameters=YARN, tie_word_embeddings=True, hidden_act="gelu"),
    "arcee-older": case("arcee", rewrite=older_keys, num_key_value_heads=3),
    "jais2": case("jais2", head_dim=10),
    "jais2-plain": case("jais2", **GQA, attention_bias=False, mlp_bias=False, layer_norm_eps=0.02, tie_word_embeddings=True),
    "nemotron": case("nemotron", hidden_act="relu2"),
    "nemotron-biased": case("nemotron", **GQA, **BIASES, head_dim=8, norm_eps=0.02, rope_parameters=HALF),
    "nemotron-tied": case("nemotron", tie_word_embeddings=True, rewrite=older_keys),
    "glm": case("glm", head_dim=8),
    "glm-plain": case("glm", **GQA, head_dim=16, attention_bias=False, tie_word_embeddings=True, rope_parameters=HALF),
    "glm-default": case("glm", num_attention_heads=4, num_key_value_heads=2, head_dim=128, rewrite=without("head_dim")),
    "glm4": case("glm4", head_dim=8, rms_norm_eps=0.02),
    "glm4-gqa": case("glm4", **GQA, head_dim=12, rope_parameters=YARN, tie_word_embeddings=True),
    "glm4-older": case("glm4", num_key_value_heads=3, head_dim=8, attention_bias=False, rewrite=older_keys),
    "ernie4_5": case("ernie4_5", head_dim=10, use_bias=True),
    "ernie4_5-plain": case("ernie4_5", **GQA, head_dim=6, tie_word_embeddings=False, rope_parameters=LLAMA3),
    "helium": case("helium", head_dim=8),
    "helium-biased": case("helium", **GQA, **BIASES, head_dim=6, rms_norm_eps=0.02, tie_word_embeddings=True),
    "seed_oss": case("seed_oss", head_dim=10),
    "seed_oss-out": case("seed_oss", **GQA, head_dim=6, attention_bias=False, attention_out_bias=True, mlp_bias=True),
    "seed_oss-tied": case("seed_oss", head_dim=8, tie_word_embeddings=True, attention_out_bias=True, rewrite=older_keys),
    "cwm": case("cwm", num_hidden_layers=5, head_dim=10, sliding_window=4, mlp_bias=True, rope_parameters=LLAMA3),
    "cwm-default": case(
        "cwm", head_dim=8, sliding_window=3, rewrite=without("rope_parameters", "layer_types"), tie_word_embeddings=True
    ),
    "cwm-kinds": case(
        "cwm",
        **GQA,
        head_dim=8,
        sliding_window=5,
        rope_parameters=YARN,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "ministral": case(
        "ministral",
        head_dim=10,
        num_hidden_layers=3,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "ministral-windows": case("ministral", **GQA, head_dim=6, sliding_window=3, rewrite=without_kinds),
    "exaone4": case("exaone4", num_hidden_layers=4, sliding_window=4),
    "exaone4-pattern": case(
        "exaone4", num_hidden_layers=5, **GQA, sliding_window=3, sliding_window_pattern=2, rewrite=without_kinds
    ),
    "exaone4-full": case(
        "exaone4",
        sliding_window=None,
        layer_types=["full_attention"] * 2,
        tie_word_embeddings=True,
        rope_parameters=LLAMA3,
        rms_norm_eps=0.02,
    ),
    "exaone4-text": case(
        "exaone4",
        sliding_window=4,
        sliding_window_pattern="LG",
        layer_types=["sliding_attention", "full_attention"],
        head_dim=10,
    ),
    "vaultgemma": case(
        "vaultgemma", head_dim=12, num_hidden_layers=3, sliding_window=4, query_pre_attn_scalar=7, spread=0.18
    ),
    "vaultgemma-capped": case(
        "vaultgemma",
        **GQA,
        head_dim=8,
        attention_bias=True,
        attn_logit_softcapping=1.5,
        final_logit_softcapping=2.0,
        tie_word_embeddings=False,
        rewrite=without_kinds,
    ),
    "persimmon": case("persimmon", num_key_value_heads=..., hidden_act="gelu", spread=0.6),
    "persimmon-plain": case(
        "persimmon", num_key_value_heads=..., qk_layernorm=False, layer_norm_eps=0.02, tie_word_embeddings=True, rewrite=older_keys
    ),
    "persimmon-rotated": case(
        "persimmon", num_attention_heads=4, num_key_value_heads=..., rope_parameters=HALF | dict(partial_rotary_factor=1.0)
    ),
    "openai-gpt": case("openai-gpt", num_key_value_heads=..., intermediate_size=...),
    "openai-gpt-silu": case(
        "openai-gpt", num_key_value_heads=..., intermediate_size=..., afn="silu", layer_norm_epsilon=0.02, tie_word_embeddings=False
    ),
    "biogpt": case("biogpt", num_key_value_heads=...),
    "biogpt-plain": case(
        "biogpt", num_key_value_heads=..., scale_embedding=False, hidden_act="relu", tie_word_embeddings=False
    ),
    "apertus": case("apertus", rope_parameters=LLAMA3, stored=True, num_hidden_layers=2, hidden_size=12, intermediate_size=16),
    "apertus-gqa": case("apertus", **GQA, attention_bias=True, tie_word_embeddings=True, rope_parameters=YARN),
    "apertus-default": case("apertus", rewrite=without("rope_parameters")),
    "apertus-silu": case("apertus", hidden_act="silu", rms_norm_eps=0.02, rope_parameters=LLAMA3),
    "hunyuan_v1_dense": case(
        "hunyuan_v1_dense",
        head_dim=8,
        attention_bias=True,
        rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, alpha=50.0, factor=1.0),
        stored=True,
        hidden_size=16,
        intermediate_size=16,
    ),
    "hunyuan_v1_dense-gqa": case("hunyuan_v1_dense", **GQA, head_dim=6, tie_word_embeddings=True, rms_norm_eps=0.02),
    "hunyuan_v1_dense-dynamic": case(
        "hunyuan_v1_dense",
        head_dim=10,
        max_position_embeddings=9,
        rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0),
        rewrite=older_keys,
    ),
    "nanochat": case("nanochat", hidden_size=18, intermediate_size=20, final_logit_softcapping=2.0, stored=True, spread=0.5),
    "nanochat-biased": case(
        "nanochat", **GQA, attention_bias=True, rms_norm_eps=0.02, tie_word_embeddings=True, rope_parameters=YARN, spread=0.5
    ),
    "nanochat-uncapped": case("nanochat", final_logit_softcapping=None, hidden_act="silu", spread=0.5),
    "ministral3": case(
        "ministral3",
        head_dim=10,
        hidden_size=12,
        intermediate_size=16,
        rope_parameters=YARN | dict(llama_4_scaling_beta=0.7, original_max_position_embeddings=4, max_position_embeddings=48),
        stored=True,
    ),
    "ministral3-window": case(
        "ministral3",
        **GQA,
        head_dim=6,
        sliding_window=5,
        tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=100.0, llama_4_scaling_beta=0.4, original_max_position_embeddings=3),
    ),
    "ministral3-default": case("ministral3", head_dim=8, rewrite=without("rope_parameters")),
    "bitnet": case("bitnet", hidden_size=18, intermediate_size=20, attention_bias=True, stored=True),
    "bitnet-gqa": case("bitnet", **GQA, hidden_act="silu", rms_norm_eps=0.02, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "xglm": case(
        "xglm",
        **XGLM,
        stored=True,
    ),
    "xglm-pad": case(
        "xglm",
        **XGLM | dict(d_model=30, attention_heads=5),
        pad_token_id=5,
        scale_embedding=False,
        activation_function="relu",
        tie_word_embeddings=False,
    ),
    "mellum": case(
        "mellum",
        **EXPERTS,
        num_hidden_layers=3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        mlp_layer_types=["sparse", "dense", "sparse"],
        rope_parameters=dict(
            full_attention=YARN, sliding_attention=dict(rope_type="default", rope_theta=50.0)
        ),
    ),
    "mellum-gqa": case("mellum", **EXPERTS | GQA, attention_bias=True, norm_topk_prob=False, tie_word_embeddings=True),
    "granite_swa": case(
        "granite_swa",
        **FACTORS,
        num_hidden_layers=3,
        hidden_size=12,
        intermediate_size=16,
        sliding_window=4,
        layer_rope_theta=[0, 50.0, 5000],
        layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        stored=True,
    ),
    "granite_swa-default": case(
        "granite_swa", num_hidden_layers=5, sliding_window=3, attention_bias=True, mlp_bias=True, rewrite=without("layer_types")
    ),
    "granite_swa-gqa": case(
        "granite_swa",
        **GQA | FACTORS,
        sliding_window=5,
        rope_parameters=YARN,
        layer_rope_theta=[100.0, 20.0],
        rms_norm_eps=0.02,
        tie_word_embeddings=True,
    ),
}
