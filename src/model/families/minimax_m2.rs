//! MiniMax M2: Mixtral with other shares.
//!
//! Quirks: shares are sigmoids, which each expert's own number corrects for the choice, and sum to one; all heads of a query or key
//! are normalised together; `rotary_dim` numbers of each head are turned.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, mixtral, olmo, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
        spec::{Router, Shares},
    },
};

/// The names in transformers' memory.
const IN_MEMORY: Names =
    Names { instead: &[(LayerSlot::RouterCorrection, "mlp.e_score_correction_bias")], ..llama::NAMES };

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 196_608,
    }));
    let turned = config.optional_count("rotary_dim")?;
    let share = match (turned, config.count("head_dim")?) {
        (Some(turned), size) => turned as f64 / size as f64,
        (None, _) => 1.0,
    };
    let mut spec =
        common::llama_like(&config, rotary::Defaults { theta: 5e6, share, ..rotary::Defaults::default() })?;
    spec.attention.query_key_norm = olmo::ALL_HEADS;
    let router = Router { shares: Shares::Sigmoid, corrected: true, ..Router::OF_PICKED };
    experts::put(&mut spec, experts::read(&config, router)?, config.count("intermediate_size")?, |_| true);
    let names = if experts::in_memory(weights) { &IN_MEMORY } else { &mixtral::NAMES };
    experts::named(&config, weights, spec, names, |_| false, false)
}
