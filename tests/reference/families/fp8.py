"""Llama in eight bits with static scales of activations and of the key/value cache, as quantisers publish it.

The reference is that of the widened weights: nothing is rounded to eight bits while it is computed.
"""

import shutil
import tempfile
from pathlib import Path

import torch
from checkpoints import Case, config_of, open_transformers
from families.llama import SMALL, llama
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def quantised(folder):
    """Stores the projections of the layers in eight bits, each with a scale of its weights and one of its inputs."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    for name in [name for name in tensors if name.endswith("proj.weight")]:
        factor = tensors[name].abs().max() / torch.finfo(torch.float8_e4m3fn).max
        tensors[name] = (tensors[name] / factor).to(torch.float8_e4m3fn)
        tensors |= {f"{name}_scale": factor, name.replace("weight", "input_scale"): factor + 1}
    for name in ["k_proj.k_scale", "v_proj.v_scale"]:
        tensors[f"model.layers.0.self_attn.{name}"] = torch.tensor(0.5)
    save_file(tensors, file, metadata={"format": "pt"})
    with config_of(folder) as config:
        config["quantization_config"] = {"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["lm_head"]}


def widened(folder):
    """Opens the checkpoint with the weights that its numbers and scales stand for."""
    tensors = load_file(folder / "model.safetensors")
    for name in [name for name, tensor in tensors.items() if tensor.dtype == torch.float8_e4m3fn]:
        tensors[name] = tensors[name].float() * tensors[f"{name}_scale"]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith("_scale")}
    with tempfile.TemporaryDirectory() as plain:
        plain = Path(plain)
        save_file(tensors, plain / "model.safetensors", metadata={"format": "pt"})
        shutil.copy(folder / "config.json", plain)
        with config_of(plain) as config:
            del config["quantization_config"]
        return open_transformers(AutoModelForCausalLM)(plain)


CASES = {
    "llama-fp8-static": Case(llama(**SMALL, num_hidden_layers=1), length=11, rewrite=quantised, open=widened),
}
