"""Breaks a sound model in many ways, has each checked, and says which were found, named and located.

    python tests/reference/breakages.py MODEL FOLDER ATTNSCOPE [--only NAME,NAME]

`MODEL` is a folder with a Llama in safetensors (SmolLM2, say), `FOLDER` is where broken copies go, one at a time, and
`ATTNSCOPE` the program. A breakage counts as found where some finding of a check that it names is a `fail` (or at least a
`warn`, where that is all it deserves), and as located where that finding is at the tensor, layer or key that was broken.
"""

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import time

import torch
from safetensors import safe_open
from safetensors.torch import save_file

WORST = ["ok", "note", "warn", "fail"]


class Model:
    """Tensors and configuration of a copy that is about to be broken."""

    def __init__(self, folder):
        with safe_open(folder / "model.safetensors", "pt") as file:
            self.tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
        self.config = json.loads((folder / "config.json").read_text())
        self.layers = self.config["num_hidden_layers"]

    def of(self, layer, name):
        return f"model.layers.{layer}.{name}.weight"

    def each(self, name):
        return [self.of(layer, name) for layer in range(self.layers)]

    def change(self, name, change):
        self.tensors[name] = change(self.tensors[name].float()).to(self.tensors[name].dtype).contiguous()

    def swap(self, one, other):
        self.tensors[one], self.tensors[other] = self.tensors[other], self.tensors[one]

    def swap_layers(self, one, other):
        for name in [name for name in self.tensors if f"layers.{one}." in name]:
            self.swap(name, name.replace(f"layers.{one}.", f"layers.{other}."))

    def rope(self, **values):
        self.config["rope_parameters"] = {"rope_type": "default", **self.config.get("rope_parameters", {}), **values}

    def permute(self, part):
        """The rows of each head from halves to neighbours."""
        size = self.config["head_dim"]

        def order(rows):
            heads = rows.reshape(-1, 2, size // 2, rows.shape[1])
            return heads.transpose(1, 2).reshape(rows.shape)

        for name in self.each(f"self_attn.{part}_proj"):
            self.change(name, order)

    def granite(self, **values):
        """The same model as a family whose multipliers are keys of its configuration."""
        scale = 1 / math.sqrt(self.config["head_dim"])
        neutral = {"embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0, "attention_multiplier": scale}
        self.config.update(neutral | values, model_type="granite", architectures=["GraniteForCausalLM"])

    def untie(self):
        self.tensors["lm_head.weight"] = self.tensors["model.embed_tokens.weight"].clone()
        self.config["tie_word_embeddings"] = False


def noise(like, scale=1.0):
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(0)) * like.std() * scale


def breakages():
    """Name, what breaks, checks that are right to complain, where, and how loud they have to be."""
    gains = ["input_layernorm", "post_attention_layernorm"]
    mid = "mlp.down_proj"

    def all_gains(by):
        def do(model):
            for name in [name for gain in gains for name in model.each(gain)] + ["model.norm.weight"]:
                model.change(name, lambda x: x + by)

        return do

    def set_to(name, value):
        def change(x):
            x.view(-1)[x.numel() // 3] = value
            return x

        return lambda model: model.change(name(model), change)

    yield "q and k in the other pairing", lambda m: (m.permute("q"), m.permute("k")), ["probe.rotary_pairing"], "q and k", "fail"
    yield "q in the other pairing", lambda m: m.permute("q"), ["probe.rotary_pairing"], "of q", "fail"
    yield "k in the other pairing", lambda m: m.permute("k"), ["probe.rotary_pairing"], "of k", "fail"
    for theta in [10_000.0, 1_000_000.0, 500.0]:
        yield f"rope_theta {theta:.0f}", lambda m, theta=theta: m.rope(rope_theta=theta), ["probe.rotary_base"], "rope_theta", "fail"
    yield "linear scaling that is not there", lambda m: m.rope(rope_type="linear", factor=4.0), ["probe.rotary_scaling"], "rope", "fail"
    yield "gains less one", all_gains(-1.0), ["probe.norm_gain"], "gains", "fail"
    yield "gains plus one", all_gains(1.0), ["probe.norm_gain"], "gains", "fail"
    yield "GELU for SiLU", lambda m: m.config.update(hidden_act="gelu"), ["probe.activation"], "activation", "fail"
    yield "ReLU for SiLU", lambda m: m.config.update(hidden_act="relu"), ["probe.activation"], "activation", "fail"

    def gate(m):
        for layer in range(m.layers):
            m.swap(m.of(layer, "mlp.gate_proj"), m.of(layer, "mlp.up_proj"))

    yield "gate and up exchanged", gate, ["probe.gate"], "gate", "fail"
    yield "embedding multiplier", lambda m: m.granite(embedding_multiplier=math.sqrt(m.config["hidden_size"])), ["probe.embedding_scale"], "embedding", "fail"
    yield "attention scale 1/d", lambda m: m.granite(attention_multiplier=1 / m.config["head_dim"]), ["probe.attention_scale"], "attention", "fail"
    yield "residual multiplier", lambda m: m.granite(residual_multiplier=0.22), ["probe.residual_scale"], "residual", "fail"
    yield "logits scaling", lambda m: m.granite(logits_scaling=8.0), ["probe.logit_scale"], "logit", "fail"
    yield "window that is not there", lambda m: m.config.update(model_type="mistral", sliding_window=16, architectures=["MistralForCausalLM"]), ["probe.window"], "window", "fail"
    yield "layers 10 and 11 exchanged", lambda m: m.swap_layers(10, 11), ["probe.layer_order"], "layers 10 and 11", "fail"
    yield "layers 20 and 21 exchanged", lambda m: m.swap_layers(20, 21), ["probe.layer_order"], "layers 20 and 21", "fail"
    yield "layers 3 and 20 exchanged", lambda m: m.swap_layers(3, 20), ["probe.layer_order"], "layers 3 and 20", "fail"
    yield "one MLP zero", lambda m: m.change(m.of(12, mid), lambda x: x * 0), ["weights.zero"], "layers.12.mlp", "fail"
    yield "one attention zero", lambda m: m.change(m.of(7, "self_attn.o_proj"), lambda x: x * 0), ["weights.zero"], "layers.7.self_attn", "fail"
    yield "one gain lost", lambda m: m.change(m.of(9, gains[0]), torch.ones_like), ["weights.norm_gain"], "layers.9.input", "fail"
    yield "all gains lost", lambda m: [m.change(name, torch.ones_like) for gain in gains for name in m.each(gain)], ["weights.norm_gain", "text.loss"], "", "fail"
    yield "one NaN", set_to(lambda m: m.of(4, "mlp.up_proj"), math.nan), ["weights.finite"], "layers.4.mlp.up", "fail"
    yield "one Inf", set_to(lambda m: m.of(22, "self_attn.v_proj"), math.inf), ["weights.finite"], "layers.22.self_attn.v", "fail"
    yield "a constant matrix", lambda m: m.change(m.of(5, "self_attn.q_proj"), lambda x: x * 0 + 0.02), ["weights.constant"], "layers.5.self_attn.q", "fail"
    yield "a tensor 32 times too large", lambda m: m.change(m.of(16, "mlp.up_proj"), lambda x: x * 32), ["weights.scale"], "layers.16.mlp.up", "warn"
    yield "a tensor 50 times too small", lambda m: m.change(m.of(18, "self_attn.k_proj"), lambda x: x / 50), ["weights.scale"], "layers.18.self_attn.k", "warn"

    def again(m, keep=""):
        for name in [name for name in m.tensors if "layers.14." in name and keep in name]:
            m.tensors[name.replace("layers.14.", "layers.15.")] = m.tensors[name].clone()

    yield "a layer twice", again, ["weights.repeated"], "layer 15", "warn"
    yield "one matrix twice", lambda m: again(m, "mlp.up_proj"), ["weights.repeated"], "layers.15.mlp.up", "fail"
    yield "a layer nearly twice", lambda m: (again(m), [m.change(n, lambda x: x + noise(x, 0.02)) for n in m.tensors if "layers.15." in n and "norm" not in n]), ["weights.repeated"], "layer 15", "warn"

    def half(x):
        x[x.shape[0] // 2 :] = 0
        return x

    yield "half of a matrix zero", lambda m: m.change(m.of(8, "mlp.gate_proj"), half), ["weights.zero_rows"], "layers.8.mlp.gate", "fail"
    yield "a head drifted from the tied embedding", lambda m: (m.untie(), m.change("lm_head.weight", lambda x: x + noise(x, 0.7)), m.config.update(tie_word_embeddings=True)), ["probe.tied_head"], "unembedding", "fail"
    yield "rows of the embedding one off", lambda m: m.change("model.embed_tokens.weight", lambda x: x.roll(1, 0)), ["vocabulary.fit", "text.loss"], "", "fail"
    yield "all layers in reverse", lambda m: [m.swap_layers(n, m.layers - 1 - n) for n in range(m.layers // 2)], ["text.loss", "probe.layer_order"], "", "warn"
    yield "q and o transposed", lambda m: [m.change(n, lambda x: x.t()) for p in "qo" for n in m.each(f"self_attn.{p}_proj")], ["probe.transposed", "text.loss"], "", "warn"
    yield "neurons of one MLP in another order", lambda m: m.change(m.of(13, "mlp.down_proj"), lambda x: x.flip(1)), ["weights.channels"], "layers.13.mlp", "fail"
    yield "a matrix at random again", lambda m: m.change(m.of(6, "mlp.up_proj"), noise), ["weights.channels"], "layers.6.mlp", "fail"


def check(program, folder):
    start = time.monotonic()
    done = subprocess.run([program, "check", folder, "--format", "json", "--quiet"], capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode not in (0, 1):
        return None, done.stderr.strip(), seconds
    return json.loads(done.stdout), "", seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("program")
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    only = [name for name in given.only.split(",") if name]
    counts = {"found": 0, "located": 0, "all": 0}
    for name, breaks, checks, where, least in breakages():
        if only and not any(part in name for part in only):
            continue
        folder = given.folder / "broken"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = Model(given.model)
        breaks(model)
        for file in given.model.iterdir():
            if "tokenizer" in file.name:
                (folder / file.name).symlink_to(file.resolve())
        save_file(model.tensors, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(model.config))
        report, error, seconds = check(given.program, folder)
        loud = [] if report is None else [f for f in report["findings"] if WORST.index(f["verdict"]) >= WORST.index("warn")]
        right = [f for f in loud if f["check"] in checks and WORST.index(f["verdict"]) >= WORST.index(least)]
        located = [f for f in right if where in (f["where"] or "") + f["text"]]
        others = sorted({f["check"] for f in loud} - set(checks))
        counts["all"] += 1
        counts["found"] += bool(right)
        counts["located"] += bool(located)
        said = "could not run: " + error if report is None else (located or right or [{"text": "nothing"}])[0]["text"]
        mark = "located" if located else "found" if right else "MISSED"
        print(f"{mark:8} {seconds:5.1f} s  {name}: {said}" + (f"  (also {', '.join(others)})" if others else ""), flush=True)
    print(f"{counts['located']} located, {counts['found']} found of {counts['all']}")


if __name__ == "__main__":
    main()
