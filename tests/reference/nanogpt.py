"""Tiny checkpoints of nanoGPT as its trainer leaves them, and a forward pass of our own in plain torch, float32.

No library has this model, so the forward pass is written out here: GPT-2's, with an exact GELU, weights stored the way
that linear layers have them, and biases everywhere or nowhere.
"""

import torch
from safetensors.torch import save_file
from torch.nn.functional import gelu, layer_norm

# With and without biases.
NAMES = {"nanogpt": True, "nanogpt-plain": False}
LAYERS, HEADS, WIDTH, CONTEXT, VOCABULARY = 2, 3, 12, 20, 64


def weights(biased, generator):
    """Random parameters, wide enough for peaked attention."""
    draw = lambda *shape: 0.36 * torch.randn(shape, generator=generator)
    tensors = {"transformer.wte.weight": 2.0 * draw(VOCABULARY, WIDTH), "transformer.wpe.weight": draw(CONTEXT, WIDTH)}

    def linear(name, inputs, outputs):
        tensors[f"{name}.weight"] = draw(outputs, inputs)
        if biased:
            tensors[f"{name}.bias"] = draw(outputs)

    def norm(name):
        tensors[f"{name}.weight"] = 1.0 + draw(WIDTH)
        if biased:
            tensors[f"{name}.bias"] = draw(WIDTH)

    for layer in range(LAYERS):
        part = f"transformer.h.{layer}."
        norm(part + "ln_1")
        linear(part + "attn.c_attn", WIDTH, 3 * WIDTH)
        linear(part + "attn.c_proj", WIDTH, WIDTH)
        norm(part + "ln_2")
        linear(part + "mlp.c_fc", WIDTH, 4 * WIDTH)
        linear(part + "mlp.c_proj", 4 * WIDTH, WIDTH)
    norm("transformer.ln_f")
    tensors["lm_head.weight"] = tensors["transformer.wte.weight"]
    return tensors


def forward(tensors, ids):
    """The logits `[T, vocabulary]` and every layer's pattern `[heads, T, T]`."""
    weight = lambda name: tensors[f"{name}.weight"]
    bias = lambda name: tensors.get(f"{name}.bias")
    linear = lambda name, x: torch.nn.functional.linear(x, weight(name), bias(name))
    norm = lambda name, x: layer_norm(x, (WIDTH,), weight(name), bias(name), 1e-5)
    split = lambda x: x.view(len(ids), HEADS, -1).transpose(0, 1)
    hidden = torch.full((len(ids), len(ids)), float("-inf")).triu(1)
    stream = weight("transformer.wte")[ids] + weight("transformer.wpe")[: len(ids)]
    patterns = []
    for layer in range(LAYERS):
        part = f"transformer.h.{layer}."
        q, k, v = (split(x) for x in linear(part + "attn.c_attn", norm(part + "ln_1", stream)).chunk(3, -1))
        pattern = (q @ k.transpose(1, 2) / (WIDTH / HEADS) ** 0.5 + hidden).softmax(-1)
        read = (pattern @ v).transpose(0, 1).reshape(len(ids), WIDTH)
        stream = stream + linear(part + "attn.c_proj", read)
        inner = gelu(linear(part + "mlp.c_fc", norm(part + "ln_2", stream)))
        stream = stream + linear(part + "mlp.c_proj", inner)
        patterns.append(pattern)
    return norm("transformer.ln_f", stream) @ weight("lm_head").T, patterns


@torch.no_grad()
def write(root):
    """Writes checkpoints and references below `root`."""
    for name, biased in NAMES.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        generator = torch.Generator().manual_seed(30)
        tensors = weights(biased, generator)
        ids = torch.randint(VOCABULARY, (15,), generator=generator)
        ids[8:12] = ids[2:6].clone()
        logits, patterns = forward(tensors, ids)
        arguments = dict(
            n_layer=LAYERS,
            n_head=HEADS,
            n_embd=WIDTH,
            block_size=CONTEXT,
            bias=biased,
            vocab_size=VOCABULARY,
            dropout=0.2,
        )
        # As torch.compile names them.
        state = {f"_orig_mod.{name}": tensor for name, tensor in tensors.items()}
        torch.save({"model": state, "model_args": arguments, "iter_num": 5000}, folder / "ckpt.pt")
        reference = {"ids": ids, "logits": logits}
        reference |= {f"pattern.{layer}": pattern for layer, pattern in enumerate(patterns)}
        reference = {name: tensor.contiguous() for name, tensor in reference.items()}
        save_file(reference, folder / "reference.safetensors", metadata={"source": f"torch {torch.__version__}"})
