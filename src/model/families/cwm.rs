//! Code World Model: Llama's kind with a window in three layers of four, and the first of each four without.
//!
//! Quirks: the rotation is stretched as Llama 3.1's unless another is described.

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut defaults = json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "sliding_window": 8192,
    });
    if config.get("rope_scaling").or(config.get("rope_parameters")).is_none() {
        defaults["rope_parameters"] = json!({
            "rope_type": "llama3",
            "rope_theta": 1e6,
            "factor": 16.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
    }
    let config = config.with_defaults(defaults);
    let defaults = rotary::Defaults { theta: 1e6, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.windows = common::windows(&config, spec.layers, |layer| layer % 4 != 0)?;
    let biases = config.flag("mlp_bias", false)?;
    let biased = move |place| biases && matches!(place, LayerSlot::Mlp(_));
    common::named(&config, weights, spec, &llama::NAMES, biased, false)
}
