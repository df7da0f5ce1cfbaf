"""Files of `torch.save` with a twin in safetensors: the same tensors, as weights of a tiny GPT-2 and in odd layouts.

Named `pickles` because a `pickle.py` beside the scripts would hide Python's own.
"""

import json

import torch
from checkpoints import randomise
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

GPT2 = dict(vocab_size=64, n_positions=16, n_embd=12, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)


def model(folder):
    """A GPT-2 as safetensors, as a state dict, in two shards, and as a training script leaves it."""
    gpt2 = GPT2LMHeadModel(GPT2Config(**GPT2))
    randomise(gpt2, 7)
    gpt2.save_pretrained(folder)
    (folder / "generation_config.json").unlink()

    # With the tied head and a mask, as older releases saved it.
    state = dict(gpt2.state_dict()) | {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.bool)}
    assert state["lm_head.weight"].data_ptr() == state["transformer.wte.weight"].data_ptr()
    torch.save(state, folder / "pytorch_model.bin")
    # As torch before 1.6 wrote it.
    torch.save(state, folder / "legacy.bin", _use_new_zipfile_serialization=False)

    names = sorted(state.keys() - {"lm_head.weight"})
    shards = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
    for shard, part in shards.items():
        torch.save({name: state[name].clone() for name in part}, folder / shard)
    index = {"metadata": {}, "weight_map": {name: shard for shard, part in shards.items() for name in part}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")

    some = gpt2.transformer.ln_f
    optimizer = torch.optim.AdamW(some.parameters())
    some(torch.ones(1, GPT2["n_embd"])).sum().backward()
    optimizer.step()
    randomise(gpt2, 7)
    wrapped = {f"_orig_mod.{name}": parameter for name, parameter in gpt2.named_parameters()}
    checkpoint = {
        "optimizer": optimizer.state_dict(),
        "model": wrapped,
        "iteration": 500,
        "loss": torch.tensor(2.5),
        "config": {"n_layer": 2, "bias": True, "seed": 2**70, "lr": 6e-4, "path": None, "text": b"bytes"},
        "losses": [4.0, 3.5],
    }
    torch.save(checkpoint, folder / "nested.pt")


def odd(folder):
    """Tensors that share, skip, turn round or repeat their numbers, of every type that weights have."""
    generator = torch.Generator().manual_seed(3)
    a = torch.randn(5, 6, generator=generator)
    cube = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64)
    weights = {
        "whole": a,
        "tied": a,
        "rows": a[2:],
        "part": a[2:, 1:4],
        "transposed": a.t(),
        "column": a[:, 1:2],
        "parameter": torch.nn.Parameter(a.t().to(torch.bfloat16)),
        "bf16": a.to(torch.bfloat16),
        "f16": a.to(torch.float16),
        "f16-transposed": a.to(torch.float16).t(),
        # Every number of eight bits, which are kept in storages without a type.
        "e4m3": torch.arange(256).to(torch.uint8).view(torch.float8_e4m3fn),
        "e5m2-part": torch.arange(256).to(torch.uint8).view(torch.float8_e5m2).view(16, 16)[3:, 1:],
        "e8m0": torch.arange(256).to(torch.uint8).view(torch.float8_e8m0fnu),
        "f64": cube,
        "f64-permuted": cube.permute(2, 0, 1),
        "repeated": torch.ones(1).expand(4, 3),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
    }
    others = {
        "mask": torch.ones(3, dtype=torch.bool),
        "ids": torch.arange(4),
        "bytes": torch.arange(4, dtype=torch.uint8),
        "u16": torch.arange(4).to(torch.uint16),
        "sparse": torch.eye(2).to_sparse(),
    }
    torch.save(weights | others, folder / "odd.pth")
    torch.save(weights | others, folder / "odd-protocol-5.pth", pickle_protocol=5)
    torch.save(weights | others, folder / "odd-legacy.pth", _use_new_zipfile_serialization=False)
    save_file({name: weight.detach().clone().contiguous() for name, weight in weights.items()}, folder / "odd.safetensors")


def nanogpt(folder):
    """What nanoGPT's `train.py` leaves: compiled, with the arguments of the model beside its weights."""
    arguments = dict(n_layer=1, n_head=3, n_embd=12, block_size=16, bias=False, vocab_size=64, dropout=0.0)
    width, vocabulary = arguments["n_embd"], arguments["vocab_size"]
    sides = {
        "transformer.wte.weight": (vocabulary, width),
        "transformer.wpe.weight": (arguments["block_size"], width),
        "transformer.h.0.ln_1.weight": (width,),
        "transformer.h.0.attn.c_attn.weight": (3 * width, width),
        "transformer.h.0.attn.c_proj.weight": (width, width),
        "transformer.h.0.ln_2.weight": (width,),
        "transformer.h.0.mlp.c_fc.weight": (4 * width, width),
        "transformer.h.0.mlp.c_proj.weight": (width, 4 * width),
        "transformer.ln_f.weight": (width,),
    }
    generator = torch.Generator().manual_seed(11)
    state = {name: torch.randn(*shape, generator=generator) * 0.3 for name, shape in sides.items()}
    state["lm_head.weight"] = state["transformer.wte.weight"]
    checkpoint = {
        "model": {f"_orig_mod.{name}": weight for name, weight in state.items()},
        "optimizer": {"state": {}, "param_groups": []},
        "model_args": arguments,
        "iter_num": 250,
        "best_val_loss": torch.tensor(1.5),
        "config": {"out_dir": "out", "init_from": "scratch", "learning_rate": 1e-3, "compile": True},
    }
    torch.save(checkpoint, folder / "nanogpt.pt")


def deepspeed(folder):
    """What DeepSpeed's engine leaves of weights that ZeRO did not divide, in a folder of its own."""
    state = {"module.lm_head.weight": torch.ones(4, 3), "module.norm.weight": torch.ones(3, dtype=torch.bfloat16)}
    checkpoint = {
        "module": state,
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [{name: tensor.shape for name, tensor in state.items()}],
        "lr_scheduler": {"last_batch_iteration": 500},
        "skipped_steps": 0,
        "ds_config": {"bf16": {"enabled": True}, "zero_optimization": {"stage": 1}},
        "ds_version": "0.15.4",
    }
    torch.save(checkpoint, folder / "deepspeed.pt")


def write(folder):
    """Writes all of them to `folder`."""
    model(folder)
    odd(folder)
    nanogpt(folder)
    deepspeed(folder)
    torch.save(torch.nn.Linear(2, 2), folder / "object.pt")
    torch.save({"model": torch.nn.Linear(2, 2)}, folder / "nested-object.pt")
    torch.save(torch.nn.Linear(2, 2), folder / "legacy-object.pt", _use_new_zipfile_serialization=False)
