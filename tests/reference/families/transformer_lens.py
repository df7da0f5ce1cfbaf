"""TransformerLens's own models: attention-only and with MLPs, every normalisation and kind of positions, old layouts.

The reference is `HookedTransformer`, given the file's tensors by name.
"""

import json

import torch
from checkpoints import Case
from safetensors.torch import load_file, save_file

CONFIG = dict(d_model=24, n_layers=2, n_heads=3, d_head=8, n_ctx=40, d_vocab=72, d_mlp=40, act_fn="gelu_new", eps=1e-5)

SHORTFORMER = dict(attn_only=True, normalization=None, shortformer_pos=True, d_head=10)


def config_of(values):
    from transformer_lens import HookedTransformerConfig

    values = dict(values)
    if "normalization" in values:
        values["normalization_type"] = values.pop("normalization")
    if "shortformer_pos" in values:
        shortformer = values.pop("shortformer_pos")
        values["positional_embedding_type"] = "shortformer" if shortformer else "standard"
    return HookedTransformerConfig(**values, device="cpu")


def open_model(folder):
    """The model of a folder: its number of ids, and what makes logits and patterns of some."""
    from transformer_lens import HookedTransformer
    from transformer_lens.pretrained.weight_conversions import convert_neel_solu_old_weights

    values = json.loads((folder / "config.json").read_text())
    file = folder / "model_final.pth"
    state = torch.load(file) if file.is_file() else load_file(folder / "model.safetensors")
    old = values.pop("architecture", None) == "neel-solu-old"
    model = HookedTransformer(config_of(values)).eval()
    if old:
        state = convert_neel_solu_old_weights(state, model.cfg)
    model.load_and_process_state_dict(
        state,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )

    def forward(ids):
        logits, cache = model.run_with_cache(ids)
        return logits, [cache["pattern", layer] for layer in range(model.cfg.n_layers)]

    forward.source = "transformer_lens"
    return model.cfg.d_vocab, forward


def saved(values, pickled=False, without=(), old=False):
    """Writes config and tensors, under the names of today or as the oldest models have them."""

    def save(model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
        buffers = ("mask", "IGNORE", "rotary_sin", "rotary_cos")
        state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith(without)}
        if old:
            state = {turned_name(name): turned(name, tensor, values) for name, tensor in state.items()}
        if pickled:
            torch.save(state, folder / "model_final.pth")
        else:
            kept = {name: tensor.contiguous() for name, tensor in state.items() if not name.endswith(buffers)}
            save_file(kept, folder / "model.safetensors")

    return save


def turned_name(name):
    return name.replace("ln_final", "ln").replace("ln", "norm")


def turned(name, tensor, values):
    if "W_pos" in name:
        return tensor.T if values["n_layers"] <= 8 else tensor
    return tensor.transpose(-2, -1) if "W_" in name and values["n_layers"] <= 6 else tensor


def lens(save=None, stored=False, spread=0.32, **options):
    values = CONFIG | options
    if values.get("attn_only"):
        values = {key: value for key, value in values.items() if key != "act_fn"}

    def build():
        from transformer_lens import HookedTransformer

        return HookedTransformer(config_of({key: value for key, value in values.items() if key != "architecture"}))

    return Case(build, stored=stored, save=saved(values, **save or {}), open=open_model, spread=spread)


CASES = {
    # As the two-layer teaching model: no normalisation, positions for queries and keys only.
    "lens-shortformer": lens(dict(without=("b_U",)), stored=True, **SHORTFORMER),
    # With the masks in it.
    "lens-pickled": lens(dict(pickled=True, without=("b_U",)), **SHORTFORMER),
    "lens-attn-only": lens(attn_only=True, normalization="LN", n_layers=3),
    "lens-attn-pre": lens(attn_only=True, normalization_type="LNPre", final_rms=True),
    "lens-gelu": lens(normalization_type="LN", act_fn="gelu", n_heads=2, d_head=12),
    "lens-solu": lens(normalization="LNPre", act_fn="solu_ln", shortformer_pos=False),
    "lens-solu-ln": lens(stored=True, normalization="LN", act_fn="solu_ln", final_rms=True, n_heads=2),
    "lens-solu-old": lens(
        dict(old=True), normalization="LNPre", act_fn="solu_ln", final_rms=True, architecture="neel-solu-old"
    ),
    "lens-solu-old-8": lens(
        dict(old=True, pickled=True),
        n_layers=8,
        d_model=16,
        normalization="LN",
        act_fn="solu_ln",
        architecture="neel-solu-old",
    ),
    "lens-rms": lens(normalization_type="RMS", act_fn="relu", positional_embedding_type="rotary", rotary_dim=4),
    "lens-rms-pre": lens(
        normalization_type="RMSPre",
        act_fn="silu",
        positional_embedding_type="rotary",
        rotary_adjacent_pairs=True,
        rotary_base=500,
        use_qk_norm=True,
    ),
    "lens-alibi": lens(normalization_type="LN", positional_embedding_type="alibi", parallel_attn_mlp=True),
    "lens-local": lens(
        normalization_type="LN",
        use_local_attn=True,
        window_size=4,
        attn_types=["global", "local", "local"],
        n_layers=3,
        scale_attn_by_inverse_layer_idx=True,
        use_attn_scale=True,
        attn_scale=2.0,
        attn_scores_soft_cap=3.0,
        output_logits_soft_cap=5.0,
    ),
    "lens-unscaled": lens(dict(pickled=True), normalization=None, use_attn_scale=False, act_fn="gelu_fast"),
}
