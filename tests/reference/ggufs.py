"""Writes models to GGUF files as the converters of that format do.

Names of architectures and tensors come from the `gguf` package; what happens to the numbers on the way is written here.
"""

import re

import gguf
import numpy as np
import torch
from checkpoints import Case
from gguf import GGMLQuantizationType as Type
from transformers import AutoModelForCausalLM

FILE = "model.gguf"
# Architectures by `model_type`, where they are called otherwise.
ARCHITECTURES = {
    "cohere": "command-r",
    "glm": "chatglm",
    "hunyuan_v1_dense": "hunyuan-dense",
    "ernie4_5_moe": "ernie4_5-moe",
    "glm4_moe": "glm4moe",
    "granitemoeshared": "granitemoe",
    "hunyuan_v1_moe": "hunyuan-moe",
    "minimax_m2": "minimax-m2",
    "qwen2_moe": "qwen2moe",
    "gemma3_text": "gemma3",
    "gpt_bigcode": "starcoder",
    "gpt_neox": "gptneox",
    "gpt_oss": "gpt-oss",
    "ministral3": "mistral3",
    "mistral": "llama",
    "mixtral": "llama",
    "olmo3": "olmo2",
    "phi": "phi2",
    "qwen3_moe": "qwen3moe",
}
# Families whose query and key rows are stored so that neighbours are rotated together.
PERMUTED = {
    "arcee",
    "granite",
    "granitemoe",
    "granitemoeshared",
    "llama",
    "ministral3",
    "mistral",
    "mixtral",
    "olmo",
    "smollm3",
}
# Keys of stretched rotations by those of configurations.
STRETCHED = {
    "linear": {"factor": "factor"},
    "yarn": {
        "factor": "factor",
        "original_max_position_embeddings": "original_context_length",
        "attention_factor": "yarn_attn_factor",
        "beta_fast": "yarn_beta_fast",
        "beta_slow": "yarn_beta_slow",
    },
    "longrope": {"original_max_position_embeddings": "original_context_length", "attention_factor": "attn_factor"},
}


def case(build, kind=Type.F32, more=None, read_back=None, **options):
    """A case of a file whose matrices are of type `kind`. `more` has further metadata, or other values.

    With `read_back` the reference is what transformers reads from the file, told what the file does not tell. Without, it
    is that of the model that was written.
    """
    file = File(kind, more or {}, read_back)
    return Case(build, save=file.write, reader=file, **options)


class File:
    """A file to be written, then read or not."""

    def __init__(self, kind, more, read_back):
        self.kind, self.more, self.read_back = kind, more, read_back

    def write(self, model, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.model = model.half().float() if self.kind == Type.F16 else model
        write(self.model, folder / FILE, self.kind, self.more)

    def from_pretrained(self, folder, **options):
        if self.read_back is not None:
            return AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, **options | self.read_back)
        assert self.kind in (Type.F32, Type.F16), "what is rounded in blocks is to be read back"
        model = type(self.model)._from_config(self.model.config, **options)
        model.load_state_dict(self.model.state_dict())
        return model


def write(model, file, kind, more):
    """Writes a model to a file."""
    config = model.config
    name = gguf.MODEL_ARCH_NAMES[architecture(config)]
    writer = gguf.GGUFWriter(file, name)
    add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    for key, value in (metadata(config) | learned(model) | more).items():
        if value is not None:
            add.get(type(value), writer.add_array)(f"{name}.{key}", value)
    writer.add_token_list([f"t{token}" for token in range(config.vocab_size)])
    for to, tensor in tensors(model).items():
        numbers = np.ascontiguousarray(tensor.detach().numpy())
        of = kind if numbers.ndim > 1 and "norm" not in to else Type.F32
        writer.add_tensor(to, gguf.quants.quantize(numbers, of), raw_dtype=of)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def architecture(config):
    """What GGUF calls the family."""
    name = ARCHITECTURES.get(config.model_type, config.model_type)
    return next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def first(config, *names):
    """The first of these keys that is there."""
    return next((value for name in names if (value := getattr(config, name, None)) is not None), None)


def head_size(config):
    return first(config, "head_dim") or config.hidden_size // config.num_attention_heads


def rotation(config):
    """What describes the rotation, of the layers without a window where there are two."""
    parameters = first(config, "rope_parameters") or {}
    return parameters.get("full_attention", parameters)


def metadata(config):
    """The keys of the architecture, without its name."""
    rope, head, width = rotation(config), head_size(config), config.hidden_size
    found = {
        "block_count": config.num_hidden_layers,
        "context_length": first(config, "max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
        "embedding_length": width,
        "feed_forward_length": first(config, "intermediate_size", "n_inner", "ffn_hidden_size") or 4 * width,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": first(config, "num_key_value_heads"),
        "attention.layer_norm_rms_epsilon": first(config, "rms_norm_eps"),
        "attention.layer_norm_epsilon": first(config, "layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    }
    if hasattr(config, "head_dim"):
        found |= {"attention.key_length": head, "attention.value_length": head}
    if rope:
        found["rope.freq_base"] = float(rope["rope_theta"])
        found["rope.dimension_count"] = int(head * rope.get("partial_rotary_factor", 1.0))
        kind = rope.get("rope_type")
        of = {to: rope.get(name) for name, to in STRETCHED.get(kind, {}).items()}
        found |= {f"rope.scaling.{to}": value for to, value in of.items()}
        found["rope.scaling.type"] = kind if of else None
    return found | FAMILIES.get(config.model_type, lambda config: {})(config)


def learned(model):
    """What xIELU has learned, layer by layer."""
    found = {}
    for name, number in model.state_dict().items():
        if ".act_fn." in name:
            found.setdefault(f"xielu.{name.rpartition('.')[2]}", []).append(number.float().item())
    return found


def mpt(config):
    attention = config.attn_config
    return {
        "attention.layer_norm_epsilon": config.layer_norm_epsilon,
        "attention.max_alibi_bias": float(attention.alibi_bias_max) if attention.alibi else 0.0,
        "attention.clamp_kqv": attention.clip_qkv,
        "feed_forward_length": config.expansion_ratio * config.d_model,
    }


def granite(config):
    return {
        "attention.scale": config.attention_multiplier,
        "embedding_scale": config.embedding_multiplier,
        "residual_scale": config.residual_multiplier,
        "logit_scale": config.logits_scaling,
    }


def experts(config):
    return {
        "expert_count": first(config, "num_local_experts", "num_experts", "moe_num_experts"),
        "expert_used_count": config.num_experts_per_tok,
    }


def routed(config):
    """Those of DeepSeek-V3's kind."""
    return experts(config) | {
        "expert_feed_forward_length": config.moe_intermediate_size,
        "expert_shared_count": config.n_shared_experts,
        "expert_group_count": config.n_group,
        "expert_group_used_count": config.topk_group,
        "expert_weights_scale": config.routed_scaling_factor,
        "expert_weights_norm": config.norm_topk_prob,
        "expert_gating_func": 2,
        "leading_dense_block_count": config.first_k_dense_replace,
    }


def ernie(config):
    return experts(config) | {
        "expert_feed_forward_length": config.moe_intermediate_size,
        "expert_shared_count": config.moe_num_shared_experts,
        "leading_dense_block_count": config.moe_layer_start_index,
        "interleave_moe_layer_step": config.moe_layer_interval,
    }


def window(config):
    return {"attention.sliding_window": config.sliding_window}


def pattern(config):
    return {"attention.sliding_window_pattern": [kind == "sliding_attention" for kind in config.layer_types]}


def caps(config):
    return {
        "attn_logit_softcapping": config.attn_logit_softcapping,
        "final_logit_softcapping": config.final_logit_softcapping,
    }


# What the files of some families have of their own.
FAMILIES = {
    "cohere": lambda config: {"logit_scale": config.logit_scale, "rope.scaling.type": "none"},
    "cohere2": lambda config: window(config) | {"logit_scale": config.logit_scale, "rope.scaling.type": "none"},
    "exaone4": lambda config: window(config) | pattern(config) if config.sliding_window else {},
    "dots1": routed,
    "ernie4_5_moe": ernie,
    "falcon": lambda config: {"attention.head_count_kv": key_heads(config), "tensor_data_layout": "jploski"},
    "gemma2": lambda config: window(config) | caps(config),
    "gemma3_text": lambda config: (
        window(config) | {"rope.freq_base_swa": float(config.rope_parameters["sliding_attention"]["rope_theta"])}
    ),
    "glm4_moe": lambda config: (
        routed(config) | {"block_count": config.num_hidden_layers + 1, "nextn_predict_layers": 1}
    ),
    "gpt_bigcode": lambda config: {"attention.head_count_kv": 1},
    "gpt_neox": lambda config: {"use_parallel_residual": config.use_parallel_residual},
    "gpt_oss": lambda config: (
        window(config) | experts(config) | {"expert_feed_forward_length": config.intermediate_size}
    ),
    "gptj": lambda config: {"rope.dimension_count": config.rotary_dim},
    "granite": granite,
    "ministral3": lambda config: {
        "attention.temperature_scale": config.rope_parameters["llama_4_scaling_beta"],
        "rope.scaling.yarn_log_multiplier": config.rope_parameters.get("mscale_all_dim"),
    },
    "granitemoe": lambda config: granite(config) | experts(config),
    "granitemoeshared": lambda config: (
        granite(config)
        | experts(config)
        | {"expert_shared_feed_forward_length": config.shared_intermediate_size}
    ),
    "hunyuan_v1_moe": experts,
    "minimax_m2": lambda config: (
        experts(config) | {"expert_feed_forward_length": config.intermediate_size, "expert_gating_func": 2}
    ),
    "mixtral": experts,
    "mpt": mpt,
    "olmoe": experts,
    "olmo": lambda config: {"attention.layer_norm_epsilon": 1e-5, "attention.clamp_kqv": config.clip_qkv},
    "olmo3": lambda config: window(config) | pattern(config),
    "phi3": lambda config: {
        "rope.scaling.original_context_length": config.original_max_position_embeddings,
        "attention.sliding_window": config.sliding_window or 0,
    },
    "qwen2_moe": lambda config: (
        experts(config)
        | {
            "expert_feed_forward_length": config.moe_intermediate_size,
            "expert_shared_feed_forward_length": config.shared_expert_intermediate_size,
        }
    ),
    "qwen3_moe": lambda config: experts(config) | {"expert_feed_forward_length": config.moe_intermediate_size},
    "stablelm": lambda config: {"use_parallel_residual": config.use_parallel_residual},
}


def key_heads(config):
    """Keys for each head of Falcon's or GPT-BigCode's."""
    grouped = getattr(config, "new_decoder_architecture", False)
    return config.num_kv_heads if grouped else 1


def tensors(model):
    """The tensors of a file, by name."""
    config = model.config
    names = gguf.get_tensor_name_map(architecture(config), config.num_hidden_layers)
    found = {}
    for name, tensor in model.state_dict().items():
        if ".act_fn." in name:
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        for name, tensor in parts(name, tensor.float(), config):
            to = names.get_name(name, (".weight", ".bias")) or names.get_name(
                name.removeprefix("transformer."), (".weight", ".bias")
            )
            assert to, f"{name} has no name in GGUF"
            found[to] = torch.cat([found[to], tensor[None]]) if to in found else stored(name, tensor, config)
    if config.model_type == "glm4_moe":
        # What predicts the token after the next, in a file of as many layers as the published ones have.
        later = metadata(config)["block_count"] - 1
        found[f"blk.{later}.nextn.eh_proj.weight"] = torch.ones(config.hidden_size, 2 * config.hidden_size)
    rope = rotation(config)
    if rope.get("rope_type") == "llama3":
        found["rope_freqs.weight"] = llama3_factors(rope, head_size(config))
    if rope.get("rope_type") == "longrope":
        for of in ["short", "long"]:
            found[f"rope_factors_{of}.weight"] = torch.tensor(rope[f"{of}_factor"])
    return found


def parts(name, tensor, config):
    """What a tensor is in a file: experts are apart by gate and way in, and in the order of linear layers."""
    if ".norms." in name:
        # One for each head, which are rows of one in a file.
        return [(re.sub(r"\.norms\.\d+", "", name), tensor)]
    if name.endswith("e_score_correction_bias"):
        return [(name.replace("gate.moe_statics", "moe_statics").replace("_bias", ".bias"), tensor.squeeze())]
    if "shared_mlp." in name and ".input_linear." in name:
        layer, gates = name.split("shared_mlp.")[0], tensor.chunk(2)
        return [(f"{layer}mlp.shared_expert.{place}_proj.weight", part) for place, part in zip(["gate", "up"], gates)]
    if "shared_mlp.output_linear." in name:
        return [(name.replace("shared_mlp.output_linear", "mlp.shared_expert.down_proj"), tensor)]
    if name.endswith("block_sparse_moe.router.weight"):
        return [(name.replace(".router.", ".router.layer."), tensor)]
    if name.endswith("shared_expert_gate.weight"):
        return [(name, tensor[0])]
    name = name.replace("block_sparse_moe.experts", "mlp.experts")
    if ".experts." not in name:
        return [(name + ".weight" if name.endswith("sinks") else name, tensor)]
    layer, place = name.split(".experts.")
    of = lambda place: f"{layer}.experts.{place}"
    if config.model_type != "gpt_oss":
        if place == "down_proj":
            return [(of("down_proj.weight"), tensor)]
        gate, up = tensor.chunk(2, dim=1)
        return [(of("gate_proj.weight"), gate), (of("up_proj.weight"), up)]
    part = "bias" if place.endswith("_bias") else "weight"
    tensor = tensor.transpose(1, 2) if part == "weight" else tensor
    if place.startswith("down_proj"):
        return [(of(f"down_proj.{part}"), tensor)]
    return [(of(f"gate_proj.{part}"), tensor[:, ::2]), (of(f"up_proj.{part}"), tensor[:, 1::2])]


def stored(name, tensor, config):
    """A tensor as files of the format have it."""
    kind, heads = config.model_type, config.num_attention_heads
    if kind == "stablelm" and re.search("[qk]_layernorm", name):
        return tensor[None]
    if kind in PERMUTED and ".q_proj." in name:
        return permuted(tensor, heads)
    if kind in PERMUTED and ".k_proj." in name:
        return permuted(tensor, config.num_key_value_heads)
    if kind == "gpt2" and name.endswith("weight") and ".c_" in name:
        return tensor.T
    if kind in ("bloom", "gpt_neox") and "query_key_value" in name:
        return by_kind(tensor, heads, 3)
    if kind == "falcon" and "query_key_value" in name:
        return by_kind(tensor, key_heads(config), heads // key_heads(config) + 2)
    if kind.startswith(("gemma", "nemotron")) and name.endswith("norm.weight"):
        return tensor + 1
    return tensor


def permuted(rows, heads):
    """Rows of each head so that those that are rotated together, a half apart before, are neighbours."""
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(rows.shape)


def by_kind(rows, groups, parts):
    """Rows `[groups, parts, size]`, queries before a key and a value, as all queries, all keys, all values."""
    groups = rows.unflatten(0, (groups, parts, -1))
    return torch.cat([part.flatten(0, 2) for part in groups.split([parts - 2, 1, 1], dim=1)])


def llama3_factors(rope, size):
    """What the frequencies of Llama 3.1 are divided by, `[size / 2]`."""
    frequencies = rope["rope_theta"] ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    turns = rope["original_max_position_embeddings"] * frequencies / (2 * torch.pi)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return (1 / (kept + (1 - kept) / rope["factor"])).float()
