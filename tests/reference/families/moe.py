"""Families with experts: each kind of router, with experts that are never chosen, first layers without, groups, and experts for
every token."""

import dataclasses

import torch
from checkpoints import older_keys, stacked_experts, without
from safetensors.torch import load_file, save_file

from families.kin import GQA, LLAMA3, YARN, case

MOE = dict(num_experts=4, num_experts_per_tok=2, intermediate_size=12)
QWEN = dict(moe_intermediate_size=12, shared_expert_intermediate_size=20, num_experts=4, num_experts_per_tok=2)
LOCAL = dict(num_local_experts=4, num_experts_per_tok=2, intermediate_size=12)
ROUTED = dict(
    moe_intermediate_size=12,
    n_routed_experts=6,
    n_shared_experts=2,
    num_experts_per_tok=2,
    routed_scaling_factor=1.7,
    num_hidden_layers=3,
)
GROUPS = dict(n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3)
ERNIE = dict(
    moe_intermediate_size=12, moe_num_experts=4, moe_k=2, moe_num_shared_experts=2, num_hidden_layers=4, pad_token_id=0
)
FACTORS = dict(
    embedding_multiplier=2.5, attention_multiplier=0.3, residual_multiplier=0.6, logits_scaling=1.7, attention_bias=True
)
HUNYUAN = dict(intermediate_size=12)
LLAMA4 = dict(
    intermediate_size=12,
    intermediate_size_mlp=20,
    num_local_experts=4,
    num_experts_per_tok=1,
    num_hidden_layers=4,
    attention_chunk_size=4,
    head_dim=10,
)
LONGROPE = dict(
    rope_type="longrope",
    rope_theta=1000.0,
    short_factor=[1.0, 1.5, 2.0, 2.5],
    long_factor=[3.0, 4.0, 5.0, 6.0],
    short_mscale=1.2,
    long_mscale=1.4,
)


def drawn(case):
    """The same with drawn numbers in the buffers that correct shares, which are zero in a new model."""

    def build():
        model = case.build()
        generator = torch.Generator().manual_seed(1)
        for name, buffer in [*model.named_buffers(), *model.named_parameters()]:
            if name.endswith("e_score_correction_bias"):
                buffer.data = 0.4 * torch.randn(buffer.shape, generator=generator)
        return model

    return dataclasses.replace(case, build=build)


def stored(case, **changes):
    """The same among the fixtures, in bfloat16."""
    return dataclasses.replace(case, build=lambda: case.build().to(torch.bfloat16), stored=True, **changes)


def never(expert):
    """Makes an expert one that no token chooses, and its weights none at all: its share is corrected away or, where one expert works
    on a token, its score is the mean of the others'."""

    def rewrite(folder):
        file = folder / "model.safetensors"
        tensors = load_file(file)
        corrected = any(name.endswith("e_score_correction_bias") for name in tensors)
        for name, tensor in tensors.items():
            if name.endswith("e_score_correction_bias"):
                tensor[expert] = -100
            if name.endswith("mlp.gate.weight") and not corrected:
                tensor[expert] = (tensor.sum(0) - tensor[expert]) / (len(tensor) - 1)
            if f".experts.{expert}." in name:
                tensor.fill_(float("nan"))
        save_file(tensors, file, metadata={"format": "pt"})

    return rewrite


CASES = {
    "olmoe": case("olmoe", **MOE),
    "olmoe-renormalised": case(
        "olmoe", **GQA, **MOE | dict(num_experts=5, num_experts_per_tok=3), norm_topk_prob=True, attention_bias=True
    ),
    "olmoe-older": case("olmoe", **MOE, num_key_value_heads=3, tie_word_embeddings=True, rewrite=older_keys),
    "olmoe-stacked": case("olmoe", **MOE, rope_parameters=YARN, rewrite=stacked_experts),
    "flex_olmo": case("flex_olmo", **MOE, spread=0.5),
    "flex_olmo-renormalised": case(
        "flex_olmo",
        **GQA,
        **MOE | dict(num_experts=5, num_experts_per_tok=4),
        norm_topk_prob=True,
        attention_bias=True,
        rms_norm_eps=0.02,
        spread=0.5,
        rewrite=older_keys,
    ),
    "qwen2_moe": stored(case("qwen2_moe", **QWEN, num_hidden_layers=2, mlp_only_layers=[1])),
    "qwen2_moe-windows": case(
        "qwen2_moe",
        **GQA,
        **QWEN,
        num_hidden_layers=4,
        use_sliding_window=True,
        sliding_window=4,
        max_window_layers=3,
        decoder_sparse_step=2,
        norm_topk_prob=True,
        qkv_bias=False,
        rewrite=without("layer_types"),
    ),
    "qwen2_moe-stacked": case("qwen2_moe", **QWEN, rewrite=stacked_experts, tie_word_embeddings=True),
    "qwen2_moe-never": case("qwen2_moe", **QWEN | dict(num_experts_per_tok=1), rewrite=never(2)),
    "granitemoe": case("granitemoe", **LOCAL, **FACTORS),
    "granitemoe-plain": case("granitemoe", **GQA, **LOCAL, rope_parameters=LLAMA3, tie_word_embeddings=True, attention_multiplier=0.4),
    "granitemoeshared": case("granitemoeshared", **LOCAL, **FACTORS, shared_intermediate_size=20),
    "granitemoeshared-without": case("granitemoeshared", **LOCAL, attention_multiplier=0.4),
    "phimoe": stored(case("phimoe", **LOCAL | dict(num_local_experts=5), router_jitter_noise=0.4, spread=0.4)),
    "phimoe-biased": case(
        "phimoe",
        **GQA,
        **LOCAL,
        attention_bias=True,
        lm_head_bias=True,
        sliding_window=5,
        router_jitter_noise=0.2,
        tie_word_embeddings=True,
    ),
    "phimoe-default": case("phimoe", **LOCAL, rewrite=without("router_jitter_noise", "rope_parameters")),
    "phimoe-long": case(
        "phimoe", **LOCAL, rope_parameters=LONGROPE | dict(original_max_position_embeddings=10)
    ),
    "phimoe-short": case(
        "phimoe", **LOCAL, rope_parameters=LONGROPE | dict(original_max_position_embeddings=20)
    ),
    "dots1": drawn(case("dots1", **ROUTED, first_k_dense_replace=1, norm_topk_prob=True, attention_bias=True)),
    "dots1-windows": drawn(
        case(
            "dots1",
            **GQA,
            **ROUTED | GROUPS,
            head_dim=10,
            sliding_window=4,
            max_window_layers=1,
            rewrite=without("layer_types"),
        )
    ),
    "glm4_moe": drawn(case("glm4_moe", **ROUTED, use_qk_norm=True, attention_bias=True, head_dim=12)),
    "glm4_moe-groups": stored(
        drawn(
            case(
                "glm4_moe",
                **GQA,
                **ROUTED | GROUPS | dict(num_hidden_layers=2, moe_intermediate_size=8),
                norm_topk_prob=False,
                head_dim=12,
            )
        )
    ),
    "glm4_moe-older": drawn(case("glm4_moe", **ROUTED, head_dim=8, rewrite=older_keys, first_k_dense_replace=0)),
    "glm4_moe-stacked": drawn(case("glm4_moe", **ROUTED, head_dim=8, rewrite=stacked_experts)),
    "glm4_moe-never": drawn(case("glm4_moe", **ROUTED, head_dim=8, rewrite=never(1))),
    "solar_open": drawn(case("solar_open", intermediate_size=..., **ROUTED, head_dim=10, attention_bias=True)),
    "solar_open-groups": drawn(
        case("solar_open", intermediate_size=..., **GQA, **ROUTED | GROUPS, head_dim=8, norm_topk_prob=False, rope_parameters=YARN)
    ),
    "ernie4_5_moe": stored(drawn(case("ernie4_5_moe", **ERNIE | dict(num_hidden_layers=2), use_bias=True))),
    "ernie4_5_moe-interval": drawn(
        case(
            "ernie4_5_moe",
            **GQA,
            **ERNIE | dict(moe_num_shared_experts=0, num_hidden_layers=5, moe_k=3),
            moe_layer_start_index=2,
            moe_layer_end_index=3,
            moe_layer_interval=2,
            moe_norm_min=0.7,
            tie_word_embeddings=False,
        )
    ),
    "minimax_m2": drawn(case("minimax_m2", **LOCAL, head_dim=8, rotary_dim=4)),
    "minimax_m2-gqa": drawn(case("minimax_m2", **GQA, **LOCAL | dict(num_local_experts=5), head_dim=10, tie_word_embeddings=True)),
    "minimax_m2-never": drawn(case("minimax_m2", **LOCAL, head_dim=8, rewrite=never(2))),
    "olmoe-clipped": case("olmoe", **GQA, **MOE, clip_qkv=1.2),
    "hunyuan_v1_moe": case("hunyuan_v1_moe", **HUNYUAN, num_experts=4, moe_topk=2, head_dim=10, attention_bias=True),
    "hunyuan_v1_moe-list": case(
        "hunyuan_v1_moe",
        **GQA,
        **HUNYUAN,
        num_experts=5,
        moe_topk=[1, 3, 2],
        num_hidden_layers=3,
        head_dim=8,
        rope_parameters=dict(rope_type="dynamic", rope_theta=100.0, alpha=20.0, factor=1.0),
        tie_word_embeddings=True,
    ),
    "llama4_text": stored(
        case("llama4_text", **LLAMA4, moe_layers=[1, 3], attention_bias=True, floor_scale=4, attn_scale=0.7)
    ),
    "llama4_text-step": case(
        "llama4_text",
        **GQA,
        **LLAMA4 | dict(attention_chunk_size=5, num_experts_per_tok=2, num_hidden_layers=6, head_dim=8),
        interleave_moe_layer_step=2,
        no_rope_layer_interval=3,
        use_qk_norm=False,
        attn_temperature_tuning=False,
        tie_word_embeddings=True,
        rope_parameters=LLAMA3,
        rewrite=without("layer_types", "no_rope_layers", "moe_layers"),
    ),
    "llama4_text-kinds": case(
        "llama4_text",
        **LLAMA4,
        no_rope_layers=[0, 1, 1, 0],
        layer_types=["chunked_attention", "full_attention", "chunked_attention", "full_attention"],
        floor_scale=3,
    ),
    "llama4_text-unchunked": case("llama4_text", **LLAMA4 | dict(attention_chunk_size=None), rewrite=older_keys),
}
