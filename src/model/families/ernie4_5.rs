//! ERNIE 4.5: Llama's kind with neighbouring numbers of a head rotated together, and a tied head.
//!
//! Quirks: heads have 128 numbers unless said otherwise; all projections have biases or none has (`use_bias`).

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, rotary::Pairing, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
    }));
    let pairing = Pairing::Neighbours;
    let defaults = rotary::Defaults { theta: 500_000.0, pairing, ..rotary::Defaults::default() };
    let spec = common::llama_like(&config, defaults)?;
    let biases = config.flag("use_bias", false)?;
    let biased = move |place| biases && !common::is_norm(place);
    common::named(&config, weights, spec, &llama::NAMES, biased, true)
}
