//! The metadata of GGUF files in the words of `config.json`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json, json};

use super::{File, LONG_FACTORS, SHORT_FACTORS};
use crate::{
    model::{
        config::shown,
        spec::{Shares, Spec},
    },
    text::excerpt,
};

/// Keys, without the architecture, and what most configurations call them.
const KEYS: [(&str, &str); 26] = [
    ("block_count", "num_hidden_layers"),
    ("embedding_length", "hidden_size"),
    ("attention.head_count", "num_attention_heads"),
    ("attention.head_count_kv", "num_key_value_heads"),
    ("attention.key_length", "head_dim"),
    ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
    ("attention.layer_norm_epsilon", "layer_norm_eps"),
    ("attention.sliding_window", "sliding_window"),
    ("attention.clamp_kqv", "clip_qkv"),
    ("feed_forward_length", "intermediate_size"),
    ("expert_feed_forward_length", "moe_intermediate_size"),
    ("expert_count", "num_local_experts"),
    ("expert_used_count", "num_experts_per_tok"),
    ("expert_shared_count", "n_shared_experts"),
    ("expert_shared_feed_forward_length", "shared_expert_intermediate_size"),
    ("expert_group_count", "n_group"),
    ("expert_group_used_count", "topk_group"),
    ("expert_weights_norm", "norm_topk_prob"),
    ("expert_weights_scale", "routed_scaling_factor"),
    ("leading_dense_block_count", "first_k_dense_replace"),
    ("context_length", "max_position_embeddings"),
    ("rope.freq_base", "rope_theta"),
    ("use_parallel_residual", "use_parallel_residual"),
    ("logit_scale", "logit_scale"),
    ("attn_logit_softcapping", "attn_logit_softcapping"),
    ("final_logit_softcapping", "final_logit_softcapping"),
];
/// Keys that are read apart from these, or change nothing.
const READ_APART: [&str; 15] = [
    "vocab_size",
    "tensor_data_layout",
    "expert_gating_func",
    "nextn_predict_layers",
    "attention.value_length",
    "attention.sliding_window_pattern",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
];
/// Counts without which there is no model.
const NEEDED: [&str; 4] = ["block_count", "embedding_length", "attention.head_count", "feed_forward_length"];
/// Whose rows are as many as there are tokens.
const EMBEDDING: &str = "token_embd.weight";

/// What a GGUF file calls a key of `config.json`, without the architecture.
pub fn name_in_file(key: &str) -> Option<&'static str> {
    KEYS.iter().find(|(_, ours)| *ours == key).map(|(name, _)| *name)
}

impl File<'_> {
    /// The whole name of a key.
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture.name)
    }

    /// The value of a key, which is the same for every layer.
    fn get(&self, suffix: &str) -> Option<Json> {
        scalar(self.metadata.get(&self.key(suffix))?)
    }

    /// A count.
    pub fn count(&self, suffix: &str) -> Option<u64> {
        self.get(suffix)?.as_u64()
    }

    /// A number.
    pub fn number(&self, suffix: &str) -> Option<f64> {
        self.get(suffix)?.as_f64()
    }

    /// Whether the first layer has a tensor, `attn_q.bias` for instance.
    pub fn has(&self, tensor: &str) -> bool {
        self.weights.contains(&format!("blk.0.{tensor}"))
    }

    /// Numbers of a head.
    pub fn head_size(&self) -> Option<u64> {
        let divided = || self.count("embedding_length")?.checked_div(self.count("attention.head_count")?);
        self.count("attention.key_length").or_else(divided)
    }

    /// Refuses a key.
    fn refuse(&self, suffix: &str, why: &str) -> anyhow::Error {
        anyhow::anyhow!("{}: key `{}` {why}", self.origin, excerpt(&self.key(suffix)))
    }
}

/// What `config.json` would say of the model in a file.
pub fn translated(file: &File<'_>) -> Result<Map<String, Json>> {
    for key in NEEDED {
        match file.get(key) {
            None if !file.metadata.contains_key(&file.key(key)) => bail!(file.refuse(key, "is missing")),
            None => bail!(file.refuse(key, "differs from layer to layer, which is not handled")),
            Some(value) if value.as_u64().is_none_or(|count| count == 0) => {
                bail!(file.refuse(key, &format!("is {}, no count", shown(&value))))
            }
            Some(_) => {}
        }
    }
    let (layers, tensors) = (file.count("block_count"), file.weights.iter().count());
    // Before anything of that size is made.
    if layers.is_none_or(|layers| layers > tensors as u64) {
        bail!(file.refuse("block_count", &format!("is more than a file of {tensors} tensors can have")));
    }
    let mut values = Map::new();
    // What the format means where it says nothing; families mean other things.
    values.insert("head_dim".into(), file.head_size().into());
    values.insert("num_key_value_heads".into(), file.count("attention.head_count").into());
    let prefix = file.key("");
    let own = file.metadata.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)));
    // In order, so that of several keys the same is refused every time.
    for (suffix, value) in own.collect::<BTreeMap<_, _>>() {
        translate(file, suffix, value, &mut values)?;
    }
    values.insert("vocab_size".into(), vocabulary(file)?.into());
    values.insert("tie_word_embeddings".into(), (!file.weights.contains("output.weight")).into());
    for (key, tensor) in file.architecture.flags {
        values.insert((*key).into(), file.has(tensor).into());
    }
    rotation(file, &mut values)?;
    windows(file, &mut values)?;
    (file.architecture.adjust)(file, &mut values);
    Ok(values)
}

fn translate(file: &File<'_>, suffix: &str, value: &Value, values: &mut Map<String, Json>) -> Result<()> {
    if let (Some(name), Value::Array(of_layer)) = (suffix.strip_prefix("xielu."), value) {
        let numbers: Option<Vec<Json>> = of_layer.iter().map(self::scalar).collect();
        values.insert(format!("xielu.{name}"), numbers.map_or(Json::Null, Json::from));
        return Ok(());
    }
    let known = file.architecture.keys.iter().chain(&KEYS).find(|(key, _)| *key == suffix);
    let scalar = scalar(value);
    match (known, scalar) {
        (Some((_, name)), Some(value)) if !value.is_string() => {
            values.insert((*name).into(), value);
        }
        (Some(_), Some(value)) => bail!(file.refuse(suffix, &format!("is {}, no number", shown(&value)))),
        (Some(_), None) => bail!(file.refuse(suffix, "differs from layer to layer, which is not handled")),
        _ if READ_APART.contains(&suffix) => {}
        (None, Some(Json::Bool(true))) if suffix == "attention.causal" => {}
        (None, Some(base))
            if suffix == "rope.freq_base_swa" && Some(&base) == file.get("rope.freq_base").as_ref() => {}
        (None, Some(value)) if !suffix.starts_with("expert_") => {
            // Under its own name, so that it is refused by it where it changes attention.
            values.insert(file.key(suffix), value);
        }
        (None, Some(Json::Bool(_))) => {}
        (None, Some(value)) if matches!(value.as_f64(), Some(0.0 | 1.0)) => {}
        (None, _) => bail!(file.refuse(suffix, "may change what the model computes and is not handled")),
    }
    Ok(())
}

/// The number of tokens: there may be fewer names for them than rows.
fn vocabulary(file: &File<'_>) -> Result<usize> {
    let embedding = file.weights.get(EMBEDDING).with_context(|| file.origin.to_owned())?;
    let rows = embedding.shape.first().copied().unwrap_or_default();
    match file.metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(tokens)) if tokens.len() > rows => bail!(
            "{}: key `tokenizer.ggml.tokens` has {} tokens, but tensor `{EMBEDDING}` has {rows} rows",
            file.origin,
            tokens.len()
        ),
        _ => Ok(rows),
    }
}

/// How much of a head is rotated, and how the rotation is stretched.
fn rotation(file: &File<'_>, values: &mut Map<String, Json>) -> Result<()> {
    let size = "rope.dimension_count";
    let of_family = file.architecture.keys.iter().any(|(key, _)| *key == size);
    if let (Some(head), false) = (file.head_size(), of_family) {
        let share = match file.count(size) {
            Some(rotated) if rotated > head => {
                bail!(file.refuse(size, &format!("is {rotated}, more than the {head} numbers of a head")))
            }
            // Half a number more, for rounding could make the product one less; fractions are cut off.
            Some(rotated) if rotated < head => (rotated as f64 + 0.5) / head as f64,
            _ => 1.0,
        };
        values.insert("partial_rotary_factor".into(), share.into());
    }
    let kind = match file.get("rope.scaling.type") {
        _ if file.weights.contains(LONG_FACTORS) => "longrope".to_owned(),
        Some(Json::String(kind)) => kind,
        // What the format means by a factor alone.
        _ if file.get("rope.scaling.factor").is_some() => "linear".to_owned(),
        _ => "none".to_owned(),
    };
    let factor = "rope.scaling.attn_factor";
    if let Some(value) = file.number(factor).filter(|&value| value != 1.0 && kind != "longrope") {
        bail!(file.refuse(factor, &format!("is {value}, which is handled for LongRoPE only")));
    }
    let taken: &[(&str, &str)] = match kind.as_str() {
        "none" => return Ok(()),
        "linear" => &[("factor", "factor")],
        "yarn" => &[
            ("factor", "factor"),
            ("original_context_length", "original_max_position_embeddings"),
            ("yarn_attn_factor", "attention_factor"),
            ("yarn_beta_fast", "beta_fast"),
            ("yarn_beta_slow", "beta_slow"),
        ],
        "longrope" => &[
            ("attn_factor", "attention_factor"),
            ("original_context_length", "original_max_position_embeddings"),
        ],
        other => {
            let why = format!("is `{}`, which is not handled", excerpt(other));
            bail!(file.refuse("rope.scaling.type", &why))
        }
    };
    let mut scaling = Map::new();
    for (key, name) in taken {
        if let Some(value) = file.get(&format!("rope.scaling.{key}")) {
            scaling.insert((*name).into(), value);
        }
    }
    if kind == "longrope" {
        for (name, tensor) in [("short_factor", SHORT_FACTORS), ("long_factor", LONG_FACTORS)] {
            let factors = file.weights.get(tensor).with_context(|| file.origin.to_owned())?;
            scaling.insert(name.into(), json!(factors.to_f32()));
        }
    }
    scaling.insert("rope_type".into(), kind.into());
    values.insert("rope_scaling".into(), scaling.into());
    Ok(())
}

/// Which layers have the window, where a file says it: layer by layer, or every how many layers one has none.
fn windows(file: &File<'_>, values: &mut Map<String, Json>) -> Result<()> {
    let key = "attention.sliding_window_pattern";
    let Some(pattern) = file.metadata.get(&file.key(key)) else { return Ok(()) };
    if file.number("attention.sliding_window").is_none_or(|window| window == 0.0) {
        return Ok(());
    }
    let slides: Option<Vec<bool>> = match (pattern, file.count(key)) {
        (Value::Array(layers), _) => layers.iter().map(|slides| slides.to_bool().ok()).collect(),
        (_, Some(period)) => file
            .count("block_count")
            .map(|layers| (1..=layers).map(|layer| layer % period.max(1) != 0).collect()),
        _ => None,
    };
    let Some(slides) = slides else { bail!(file.refuse(key, "is neither a list of flags nor a count")) };
    let kind = |slides| if slides { "sliding_attention" } else { "full_attention" };
    values.insert("layer_types".into(), slides.into_iter().map(kind).collect());
    Ok(())
}

/// Refuses a file that says of its heads or experts what the family cannot have.
pub fn check(file: &File<'_>, spec: &Spec) -> Result<()> {
    let experts = spec.mlp.iter().find_map(|mlp| mlp.experts);
    let usual = match experts.map(|experts| experts.router.shares) {
        Some(Shares::Sigmoid) => 2,
        _ => 1,
    };
    // 0 is for what the family knows.
    if let Some(value) = file
        .get("expert_gating_func")
        .filter(|value| !matches!(value.as_u64(), Some(kind) if kind == 0 || kind == usual))
    {
        let why = format!("is {}; in a model with this configuration it is {usual}", shown(&value));
        bail!(file.refuse("expert_gating_func", &why));
    }
    for (key, size) in [
        ("attention.head_count_kv", spec.kv_heads),
        ("attention.key_length", spec.head_size),
        ("attention.value_length", spec.value_size),
    ] {
        if let Some(value) = file.get(key).filter(|value| value.as_u64() != Some(size as u64)) {
            bail!(file.refuse(
                key,
                &format!("is {}; in a model with this configuration it is {size}", shown(&value))
            ));
        }
    }
    Ok(())
}

/// A value as JSON; a list that says the same for every layer is what it says.
pub fn scalar(value: &Value) -> Option<Json> {
    Some(match value {
        Value::F32(number) => f64::from(*number).into(),
        Value::F64(number) => (*number).into(),
        Value::Bool(flag) => (*flag).into(),
        Value::String(text) => text.as_str().into(),
        Value::U8(number) => (*number).into(),
        Value::I8(number) => (*number).into(),
        Value::U16(number) => (*number).into(),
        Value::I16(number) => (*number).into(),
        Value::U32(number) => (*number).into(),
        Value::I32(number) => (*number).into(),
        Value::U64(number) => (*number).into(),
        Value::I64(number) => (*number).into(),
        Value::Array(values) => {
            let first = values.first().and_then(scalar)?;
            return values.iter().all(|value| scalar(value).as_ref() == Some(&first)).then_some(first);
        }
    })
}
