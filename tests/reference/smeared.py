"""A tiny checkpoint with smeared keys, and an attention-only forward pass of our own in plain torch, float32.

No library has this model, so the forward pass is written out here from the 2022 paper's formula (Argument 2),
`k[j] <- sigmoid(alpha) k[j] + (1 - sigmoid(alpha)) k[j-1]` with one alpha a head and the first key unchanged, applied to
the keys after rotation.
"""

import json

import torch
from safetensors.torch import save_file

NAME = "attn-only-smeared"
VOCABULARY, WIDTH, LAYERS, HEADS, SIZE, CONTEXT, EPSILON, THETA = 80, 24, 2, 3, 8, 48, 1e-5, 10_000.0
CONFIG = dict(
    model_type="attn-only",
    architectures=["AttnOnlyForCausalLM"],
    vocab_size=VOCABULARY,
    hidden_size=WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    head_dim=SIZE,
    max_position_embeddings=CONTEXT,
    rope_theta=THETA,
    rms_norm_eps=EPSILON,
    smeared_keys=True,
    tie_word_embeddings=False,
    bos_token_id=0,
    torch_dtype="float32",
)


def weights(generator):
    """Random parameters, wide enough for peaked attention and with shares of the key before from a tenth to nine."""
    draw = lambda *shape: 0.35 * torch.randn(shape, generator=generator)
    gain = lambda: 1.0 + 0.3 * torch.randn(WIDTH, generator=generator)
    tensors = {"model.embed_tokens.weight": 1.5 * draw(VOCABULARY, WIDTH)}
    for layer in range(LAYERS):
        part = f"model.layers.{layer}."
        tensors[part + "input_layernorm.weight"] = gain()
        for name in "qkvo":
            tensors[part + f"self_attn.{name}_proj.weight"] = draw(WIDTH, WIDTH)
        tensors[part + "self_attn.k_smear"] = torch.linspace(-2.2, 2.2, HEADS) * (1 if layer == 0 else -1)
    tensors["model.norm.weight"] = gain()
    tensors["lm_head.weight"] = draw(VOCABULARY, WIDTH)
    return tensors


def rotated(x):
    """Rotary positions in halves, of `[heads, T, size]`."""
    frequency = THETA ** (-torch.arange(0, SIZE, 2) / SIZE)
    angle = torch.arange(x.shape[1])[:, None] * frequency
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], -1)


def forward(tensors, ids):
    """The logits `[T, vocabulary]` and every layer's pattern `[heads, T, T]`."""
    norm = lambda x, gain: x / (x.pow(2).mean(-1, keepdim=True) + EPSILON).sqrt() * gain
    split = lambda x: x.view(len(ids), HEADS, SIZE).transpose(0, 1)
    hidden = torch.full((len(ids), len(ids)), float("-inf")).triu(1)
    stream, patterns = tensors["model.embed_tokens.weight"][ids], []
    for layer in range(LAYERS):
        weight = lambda name: tensors[f"model.layers.{layer}.{name}"]
        x = norm(stream, weight("input_layernorm.weight"))
        q, k, v = (split(x @ weight(f"self_attn.{name}_proj.weight").T) for name in "qkv")
        q, k = rotated(q), rotated(k)
        share = weight("self_attn.k_smear").sigmoid()[:, None, None]
        k = torch.cat([k[:, :1], share * k[:, 1:] + (1 - share) * k[:, :-1]], dim=1)
        pattern = (q @ k.transpose(1, 2) / SIZE**0.5 + hidden).softmax(-1)
        read = (pattern @ v).transpose(0, 1).reshape(len(ids), WIDTH)
        stream = stream + read @ weight("self_attn.o_proj.weight").T
        patterns.append(pattern)
    return norm(stream, tensors["model.norm.weight"]) @ tensors["lm_head.weight"].T, patterns


@torch.no_grad()
def write(root):
    """Writes checkpoint and reference below `root`."""
    folder = root / NAME
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(20)
    tensors = weights(generator)
    ids = torch.randint(1, VOCABULARY, (15,), generator=generator)
    ids[0], ids[8:12] = 0, ids[2:6].clone()
    logits, patterns = forward(tensors, ids)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2, sort_keys=True) + "\n")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    reference = {"ids": ids, "logits": logits}
    reference |= {f"pattern.{layer}": pattern for layer, pattern in enumerate(patterns)}
    reference = {name: tensor.contiguous() for name, tensor in reference.items()}
    save_file(reference, folder / "reference.safetensors", metadata={"source": f"torch {torch.__version__}"})
