//! Models that read images as well, opened for their language part: Gemma 3, Llama 4, Mistral Small 3.1 and
//! Ministral 3, LLaVA, Qwen VL.
//!
//! Quirks: the language part has a configuration of its own in `text_config`, whose `model_type` names a family here, and which
//! may leave out what is usual in that; Qwen 2 VL's first files have its keys beside those of the images. Whether its head is
//! tied the configuration around it says. Its tensors are called as in that family, or `model.` and `lm_head.` are
//! `language_model.model.` and `language_model.lm_head.`, or `model.` alone is `model.language_model.`. Rotations by time, height and
//! width (`mrope_section`) are the usual one where there is text alone.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::FAMILIES;
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, reads, slot::Plan},
    text::excerpt,
};

/// What the names of the language part begin with in place of `model.`.
const OF_TEXT: [&str; 2] = ["model.language_model.", "language_model.model."];
/// How names begin of what reads images.
const OF_IMAGES: &[&str] = &[
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
    "vision_model.",
    "visual.",
    "model.visual.",
];

/// Reads `config.json` of Gemma 3.
pub fn gemma3(config: &Config, weights: &Weights) -> Result<Plan> {
    plan(config, weights, "gemma3_text", true)
}

/// Reads `config.json` of Llama 4.
pub fn llama4(config: &Config, weights: &Weights) -> Result<Plan> {
    plan(config, weights, "llama4_text", false)
}

/// Reads `config.json` of Mistral 3.
pub fn mistral3(config: &Config, weights: &Weights) -> Result<Plan> {
    plan(config, weights, "mistral", true)
}

/// Reads `config.json` of LLaVA.
pub fn llava(config: &Config, weights: &Weights) -> Result<Plan> {
    plan(config, weights, "llama", false)
}

/// Reads `config.json` of Qwen 2 VL, 2.5 VL and 3 VL.
pub fn qwen(config: &Config, weights: &Weights) -> Result<Plan> {
    plan(config, weights, "qwen2_vl_text", false)
}

/// The plan of the language part, which is of that family unless it says otherwise.
fn plan(config: &Config, weights: &Weights, usual: &str, tied: bool) -> Result<Plan> {
    let mut values = match config.get("text_config") {
        Some(Value::Object(values)) => values.clone(),
        Some(_) => bail!("{}: key `text_config` is no object", config.origin()),
        None if usual == "qwen2_vl_text" => config.values().clone(),
        None => bail!("{}: key `text_config` is missing", config.origin()),
    };
    let name = match values.get("model_type").and_then(Value::as_str) {
        Some("qwen2_vl" | "qwen2_5_vl") | None => usual.to_owned(),
        Some(name) => name.to_owned(),
    };
    let name = match name.as_str() {
        "qwen2_vl_text" | "qwen2_5_vl_text" => {
            // Which this one does not ask for.
            values.remove("head_dim");
            fill(&mut values, &json!({ "rms_norm_eps": 1e-5, "rope_theta": 1e6, "num_key_value_heads": 8 }));
            "qwen2"
        }
        "qwen3_vl_text" => {
            fill(&mut values, &json!({ "rope_theta": 5e5, "max_position_embeddings": 128_000 }));
            "qwen3"
        }
        name => name,
    };
    let Some(family) = FAMILIES.iter().find(|family| family.name == name) else {
        bail!("{}: text_config: key `model_type` `{}` is not known", config.origin(), excerpt(name))
    };
    let reads = reads::of(name);
    let usual: Map<String, Value> = reads.map(|reads| reads.keys.clone()).unwrap_or_default();
    fill(&mut values, &usual.into_iter().filter(|(_, value)| !value.is_null()).collect());
    values.insert("tie_word_embeddings".into(), config.flag("tie_word_embeddings", tied)?.into());
    one_axis(&mut values);
    config.finish()?;
    config.remark("the model reads images as well; what does is left out, and prompts are text");
    let mut plan = (family.hub)(&config.rotation(values, "text_config").of(reads)?, weights)?;
    let start = OF_TEXT.into_iter().find(|start| weights.iter().any(|tensor| tensor.name.starts_with(start)));
    let head = weights.contains("language_model.lm_head.weight");
    let named = plan.source;
    plan.source = Box::new(move |slot| {
        let mut source = named(slot)?;
        let tensor = &source.tensor;
        match (start, tensor.strip_prefix("model.")) {
            (Some(start), Some(rest)) => source.tensor = format!("{start}{rest}"),
            _ if head && tensor == "lm_head.weight" => source.tensor = format!("language_model.{tensor}"),
            _ => {}
        }
        Some(source)
    });
    plan.beside = OF_IMAGES.iter().copied().map(String::from).collect();
    Ok(plan)
}

/// Adds what is usual under keys that are absent.
fn fill(values: &mut Map<String, Value>, usual: &Value) {
    for (key, value) in usual.as_object().into_iter().flatten() {
        values.entry(key).or_insert_with(|| value.clone());
    }
}

/// Describes the rotation as that of text.
fn one_axis(values: &mut Map<String, Value>) {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(Value::Object(rope)) = values.get_mut(key) else { continue };
        rope.remove("mrope_section");
        rope.remove("mrope_interleaved");
        for kind in ["type", "rope_type"] {
            if rope.get(kind).is_some_and(|kind| kind == "mrope") {
                rope.insert(kind.into(), "default".into());
            }
        }
    }
}
