//! Mistral: a decoder of Llama's kind.
//!
//! Quirks: every layer looks back through the same window, `sliding_window`, of 4,096 tokens unless said otherwise; null
//! switches it off. `head_dim` may be another than the width divided by the heads.

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let mut plan = Plan::new(spec, llama::NAMES.sources(weights, |_| false, tied));
    plan.unused = common::TIED;
    Ok(plan)
}
