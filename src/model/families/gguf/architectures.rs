//! The architectures there are: what their files call otherwise than most, and what they leave open.

use serde_json::{Map, Value, json};

use super::{Architecture, File};
use crate::model::slot::LayerSlot;

/// One whose files say everything as most do.
const USUAL: Architecture = Architecture {
    name: "",
    only_with: None,
    keys: &[],
    flags: &[],
    places: &[],
    permuted: false,
    adjust: |_, _| {},
};

/// Apertus's. What xIELU has learned is told layer by layer, and the stretched rotation by a tensor.
pub const APERTUS: Architecture = Architecture {
    name: "apertus",
    flags: &[("attention_bias", "attn_q.bias")],
    adjust: |_, values| {
        values.entry("rope_scaling").or_insert_with(|| json!({ "rope_type": "default" }));
    },
    ..USUAL
};

/// Arcee's.
pub const ARCEE: Architecture = Architecture { name: "arcee", ..LLAMA };

/// BLOOM's.
pub const BLOOM: Architecture = Architecture {
    name: "bloom",
    keys: &[
        ("block_count", "n_layer"),
        ("attention.head_count", "n_head"),
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ("context_length", "seq_length"),
    ],
    ..USUAL
};

/// Command R's.
pub const COHERE: Architecture = Architecture {
    name: "command-r",
    flags: &[("attention_bias", "attn_q.bias"), ("use_qk_norm", "attn_q_norm.weight")],
    ..USUAL
};

/// Command R7B's and Command A's.
pub const COHERE2: Architecture = Architecture { name: "cohere2", ..USUAL };

/// ERNIE 4.5's.
pub const ERNIE4_5: Architecture =
    Architecture { name: "ernie4_5", flags: &[("use_bias", "attn_q.bias")], ..USUAL };

/// EXAONE 4's.
pub const EXAONE4: Architecture = Architecture {
    name: "exaone4",
    adjust: |_, values| {
        values.entry("sliding_window").or_insert(Value::Null);
    },
    ..USUAL
};

/// dots.llm1's.
pub const DOTS1: Architecture = Architecture {
    name: "dots1",
    keys: &[("expert_count", "n_routed_experts")],
    flags: &[("attention_bias", "attn_q.bias")],
    ..USUAL
};

/// That of ERNIE 4.5 with experts.
pub const ERNIE4_5_MOE: Architecture = Architecture {
    name: "ernie4_5-moe",
    keys: &[
        ("expert_count", "moe_num_experts"),
        ("expert_used_count", "moe_k"),
        ("expert_shared_count", "moe_num_shared_experts"),
        ("leading_dense_block_count", "moe_layer_start_index"),
        ("interleave_moe_layer_step", "moe_layer_interval"),
    ],
    flags: &[("use_bias", "attn_q.bias")],
    ..USUAL
};

/// Falcon's. The second normalisation, where there is one, is that of attention.
pub const FALCON: Architecture = Architecture {
    name: "falcon",
    keys: &[
        ("attention.head_count_kv", "num_kv_heads"),
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ("feed_forward_length", "ffn_hidden_size"),
    ],
    flags: &[("bias", "attn_qkv.bias")],
    adjust: |file, values| {
        let shared = file.count("attention.head_count_kv").unwrap_or(1) == 1;
        let norms = if file.has("attn_norm_2.weight") { 2 } else { 1 };
        values.extend(object(json!({
            "multi_query": shared,
            "new_decoder_architecture": !shared,
            "num_ln_in_parallel_attn": norms,
        })));
    },
    ..USUAL
};

/// Gemma's.
pub const GEMMA: Architecture = Architecture { name: "gemma", ..USUAL };

/// Gemma 2's.
pub const GEMMA2: Architecture =
    Architecture { name: "gemma2", adjust: |file, values| gemma_scale(file, values, 46), ..USUAL };

/// Gemma 3's.
pub const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    keys: &[("rope.freq_base_swa", "rope_local_base_freq")],
    adjust: |file, values| gemma_scale(file, values, 62),
    ..USUAL
};

/// The factor on Gemma's scores comes from the size of a head; in the 27B model, which has `largest` layers, it comes from
/// the width that each head has of the residual stream.
fn gemma_scale(file: &File<'_>, values: &mut Map<String, Value>, largest: u64) {
    let divided = || file.count("embedding_length")?.checked_div(file.count("attention.head_count")?);
    let size = match file.count("block_count") == Some(largest) {
        true => divided(),
        false => file.head_size(),
    };
    values.insert("query_pre_attn_scalar".into(), size.into());
}

/// That of GLM 4 of 2024, ChatGLM's.
pub const GLM: Architecture =
    Architecture { name: "chatglm", flags: &[("attention_bias", "attn_q.bias")], ..USUAL };

/// That of GLM 4 of 2025.
pub const GLM4: Architecture = Architecture { name: "glm4", ..GLM };

/// That of GLM with experts. What it normalises before them is called as if it came after attention, and the layers that predict
/// the token after the next are counted among the others.
pub const GLM4_MOE: Architecture = Architecture {
    name: "glm4moe",
    keys: &[("expert_count", "n_routed_experts")],
    flags: &[("attention_bias", "attn_q.bias"), ("use_qk_norm", "attn_q_norm.weight")],
    places: &[(LayerSlot::MlpNorm, "post_attention_norm")],
    adjust: |file, values| {
        let (all, later) = (file.count("block_count"), file.count("nextn_predict_layers"));
        values
            .insert("num_hidden_layers".into(), all.map(|all| all.saturating_sub(later.unwrap_or(0))).into());
    },
    ..USUAL
};

/// GPT-2's.
pub const GPT2: Architecture = Architecture { name: "gpt2", keys: GPT2_KEYS, ..USUAL };

/// What GPT-2's configuration and those after it call sizes.
const GPT2_KEYS: &[(&str, &str)] = &[
    ("block_count", "n_layer"),
    ("embedding_length", "n_embd"),
    ("attention.head_count", "n_head"),
    ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
    ("feed_forward_length", "n_inner"),
    ("context_length", "n_positions"),
    ("rope.dimension_count", "rotary_dim"),
];

/// StarCoder's.
pub const GPT_BIGCODE: Architecture = Architecture {
    name: "starcoder",
    keys: GPT2_KEYS,
    adjust: |file, values| {
        let shared = file.count("attention.head_count_kv").unwrap_or(1) == 1;
        values.insert("multi_query".into(), shared.into());
    },
    ..USUAL
};

/// GPT-J's.
pub const GPTJ: Architecture = Architecture { name: "gptj", keys: GPT2_KEYS, ..USUAL };

/// GPT-NeoX's.
pub const GPT_NEOX: Architecture = Architecture {
    name: "gptneox",
    keys: &[("rope.freq_base", "rotary_emb_base")],
    flags: &[("attention_bias", "attn_qkv.bias")],
    adjust: |_, values| {
        if let Some(share) = values.remove("partial_rotary_factor") {
            values.insert("rotary_pct".into(), share);
        }
    },
    ..USUAL
};

/// gpt-oss's. What it normalises before the experts is called as if it came after attention.
pub const GPT_OSS: Architecture = Architecture {
    name: "gpt-oss",
    flags: &[("attention_bias", "attn_q.bias")],
    places: &[(LayerSlot::MlpNorm, "post_attention_norm")],
    adjust: |_, values| {
        // The files leave it out; the models were trained without.
        if let Some(Value::Object(scaling)) = values.get_mut("rope_scaling") {
            scaling.insert("truncate".into(), false.into());
        }
    },
    ..USUAL
};

/// Granite's.
pub const GRANITE: Architecture = Architecture {
    name: "granite",
    keys: &[
        ("attention.scale", "attention_multiplier"),
        ("embedding_scale", "embedding_multiplier"),
        ("residual_scale", "residual_multiplier"),
        ("logit_scale", "logits_scaling"),
        ("expert_shared_feed_forward_length", "shared_intermediate_size"),
    ],
    ..LLAMA
};

/// Hunyuan's, whose base is stretched in the file.
pub const HUNYUAN: Architecture =
    Architecture { name: "hunyuan-dense", flags: &[("attention_bias", "attn_q.bias")], ..USUAL };

/// That of Granite with experts.
pub const GRANITE_MOE: Architecture = Architecture { name: "granitemoe", ..GRANITE };

/// The same with an MLP beside them.
pub const GRANITE_MOE_SHARED: Architecture =
    Architecture { only_with: Some("expert_shared_feed_forward_length"), ..GRANITE_MOE };

/// That of Hunyuan with experts.
pub const HUNYUAN_MOE: Architecture = Architecture {
    name: "hunyuan-moe",
    keys: &[("expert_count", "num_experts"), ("expert_used_count", "moe_topk")],
    flags: &[("attention_bias", "attn_q.bias")],
    ..USUAL
};

/// Llama's, and that of models which differ from it by less than the format tells: Mistral.
pub const LLAMA: Architecture = Architecture {
    name: "llama",
    flags: &[("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_up.bias")],
    permuted: true,
    ..USUAL
};

/// Ministral 3's and that of Mistral Small 3.1. A multiplier of YaRN's that is there stands for two that cancel each other.
pub const MINISTRAL3: Architecture = Architecture {
    name: "mistral3",
    keys: &[
        ("attention.temperature_scale", "llama_4_scaling_beta"),
        ("rope.scaling.yarn_log_multiplier", "mscale"),
    ],
    adjust: |file, values| {
        let growth = values.remove("llama_4_scaling_beta").unwrap_or(0.into());
        let scale = values.remove("mscale").unwrap_or(0.into());
        let rope = values.entry("rope_scaling").or_insert_with(|| json!({ "rope_type": "default" }));
        if let Value::Object(rope) = rope {
            rope.insert("llama_4_scaling_beta".into(), growth);
            rope.extend(["mscale", "mscale_all_dim"].map(|key| (key.to_owned(), scale.clone())));
            rope.entry("original_max_position_embeddings").or_insert(file.count("context_length").into());
        }
    },
    ..LLAMA
};

/// Mixtral's, which is Llama's with experts.
pub const MIXTRAL: Architecture =
    Architecture { name: "llama", only_with: Some("expert_count"), permuted: true, ..USUAL };

/// MiniMax M2's.
pub const MINIMAX_M2: Architecture = Architecture { name: "minimax-m2", ..USUAL };

/// MPT's.
pub const MPT: Architecture = Architecture {
    name: "mpt",
    keys: &[
        ("block_count", "n_layers"),
        ("embedding_length", "d_model"),
        ("attention.head_count", "n_heads"),
        ("attention.layer_norm_epsilon", "layer_norm_epsilon"),
        ("context_length", "max_seq_len"),
        // All in one, which is put together below.
        ("attention.max_alibi_bias", "attn_config"),
        ("attention.clamp_kqv", "attn_config"),
        ("attention.head_count_kv", "attn_config"),
    ],
    adjust: |file, values| {
        let (inner, width) = (file.count("feed_forward_length"), file.count("embedding_length"));
        let ratio = inner.zip(width).and_then(|(inner, width)| inner.checked_div(width));
        let steepest = file.number("attention.max_alibi_bias").unwrap_or_default();
        values.extend(object(json!({
            "expansion_ratio": ratio,
            "no_bias": !file.has("attn_qkv.bias"),
            "attn_config": {
                "qk_ln": file.has("attn_q_norm.weight"),
                "alibi": steepest > 0.0,
                "alibi_bias_max": steepest,
                "clip_qkv": file.number("attention.clamp_kqv"),
            },
        })));
    },
    ..USUAL
};

/// Nemotron's.
pub const NEMOTRON: Architecture = Architecture {
    name: "nemotron",
    keys: &[("attention.layer_norm_epsilon", "norm_eps")],
    flags: &[("attention_bias", "attn_q.bias"), ("mlp_bias", "ffn_up.bias")],
    ..USUAL
};

/// OLMo's.
pub const OLMO: Architecture = Architecture { name: "olmo", permuted: true, ..USUAL };

/// OLMo 2's.
pub const OLMO2: Architecture =
    Architecture { name: "olmo2", flags: &[("attention_bias", "attn_q.bias")], ..USUAL };

/// OLMo 3's, which is that of OLMo 2 with windows.
pub const OLMO3: Architecture = Architecture { only_with: Some("attention.sliding_window"), ..OLMO2 };

/// OLMoE's.
pub const OLMOE: Architecture = Architecture {
    name: "olmoe",
    keys: &[("expert_count", "num_experts")],
    flags: &[("attention_bias", "attn_q.bias")],
    ..USUAL
};

/// Phi's.
pub const PHI: Architecture = Architecture { name: "phi2", ..USUAL };

/// Phi-3's and Phi-4's.
pub const PHI3: Architecture = Architecture {
    name: "phi3",
    keys: &[("rope.scaling.original_context_length", "original_max_position_embeddings")],
    ..USUAL
};

/// Qwen 2's.
pub const QWEN2: Architecture = Architecture { name: "qwen2", ..USUAL };

/// That of Qwen 1.5 and 2 with experts.
pub const QWEN2_MOE: Architecture = Architecture {
    name: "qwen2moe",
    keys: &[("expert_count", "num_experts")],
    flags: &[("qkv_bias", "attn_q.bias")],
    ..USUAL
};

/// Qwen 3's.
pub const QWEN3: Architecture =
    Architecture { name: "qwen3", flags: &[("attention_bias", "attn_q.bias")], ..USUAL };

/// That of Qwen 3 with experts, whose shares always sum to one.
pub const QWEN3_MOE: Architecture = Architecture {
    name: "qwen3moe",
    keys: &[("expert_count", "num_experts")],
    adjust: |_, values| {
        values.insert("norm_topk_prob".into(), true.into());
    },
    ..QWEN3
};

/// Seed-OSS's. What it normalises before the MLP is called as if it came after attention.
pub const SEED_OSS: Architecture = Architecture {
    name: "seed_oss",
    flags: &[
        ("attention_bias", "attn_q.bias"),
        ("attention_out_bias", "attn_output.bias"),
        ("mlp_bias", "ffn_up.bias"),
    ],
    places: &[(LayerSlot::MlpNorm, "post_attention_norm")],
    ..USUAL
};

/// SmolLM3's.
pub const SMOLLM3: Architecture = Architecture { name: "smollm3", ..LLAMA };

/// StableLM's.
pub const STABLELM: Architecture = Architecture {
    name: "stablelm",
    flags: &[("use_qkv_bias", "attn_q.bias"), ("qk_layernorm", "attn_q_norm.weight")],
    adjust: |file, values| {
        values.insert("use_parallel_residual".into(), (!file.has("ffn_norm.weight")).into());
    },
    ..USUAL
};

/// StarCoder 2's.
pub const STARCODER2: Architecture = Architecture {
    name: "starcoder2",
    keys: &[("attention.layer_norm_epsilon", "norm_epsilon")],
    flags: &[("use_bias", "attn_q.bias")],
    ..USUAL
};

/// The entries of a literal object.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(entries) => entries,
        _ => Map::new(),
    }
}
