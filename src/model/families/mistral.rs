//! Mistral and the first Ministral: decoders of Llama's kind.
//!
//! Quirks: every layer looks back through the same window, `sliding_window`, of 4,096 tokens unless said otherwise; null
//! switches it off. In Ministral `layer_types` may say which layers do. `head_dim` may be another than the width divided by the heads.

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan, spec::Spec},
};

/// Reads `config.json` of Mistral.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, mut spec) = read(config)?;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    common::named(&config, weights, spec, &llama::NAMES, |_| false, false)
}

/// Reads `config.json` of Ministral.
pub fn ministral(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, mut spec) = read(config)?;
    spec.attention.windows = common::windows(&config, spec.layers, |_| true)?;
    common::named(&config, weights, spec, &llama::NAMES, |_| false, false)
}

/// The configuration with what both take for granted, and what it says in both.
fn read(config: &Config) -> Result<(Config, Spec)> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    }));
    let spec = common::llama_like(&config, rotary::Defaults::default())?;
    Ok((config, spec))
}
