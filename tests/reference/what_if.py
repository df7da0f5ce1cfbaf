"""Lens, attribution, edits and patching by hooks on a transformers model, to compare `attnscope` with.

    python tests/reference/what_if.py MODEL OUT.safetensors --ids 5,9,17 --from-ids 5,9,40 --target 3 --against 7

Writes lens [layers + 1, T, vocabulary], the parts of the attribution, patching maps, and logits under edits named `edit.N`, of
the list below. Nothing here is shared with the program: parts are read by hooks, and norms are written out.
"""

import argparse
import json

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

torch.set_grad_enabled(False)


class Parts:
    """Where a family keeps what is hooked."""

    def __init__(self, model):
        kind = model.config.model_type
        self.model = model
        if kind == "gpt2":
            body = model.transformer
            self.layers, self.last = list(body.h), body.ln_f
            self.output = lambda layer: layer.attn.c_proj
        elif kind == "gpt_neox":
            body = model.gpt_neox
            self.layers, self.last = list(body.layers), body.final_layer_norm
            self.output = lambda layer: layer.attention.dense
        elif kind == "bloom":
            body = model.transformer
            self.layers, self.last = list(body.h), body.ln_f
            self.output = lambda layer: layer.self_attention.dense
        else:
            body = model.model
            self.layers, self.last = list(body.layers), body.norm
            self.output = lambda layer: layer.self_attn.o_proj
        self.heads = model.config.num_attention_heads
        self.head = model.get_output_embeddings()

    def mlp(self, layer):
        if self.model.config.model_type == "bloom":
            # The MLP itself adds the residual stream.
            return layer.mlp.dense_4h_to_h
        return getattr(layer, "mlp", None) or layer.block_sparse_moe

    def after(self, layer, attention):
        """The normalisation of what attention or the MLP writes, where the family has one."""
        kind = self.model.config.model_type
        if kind in ("gemma2", "gemma3_text"):
            return layer.post_attention_layernorm if attention else layer.post_feedforward_layernorm
        if kind == "olmo2":
            return layer.post_attention_layernorm if attention else layer.post_feedforward_layernorm
        return None


def first(value):
    return value[0] if isinstance(value, tuple) else value


class Run:
    """A pass with what went in and out of every part."""

    def __init__(self, parts, ids, edits=()):
        self.resid, self.z, self.attn, self.mlp = [], [], [], []
        handles = []
        for index, layer in enumerate(parts.layers):
            def enter(module, args, kwargs, index=index):
                x = args[0] if args else kwargs["hidden_states"]
                for edit in edits:
                    x = edit("resid", index, x)
                self.resid.append(x.clone())
                if args:
                    return (x, *args[1:]), kwargs
                return args, kwargs | {"hidden_states": x}

            def heads(module, args, index=index):
                x = args[0]
                for edit in edits:
                    x = edit("z", index, x)
                self.z.append(x.clone())
                return (x, *args[1:])

            def wrote(kind, kept, index=index):
                def hook(module, args, out):
                    x = first(out)
                    for edit in edits:
                        x = edit(kind, index, x)
                    kept.append(x.clone())
                    return (x, *out[1:]) if isinstance(out, tuple) else x
                return hook

            handles.append(layer.register_forward_pre_hook(enter, with_kwargs=True))
            handles.append(parts.output(layer).register_forward_pre_hook(heads))
            attention = parts.after(layer, True) or parts.output(layer)
            handles.append(attention.register_forward_hook(wrote("attn", self.attn)))
            handles.append((parts.after(layer, False) or parts.mlp(layer)).register_forward_hook(wrote("mlp", self.mlp)))

        def end(module, args):
            self.resid.append(args[0].clone())

        handles.append(parts.last.register_forward_pre_hook(end))
        self.logits = parts.model(torch.tensor([ids])).logits[0].float()
        for handle in handles:
            handle.remove()
        flat = lambda xs: [x[0] if x.dim() == 3 else x for x in xs]
        self.resid, self.z, self.attn, self.mlp = map(flat, (self.resid, self.z, self.attn, self.mlp))


def unembed(parts, x):
    """Logits of the residual stream, with the model's own end."""
    logits = parts.head(x) * getattr(parts.model.config, "logit_scale", 1.0)
    cap = getattr(parts.model.config, "final_logit_softcapping", None)
    return cap * torch.tanh(logits / cap) if cap else logits


def linear_part(norm, x, whole):
    """What a normalisation makes of a part `x` of `whole`, without its bias."""
    eps = getattr(norm, "eps", getattr(norm, "variance_epsilon", None))
    if isinstance(norm, torch.nn.LayerNorm):
        centred = whole - whole.mean(-1, keepdim=True)
        return (x - x.mean(-1, keepdim=True)) / torch.sqrt((centred**2).mean(-1, keepdim=True) + norm.eps) * norm.weight
    gain = norm.weight + 1 if "Gemma" in type(norm).__name__ else norm.weight
    return x / torch.sqrt((whole**2).mean(-1, keepdim=True) + eps) * gain


def attribution(parts, run, target, against):
    direction = parts.head.weight[target] - parts.head.weight[against]
    last = run.resid[-1][-1]
    direct = lambda x: linear_part(parts.last, x, last) @ direction
    heads, biases, mlps = [], [], []
    for index, layer in enumerate(parts.layers):
        z, projection = run.z[index][-1], parts.output(layer)
        weight = projection.weight if type(projection).__name__ == "Conv1D" else projection.weight.t()
        size = z.numel() // parts.heads
        writes = [z[h * size:(h + 1) * size] @ weight[h * size:(h + 1) * size] for h in range(parts.heads)]
        norm = parts.after(layer, True)
        if norm is not None:
            whole = sum(writes) + (0 if projection.bias is None else projection.bias)
            writes = [linear_part(norm, write, whole) for write in writes]
        heads.append([direct(write).item() for write in writes])
        # What attention writes beside its heads.
        biases.append(direct(run.attn[index][-1] - sum(writes)).item())
        mlps.append(direct(run.mlp[index][-1]).item())
    bias = (parts.last.bias @ direction).item() if getattr(parts.last, "bias", None) is not None else 0.0
    if parts.head.bias is not None:
        bias += (parts.head.bias[target] - parts.head.bias[against]).item()
    return torch.tensor(heads), torch.tensor(biases), torch.tensor(mlps), direct(run.resid[0][-1]), torch.tensor(bias)


def replaced(where, layer, columns, tokens, values):
    """An edit that puts `values` [T, size] into some columns of a part at some tokens."""
    def edit(kind, index, x):
        if (kind, index) != (where, layer):
            return x
        flat = x.reshape(-1, x.shape[-1]).clone()
        flat[tokens, columns] = values[tokens, columns] if values.dim() == 2 else values
        return flat.reshape(x.shape)
    return edit


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("out")
    for name in ("--ids", "--from-ids"):
        parser.add_argument(name, type=lambda text: [int(part) for part in text.split(",")])
    parser.add_argument("--target", type=int)
    parser.add_argument("--against", type=int)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.float32, attn_implementation="eager").eval()
    parts = Parts(model)
    clean, other = Run(parts, given.ids), Run(parts, given.from_ids)
    tokens, count = len(given.ids), len(parts.layers)
    size = clean.z[0].shape[-1] // parts.heads
    column = lambda head: slice(head * size, (head + 1) * size)
    difference = lambda run: run.logits[-1, given.target] - run.logits[-1, given.against]
    out = {
        "lens": torch.stack([unembed(parts, parts.last(x[None])[0]) for x in clean.resid]),
        "clean": difference(clean),
        "corrupted": difference(other),
    }
    heads, biases, mlps, embedding, bias = attribution(parts, clean, given.target, given.against)
    out |= {"heads": heads, "attn_bias": biases, "mlps": mlps, "embedding": embedding, "bias": bias}

    whole = slice(None)
    middle, last = count - 1, parts.heads - 1
    so_far = lambda x: x.cumsum(0) / torch.arange(1, tokens + 1)[:, None]
    edits = [
        (f"0.{last}=zero", replaced("z", 0, column(last), whole, torch.zeros_like(clean.z[0]))),
        (f"{middle}.0=mean", replaced("z", middle, column(0), whole, clean.z[middle].mean(0).expand(tokens, -1))),
        (f"0.0@2-4=mean-so-far", replaced("z", 0, column(0), slice(2, 5), so_far(clean.z[0]))),
        (f"attn.0=zero", replaced("attn", 0, whole, whole, torch.zeros_like(clean.attn[0]))),
        (f"mlp.{middle}=mean", replaced("mlp", middle, whole, whole, clean.mlp[middle].mean(0).expand(tokens, -1))),
        (f"mlp.0@3=from", replaced("mlp", 0, whole, slice(3, 4), other.mlp[0])),
        (f"resid.{middle}@1-3=from", replaced("resid", middle, whole, slice(1, 4), other.resid[middle])),
        (f"{middle}.{last}=from", replaced("z", middle, column(last), whole, other.z[middle])),
    ]
    for number, (_, edit) in enumerate(edits):
        out[f"edit.{number}"] = Run(parts, given.ids, [edit]).logits

    def patched(base, values, where, source, columns, at):
        return difference(Run(parts, base, [replaced(where, source, columns, at, values)]))

    for direction, base, source in (("denoise", given.from_ids, clean), ("noise", given.ids, other)):
        out[f"{direction}.heads"] = torch.stack([
            torch.stack([patched(base, source.z[l], "z", l, column(h), whole) for h in range(parts.heads)]) for l in range(count)])
        for name, kept, where in (("mlps", source.mlp, "mlp"), ("attn", source.attn, "attn"), ("resid", source.resid, "resid")):
            out[f"{direction}.{name}"] = torch.stack([
                torch.stack([patched(base, kept[l], where, l, whole, slice(t, t + 1)) for t in range(tokens)]) for l in range(count)])
    save_file({name: value.float().contiguous() for name, value in out.items()}, given.out)
    print(json.dumps([text for text, _ in edits]))


if __name__ == "__main__":
    main()
