//! Seed-OSS: Llama's kind with biases in queries, keys and values.
//!
//! Quirks: the output projection's bias has a key of its own (`attention_out_bias`); heads have 128 numbers unless said
//! otherwise.

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
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 524_288,
    }));
    let spec = common::llama_like(&config, rotary::Defaults::default())?;
    let (read, out) = (config.flag("attention_bias", true)?, config.flag("attention_out_bias", false)?);
    let mlp = config.flag("mlp_bias", false)?;
    let biased = move |place| match place {
        LayerSlot::Output => out,
        LayerSlot::Mlp(_) => mlp,
        place => read && common::is_read(place),
    };
    common::named(&config, weights, spec, &llama::NAMES, biased, false)
}
