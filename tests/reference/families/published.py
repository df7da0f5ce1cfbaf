"""Configurations as people publish them, with every key they have and only the sizes made small: `published.json`."""

import json
import re
from pathlib import Path

import torch
from checkpoints import Case
from transformers import AutoConfig, AutoModelForCausalLM

from families.falcon import AlibiOnce

PUBLISHED = json.loads((Path(__file__).parents[1] / "published.json").read_text())
HEADS, WIDTH, LAYERS, INNER, VOCABULARY = 4, 64, 4, 40, 96
# Keys under which each size goes.
OF_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads")
OF_KEYS = ("num_key_value_heads", "num_kv_heads")
OF_WIDTH = ("hidden_size", "n_embd", "n_embed", "d_model")
OF_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
OF_INNER = (
    "intermediate_size",
    "n_inner",
    "ffn_dim",
    "ffn_hidden_size",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "shared_intermediate_size",
    "intermediate_size_mlp",
)
OF_CONTEXT = ("n_positions", "max_seq_len")
OF_WINDOW = ("sliding_window", "window_size", "sliding_window_size")
OF_LAYER = ("layer_types", "layer_rope_theta", "mlp_layer_types", "no_rope_layers", "attention_layers")
OTHERS = dict(num_local_experts=4, num_experts=4, num_experts_per_tok=2, rotary_dim=8, head_dim=WIDTH // HEADS)
OTHERS |= dict(n_routed_experts=8, moe_num_experts=4, moe_k=2, moe_layer_end_index=2)
OTHERS |= dict(kv_lora_rank=12, qk_nope_head_dim=10, qk_rope_head_dim=8, v_head_dim=14)


def small(config):
    """The configuration with other sizes, which stand in the same relations."""
    config = json.loads(json.dumps(config))
    heads, layers = (next(config[key] for key in keys if key in config) for keys in (OF_HEADS, OF_LAYERS))
    width = next(config[key] for key in OF_WIDTH if key in config)

    def put(keys, value):
        config.update({key: value(config[key]) for key in keys if config.get(key) is not None})

    put(OF_KEYS, lambda count: HEADS if count == heads else 1 if count == 1 else 2)
    put(("word_embed_proj_dim",), lambda size: WIDTH if size == width else WIDTH // 2)
    put(OF_HEADS, lambda _: HEADS)
    put(OF_WIDTH, lambda _: WIDTH)
    put(OF_LAYERS, lambda _: LAYERS if config["model_type"] != "gemma3_text" else 7)
    put(OF_INNER, lambda _: INNER)
    put(OF_CONTEXT, lambda _: 64)
    put(OF_WINDOW, lambda window: min(window, 6))
    put(OTHERS, lambda size: size)
    config.update({key: size for key, size in OTHERS.items() if key in config})
    kept = next(config[key] for key in OF_LAYERS if key in config)
    put(OF_LAYER, lambda kinds: kinds and [kinds[layer * layers // kept] if kept == 7 else kinds[layer] for layer in range(kept)])
    put(("moe_topk",), lambda tops: [2] * kept if isinstance(tops, list) else 2)
    put(("q_lora_rank",), lambda _: 18)
    put(("n_group", "topk_group", "first_k_dense_replace"), lambda count: min(count, 2))
    if config.get("n_group") == 2 and config["topk_group"] == 2:
        config["topk_group"] = 1
    put(("attention_types",), lambda types: [[types[0][0], kept // len(types[0][0])]])
    if config["model_type"] in ("gpt_neo", "opt"):
        config["max_position_embeddings"] = 64
    put([key for key in config if re.fullmatch(r"(bos|eos|pad|unk)_token_id", key)], lambda _: 1)
    config["vocab_size"] = VOCABULARY
    rope = config.get("rope_scaling") or {}
    turned = int(WIDTH // HEADS * config.get("partial_rotary_factor", 1.0)) // 2
    rope.update({key: rope[key][:turned] for key in ("long_factor", "short_factor") if key in rope})
    return config


def case(config):
    """The case of a published configuration."""
    config = small(config)

    def build():
        # A kernel that is not installed stops a new model; one that is loaded is told another.
        keys = {key: value for key, value in config.items() if "attn_implementation" not in key}
        described = AutoConfig.for_model(**json.loads(json.dumps(keys)))
        return AutoModelForCausalLM.from_config(described, dtype=torch.float32, attn_implementation="eager")

    def rewrite(folder):
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")

    reader = AlibiOnce if config["model_type"] == "falcon" and config["alibi"] else AutoModelForCausalLM
    return Case(build, reader=reader, rewrite=rewrite, stored=False)


def name_of(name):
    """What a folder is called."""
    return "published-" + re.sub(r"[^\w.]+", "-", name)


# What reads images has a vision model to be made as well; it has cases of its own.
CASES = {name_of(name): case(config) for name, config in PUBLISHED.items() if "text_config" not in config}
