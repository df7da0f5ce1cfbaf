"""Multi-head latent attention: queries of a latent or of the residual stream, values of another width than keys, biases, each way
to pair what is rotated, a growth of scores, and experts in all the ways of these families."""

from checkpoints import older_keys, stacked_experts, without

from families.kin import case
from families.moe import drawn, stored

MLA = dict(
    num_key_value_heads=3,
    q_lora_rank=14,
    kv_lora_rank=10,
    qk_nope_head_dim=6,
    qk_rope_head_dim=4,
    v_head_dim=7,
    moe_intermediate_size=12,
    n_routed_experts=8,
    n_shared_experts=1,
    num_experts_per_tok=3,
    first_k_dense_replace=1,
)
GROUPS = dict(n_group=4, topk_group=2)
YARN = dict(
    rope_type="yarn",
    rope_theta=100.0,
    factor=6.0,
    original_max_position_embeddings=10,
    beta_fast=4.0,
    beta_slow=0.5,
    mscale=0.7,
    mscale_all_dim=1.3,
)

CASES = {
    "deepseek_v2": case("deepseek_v2", **MLA, attention_bias=True, mlp_bias=True),
    "deepseek_v2-whole": case(
        "deepseek_v2",
        **MLA | GROUPS | dict(q_lora_rank=None, num_hidden_layers=3, n_shared_experts=2, v_head_dim=12),
        topk_method="group_limited_greedy",
        routed_scaling_factor=3.0,
        rope_parameters=YARN,
        tie_word_embeddings=True,
    ),
    "deepseek_v2-older": case(
        "deepseek_v2", **MLA | dict(first_k_dense_replace=0), rope_parameters=YARN, rms_norm_eps=0.02, rewrite=older_keys
    ),
    "deepseek_v3": stored(drawn(case("deepseek_v3", **MLA | GROUPS, rope_parameters=YARN))),
    "deepseek_v3-halves": drawn(
        case(
            "deepseek_v3",
            **MLA | GROUPS | dict(q_lora_rank=None, num_hidden_layers=3, topk_group=3),
            rope_interleave=False,
            attention_bias=True,
            norm_topk_prob=False,
            routed_scaling_factor=0.8,
        )
    ),
    "deepseek_v3-stacked": drawn(
        case("deepseek_v3", **MLA | GROUPS, rewrite=stacked_experts, tie_word_embeddings=True, rms_norm_eps=0.02)
    ),
    "glm4_moe_lite": drawn(
        case(
            "glm4_moe_lite",
            **{key: value for key, value in MLA.items() if key != "first_k_dense_replace"},
            num_hidden_layers=3,
            mlp_layer_types=["sparse", "dense", "sparse"],
            attention_bias=True,
        )
    ),
    "glm4_moe_lite-default": drawn(
        case(
            "glm4_moe_lite",
            **{key: value for key, value in (MLA | GROUPS).items() if key != "first_k_dense_replace"},
            rewrite=without("mlp_layer_types", "routed_scaling_factor", "rope_interleave"),
        )
    ),
}
