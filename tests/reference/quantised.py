"""Weights of eight and four bits, as they are published and as transformers widens them.

Each folder has a twin, `widened.safetensors`, with the names that this crate gives the tensors.
"""

import json

import torch
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize
from transformers.integrations.mxfp4 import convert_moe_packed_tensors


def save(folder, quantisation, stored, widened):
    """Writes a checkpoint that describes only how it is quantised, and its twin."""
    folder.mkdir(parents=True)
    config = {"quantization_config": quantisation} if quantisation else {}
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    save_file({name: tensor.float().contiguous() for name, tensor in widened.items()}, folder / "widened.safetensors")


def draw(generator, *shape):
    return torch.randn(*shape, generator=generator)


def numbers(folder):
    """Every number of eight bits."""
    every = torch.arange(256).to(torch.uint8)
    kinds = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2, "e8m0": torch.float8_e8m0fnu}
    stored = {name: every.clone().view(kind) for name, kind in kinds.items()}
    save(folder, None, stored, stored)


def fp8(folder):
    """Scales of blocks, as DeepSeek and Qwen publish them, also of stacked experts."""
    generator = torch.Generator().manual_seed(5)
    stored, widened = {}, {}
    for name, shape in {"a.weight": (24, 32), "b.weight": (8, 16), "experts.up": (2, 16, 48)}.items():
        stored[name] = draw(generator, *shape).to(torch.float8_e4m3fn)
        scales = draw(generator, *shape[:-2], shape[-2] // 8, shape[-1] // 16).abs()
        stored[f"{name}_scale_inv"] = scales
        pairs = zip(stored[name].view(-1, *shape[-2:]), scales.view(-1, *scales.shape[-2:]))
        parts = [Fp8Dequantize(None)._dequantize_one(*pair, torch.float32) for pair in pairs]
        widened[name] = torch.stack(parts).view(shape)
    # The last blocks may be cut off, which transformers cannot widen: here as if the rest were there.
    whole = draw(generator, 16, 32).to(torch.float8_e4m3fn)
    scales = draw(generator, 2, 2).abs()
    stored |= {"cut.weight": whole[:13, :21].contiguous(), "cut.weight_scale_inv": scales}
    widened["cut.weight"] = Fp8Dequantize(None)._dequantize_one(whole, scales, torch.float32)[:13, :21]
    stored["norm.weight"] = widened["norm.weight"] = draw(generator, 16).to(torch.bfloat16)
    save(folder, {"quant_method": "fp8", "weight_block_size": [8, 16]}, stored, widened)


def rows(folder):
    """A scale for each row or for the whole matrix, as compressed-tensors has them."""
    generator = torch.Generator().manual_seed(6)
    row, whole = (draw(generator, 6, 10).to(torch.float8_e4m3fn) for _ in range(2))
    by_row, by_matrix = draw(generator, 6, 1).abs().to(torch.bfloat16), draw(generator, 1).abs()
    stored = {
        "row.weight": row,
        "row.weight_scale": by_row,
        "whole.weight": whole,
        "whole.weight_scale": by_matrix,
    }
    widened = {"row.weight": row.float() * by_row.float(), "whole.weight": whole.float() * by_matrix}
    save(folder, {"quant_method": "compressed-tensors", "format": "float-quantized"}, stored, widened)


def static(folder):
    """Scales of activations, keys and values beside those of the weights, under the names that quantisers give them."""
    generator = torch.Generator().manual_seed(8)
    methods = {
        "fp8": {"quant_method": "fp8", "activation_scheme": "static"},
        "modelopt": {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
        "compressed": {"quant_method": "compressed-tensors", "format": "float-quantized"},
    }
    ends = {
        "fp8": ("weight_scale", ["q_proj.input_scale", "kv_scale"]),
        "modelopt": ("weight_scale", ["q_proj.input_scale", "k_proj.k_scale", "v_proj.v_scale"]),
        "compressed": ("weight_scale", ["q_proj.input_scale", "q_proj.output_scale", "k_scale", "v_scale"]),
    }
    for name, quantisation in methods.items():
        scale, others = ends[name]
        # torch's own rounding to eight bits, by the largest number as static schemes have it.
        drawn = draw(generator, 6, 10)
        factor = drawn.abs().max() / torch.finfo(torch.float8_e4m3fn).max
        weight = (drawn / factor).to(torch.float8_e4m3fn)
        # One number without a dimension, or with one.
        factor = factor.reshape(1) if name == "compressed" else factor
        place = "model.layers.0.self_attn"
        stored = {f"{place}.q_proj.weight": weight, f"{place}.q_proj.{scale}": factor}
        stored |= {f"{place}.{end}": torch.tensor(0.25 + index) for index, end in enumerate(others)}
        widened = {f"{place}.q_proj.weight": weight.float() * factor}
        save(folder / name, quantisation, stored, widened)


def mxfp4(folder):
    """The experts of gpt-oss; transformers turns them round, `[experts, in, out]`."""
    generator = torch.Generator().manual_seed(7)
    blocks = torch.randint(0, 256, (3, 6, 2, 16), generator=generator, dtype=torch.uint8)
    scales = torch.randint(120, 134, (3, 6, 2), generator=generator, dtype=torch.uint8)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    mask = torch.ones(4, dtype=torch.uint8)
    stored = {f"{name}_blocks": blocks, f"{name}_scales": scales, "mask": mask}
    widened = {name: convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).transpose(1, 2)}
    save(folder, {"quant_method": "mxfp4"}, stored, widened)


def write(folder):
    """Writes all of them to `folder`."""
    numbers(folder / "numbers")
    fp8(folder / "fp8")
    rows(folder / "rows")
    static(folder / "static")
    mxfp4(folder / "mxfp4")
