"""Multi-head latent attention: queries of a latent or of the residual stream, values of another width than keys, biases, each way
to pair what is rotated, a growth of scores, and experts in all the ways of these families."""

import dataclasses
import math
import shutil
import tempfile
from pathlib import Path

import torch
from checkpoints import config_of, older_keys, open_transformers, stacked_experts, without
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

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

# Rows and columns of a block, neither of which ends where a latent or a head does.
BLOCK = (4, 6)


def spread(scales, shape):
    """The scale of each number of a matrix, of those of its blocks."""
    return scales.repeat_interleave(BLOCK[0], 0).repeat_interleave(BLOCK[1], 1)[: shape[0], : shape[1]]


def in_blocks(folder):
    """Stores projections in eight bits with a scale for each block, as DeepSeek publishes them."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if "proj" in name and name.endswith(".weight")]:
        matrix = tensors[name]
        blocks = [math.ceil(size / side) for size, side in zip(matrix.shape, BLOCK)]
        largest = torch.zeros(blocks)
        for row in range(blocks[0]):
            for column in range(blocks[1]):
                at = [slice(index * side, (index + 1) * side) for index, side in zip((row, column), BLOCK)]
                largest[row, column] = matrix[at[0], at[1]].abs().max()
        scales = largest / torch.finfo(torch.float8_e4m3fn).max
        tensors[name] = (matrix / spread(scales, matrix.shape)).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scales
    save_file(tensors, file, metadata={"format": "pt"})
    with config_of(folder) as config:
        config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": list(BLOCK)}


def widened(folder):
    """Opens the checkpoint with the weights that its numbers and scales stand for."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name, tensor in tensors.items() if tensor.dtype == torch.float8_e4m3fn]:
        tensors[name] = tensors[name].float() * spread(tensors.pop(f"{name}_scale_inv"), tensors[name].shape)
    with tempfile.TemporaryDirectory() as plain:
        plain = Path(plain)
        save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
        shutil.copy(folder / "config.json", plain)
        with config_of(plain) as config:
            del config["quantization_config"]
        return open_transformers(AutoModelForCausalLM)(plain)


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
    "deepseek_v3-fp8": dataclasses.replace(
        drawn(case("deepseek_v3", **MLA | GROUPS, rewrite=in_blocks)), open=widened
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
