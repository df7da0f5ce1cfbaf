//! Mellum 2: Qwen 3 with experts whose layers with a window have a rotation of their own.
//!
//! Quirks: which layers have a window and which an MLP in place of experts is listed (`layer_types`, `mlp_layer_types`); the
//! shares of the experts that work on a token sum to one unless said otherwise. What is there to predict more than one token
//! at a time (`mtp.`) is left out.

use anyhow::Result;
use serde_json::json;

use super::{common, experts, llama, qwen, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 4,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "sliding_window": 1024,
        "rope_parameters": {
            "full_attention": { "rope_type": "default", "rope_theta": 500_000.0 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 10_000.0 },
        },
    }));
    let shape = common::shape(&config)?;
    let mut spec = common::llama_spec(&config, shape)?;
    let sliding = common::sliding(&config, shape.layers, |_| false)?;
    spec.positions = rotary::by_kind(&config, shape, &sliding, rotary::Defaults::default(), None)?;
    spec.attention.windows = common::windows(&config, shape.layers, |_| false)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM;
    let experts = experts::read(&config, qwen::router(&config, true)?)?;
    experts::put_where_listed(&config, &mut spec, experts, |_| true)?;
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_attention(place);
    let mut plan = experts::named(&config, weights, spec, &llama::NAMES, biased, false)?;
    plan.beside = ["mtp."].map(String::from).to_vec();
    Ok(plan)
}
