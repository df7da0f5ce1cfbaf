//! dots.llm1: Qwen 3's attention with DeepSeek-V3's experts.
//!
//! Quirks: layers from `max_window_layers` on look back through `sliding_window`, unless `layer_types` says which do.

use anyhow::Result;
use serde_json::json;

use super::{common, experts, llama, qwen, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "num_key_value_heads": 32, "sliding_window": 4096 }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    let without = config.optional_length("max_window_layers")?.unwrap_or(62);
    spec.attention.windows = common::windows(&config, spec.layers, |layer| layer >= without)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM;
    experts::put_after_dense(&config, &mut spec, experts::corrected(&config, false)?)?;
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_attention(place);
    experts::named(&config, weights, spec, &llama::NAMES, biased, false)
}
