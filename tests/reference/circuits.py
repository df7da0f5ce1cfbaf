"""Weight circuits of the small random models, computed densely in float64 with numpy: the formulas of Elhage et al. 2021
with whole `vocabulary x vocabulary` and `width x width` matrices, sharing nothing with the crate's ways around them.

Writes `circuits.safetensors` beside the model, and the attention-only model itself, which transformers does not have.
"""

import json

import numpy as np
from safetensors.numpy import load_file, save_file

CASES = ["llama-gqa", "gpt2", "attn-only"]
ATTN_ONLY = {
    "model_type": "attn-only",
    "bos_token_id": 0,
    "head_dim": 8,
    "hidden_size": 24,
    "max_position_embeddings": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 80,
}
TOKENS, TOKEN, SOURCE, HEADS = 14, 5, 7, [(0, 1), (1, 2)]


def attn_only(folder):
    """Writes the attention-only model: every matrix random, gains around one."""
    rng = np.random.default_rng(5)
    c = ATTN_ONLY
    width, heads, kv = c["hidden_size"], c["num_attention_heads"] * c["head_dim"], c["num_key_value_heads"] * c["head_dim"]
    shapes = {"model.embed_tokens.weight": (c["vocab_size"], width), "lm_head.weight": (c["vocab_size"], width), "model.norm.weight": (width,)}
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes |= {at + "input_layernorm.weight": (width,)}
        shapes |= {at + f"self_attn.{x}_proj.weight": s for x, s in dict(q=(heads, width), k=(kv, width), v=(kv, width), o=(width, heads)).items()}
    draw = lambda s: 1 + 0.3 * rng.standard_normal(s) if len(s) == 1 else 0.3 * rng.standard_normal(s)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: draw(shape).astype(np.float32) for name, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")


class Model:
    """The matrices of a checkpoint in float64; a layer is a dictionary, its heads apart."""

    def __init__(self, folder):
        c = json.loads((folder / "config.json").read_text())
        w = {k: v.astype(np.float64) for f in folder.glob("model*.safetensors") for k, v in load_file(f).items()}
        w = {k.removeprefix("model.").removeprefix("transformer."): v for k, v in w.items()}
        self.layer_norm = c["model_type"] == "gpt2"
        if self.layer_norm:
            self.width, self.heads, self.kv, layers = c["n_embd"], c["n_head"], c["n_head"], c["n_layer"]
            self.size, self.eps = self.width // self.heads, c["layer_norm_epsilon"]
            self.e, self.u, self.p = w["wte.weight"], w["wte.weight"], w["wpe.weight"]
            self.norm = w["ln_f.weight"], w["ln_f.bias"]
            self.layers = [self.gpt2_layer(w, f"h.{l}.") for l in range(layers)]
        else:
            self.width, self.heads, self.kv, layers = (
                c[k] for k in ["hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers"]
            )
            self.size, self.eps, self.p = c["head_dim"], c["rms_norm_eps"], None
            self.e, self.u = w["embed_tokens.weight"], w["lm_head.weight"]
            self.norm = w["norm.weight"], 0.0
            self.theta = (c.get("rope_parameters") or c)["rope_theta"]
            self.layers = [self.llama_layer(w, f"layers.{l}.") for l in range(layers)]

    def gpt2_layer(self, w, at):
        q, k, v = np.split(w[at + "attn.c_attn.weight"].T, 3)
        bq, bk, bv = np.split(w[at + "attn.c_attn.bias"], 3)
        mlp = [w[at + f"mlp.{n}.{x}"] for n in ["c_fc", "c_proj"] for x in ["weight", "bias"]]
        norms = [(w[at + f"ln_{n}.weight"], w[at + f"ln_{n}.bias"]) for n in [1, 2]]
        return dict(q=q, k=k, v=v, bq=bq, bk=bk, o=w[at + "attn.c_proj.weight"].T, norm=norms[0], mlp_norm=norms[1], mlp=mlp)

    def llama_layer(self, w, at):
        q, k, v, o = (w[at + f"self_attn.{x}_proj.weight"] for x in "qkvo")
        layer = dict(q=q, k=k, v=v, bq=0.0, bk=0.0, o=o, norm=(w[at + "input_layernorm.weight"], 0.0))
        if at + "mlp.gate_proj.weight" in w:
            layer["mlp"] = [w[at + f"mlp.{x}_proj.weight"] for x in ["gate", "up", "down"]]
            layer["mlp_norm"] = (w[at + "post_attention_layernorm.weight"], 0.0)
        return layer

    def centred(self, x):
        return x - x.mean(-1, keepdims=True) if self.layer_norm else x

    def divisor(self, x):
        return np.sqrt((self.centred(x) ** 2).mean(-1, keepdims=True) + self.eps)

    def normalise(self, x, norm, divisor=None):
        return self.centred(x) / (self.divisor(x) if divisor is None else divisor) * norm[0] + norm[1]

    def effective(self):
        layer = self.layers[0]
        if "mlp" not in layer:
            return self.e
        x = self.normalise(self.e, layer["mlp_norm"])
        if self.layer_norm:
            up, up_bias, down, down_bias = layer["mlp"]
            h = x @ up + up_bias
            h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
            return self.e + h @ down + down_bias
        gate, up, down = layer["mlp"]
        h = x @ gate.T
        return self.e + (h / (1 + np.exp(-h)) * (x @ up.T)) @ down.T

    def circuits(self, layer, head):
        """W_QK and W_OV of a head, [width, width], the normalisation folded in as a matrix on both sides."""
        w = self.layers[layer]
        centre = np.eye(self.width) - (1 / self.width if self.layer_norm else 0)
        read = np.diag(w["norm"][0]) @ centre
        rows = slice(head * self.size, (head + 1) * self.size)
        shared = head // (self.heads // self.kv)
        kv = slice(shared * self.size, (shared + 1) * self.size)
        qk = (w["q"][rows] @ read).T @ (w["k"][kv] @ read)
        ov = centre @ w["o"][:, rows] @ w["v"][kv] @ read
        return qk, ov

    def unembedding(self):
        centre = np.eye(self.width) - (1 / self.width if self.layer_norm else 0)
        return self.u @ np.diag(self.norm[0]) @ centre

    def rotate(self, x):
        """[tokens, heads, size] at positions 0.. ; halves are rotated together."""
        if self.p is not None:
            return x
        half = self.size // 2
        angles = np.arange(len(x))[:, None, None] * self.theta ** (-np.arange(half) / half)
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * np.cos(angles) - b * np.sin(angles), b * np.cos(angles) + a * np.sin(angles)], -1)

    def patterns(self, layer, normed):
        """[heads, query, key] of what a layer reads."""
        w, n = self.layers[layer], len(normed)
        q = self.rotate((normed @ w["q"].T + w["bq"]).reshape(n, self.heads, self.size))
        k = self.rotate((normed @ w["k"].T + w["bk"]).reshape(n, self.kv, self.size))
        k = np.repeat(k, self.heads // self.kv, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(self.size)
        scores = np.where(np.tril(np.ones((n, n))), scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return scores / scores.sum(-1, keepdims=True)


def spectrum(matrix, size):
    """The `size` largest eigenvalues by absolute value: the rest are zeros of the expansion."""
    values = np.linalg.eigvals(matrix)
    return values[np.argsort(-np.abs(values), kind="stable")][:size]


def positivity(values):
    return values.sum().real / np.abs(values).sum()


def compose(model):
    heads = [model.circuits(l, h) for l in range(len(model.layers)) for h in range(model.heads)]
    scores = np.full((3, len(heads), len(heads)), np.nan)
    for i, (qk, ov2) in enumerate(heads):
        for j, (_, ov) in enumerate(heads):
            if j // model.heads < i // model.heads:
                for kind, reader in enumerate([qk.T, qk, ov2]):
                    scores[kind, i, j] = np.linalg.norm(reader @ ov) / np.linalg.norm(reader) / np.linalg.norm(ov)
    return scores


def trigrams(model, layer, head, e):
    """QK less each destination's mean over sources [destination, source], OV less each source's mean over outs."""
    qk, ov = model.circuits(layer, head)
    x = e / model.divisor(e)
    attention = x @ qk @ x.T / np.sqrt(model.size)
    writes = model.unembedding() @ ov @ x.T
    return attention - attention.mean(1, keepdims=True), writes - writes.mean(0)


def profile(model, layer, e):
    mean = e.mean(0, keepdims=True)
    x = np.repeat(mean, TOKENS, 0) if model.p is None else mean + model.p[:TOKENS]
    square = ((model.centred(e) - model.centred(mean)) ** 2).mean()
    divisor = np.sqrt((model.centred(x) ** 2).mean(-1, keepdims=True) + square + model.eps)
    a = model.patterns(layer, model.normalise(x, model.layers[layer]["norm"], divisor))
    return np.stack([[np.mean([h[q, q - d] for q in range(TOKENS // 2, TOKENS)]) for d in range(TOKENS // 2)] for h in a])


def terms(model, ids):
    """Every term of the path expansion multiplied out, one head chain at a time, with everything frozen."""
    x, maps = model.e[ids], []
    for layer, w in enumerate(model.layers):
        divisor = model.divisor(x)
        patterns = model.patterns(layer, model.normalise(x, w["norm"], divisor))
        ovs = [model.circuits(layer, head)[1] for head in range(model.heads)]
        maps.append([lambda y, a=a, ov=ov, d=divisor: a @ (y / d) @ ov.T for a, ov in zip(patterns, ovs)])
        x = x + sum(head(x) for head in maps[-1])
    final = model.divisor(x)

    # The layers gone through and what comes out.
    paths = [((), model.e[ids])]
    for layer in range(len(model.layers)):
        paths += [(way + (layer,), head(value)) for way, value in paths for head in maps[layer]]
    assert np.allclose(sum(value for _, value in paths), x)

    def loss(keep):
        total = sum(value for way, value in paths if keep(way))
        logits = (total / final) @ model.unembedding().T
        logits = logits[:-1] - np.logaddexp.reduce(logits[:-1], -1, keepdims=True)
        return -logits[np.arange(len(ids) - 1), ids[1:]].mean()

    layers = range(len(model.layers))
    return dict(
        losses=[loss(lambda way: len(way) <= n) for n in range(len(model.layers) + 1)],
        alone=[loss(lambda way: way == () or way == (l,)) for l in layers],
        without=[loss(lambda way: len(way) <= 1 and way != (l,)) for l in layers],
    )


def reference(folder):
    model = Model(folder)
    raw, effective = model.e, model.effective()
    layers, out = len(model.layers), {}
    at = lambda layer: raw if layer == 0 else effective
    u = model.unembedding()
    u = u - u.mean(0)
    ov = [spectrum(u @ model.circuits(l, h)[1] @ at(l).T, model.size) for l in range(layers) for h in range(model.heads)]
    out["copying"] = np.array([positivity(values) for values in ov])
    out["eigenvalues"] = np.abs(ov)
    out["composition"] = compose(model)
    for name, e in [("raw", raw), ("effective", effective)]:
        out["bigram." + name] = model.normalise(e[TOKEN : TOKEN + 1], model.norm)[0] @ model.u.T
    for layer, head in HEADS:
        attention, writes = trigrams(model, layer, head, at(layer))
        at_head = f"{layer}.{head}"
        out["attention." + at_head], out["writes." + at_head] = attention[:, SOURCE], writes[:, SOURCE]
        out["strength." + at_head] = np.maximum(attention.max(0), 0) * np.maximum(writes.max(0), 0)
    out["positions"] = np.stack([profile(model, l, at(l)) for l in range(layers)])
    # These stand for measured previous-token scores.
    previous = 0.1 + 0.05 * np.arange(layers * model.heads) % 0.17
    e = effective - effective.mean(0)
    matching, traces = [], []
    for layer in range(1, layers):
        earlier = layer * model.heads
        best = int(np.argmax(previous[:earlier]))
        all_ov = [model.circuits(*divmod(i, model.heads))[1] for i in range(earlier)]
        for head in range(model.heads):
            qk = model.circuits(layer, head)[0]
            matching.append(positivity(spectrum(e @ qk @ all_ov[best] @ e.T, model.size)))
            traces.append(sum(p * np.trace(e @ qk @ w @ e.T) for p, w in zip(previous, all_ov)) / len(e))
    out |= {"previous": previous, "matching": np.array(matching), "trace": np.array(traces)}
    if not any("mlp" in layer for layer in model.layers):
        ids = np.array([3, 17, 40, 17, 66, 3, 17, 40, 9, 17])
        out |= {"terms." + name: np.array(value) for name, value in terms(model, ids).items()} | {"terms.ids": ids}
    return out


def write(root):
    """Writes the attention-only model and the circuits of every case below `root`."""
    attn_only(root / "attn-only")
    for name in CASES:
        tensors = reference(root / name)
        tensors = {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in tensors.items()}
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, root / name / "circuits.safetensors")
        print(f"{name:16} copying {np.round(tensors['copying'], 2)}")
