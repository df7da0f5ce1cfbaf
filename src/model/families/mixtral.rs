//! Mixtral: Mistral with experts in place of the MLP.
//!
//! Quirks: `num_experts_per_tok` of `num_local_experts` work on a token, and their shares sum to one. Files name an expert's
//! projections `w1` (gate), `w3` (way in) and `w2` (way out); those of transformers 5 may stack them. There is no window unless
//! `sliding_window` says so.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::Router,
    },
};

pub(super) const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Router, "block_sparse_moe.gate"),
        (LayerSlot::RouterCorrection, "block_sparse_moe.e_score_correction_bias"),
        (LayerSlot::Expert(0, MlpSlot::Gate), "block_sparse_moe.experts.#.w1"),
        (LayerSlot::Expert(0, MlpSlot::Up), "block_sparse_moe.experts.#.w3"),
        (LayerSlot::Expert(0, MlpSlot::Down), "block_sparse_moe.experts.#.w2"),
    ],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
    }));
    let defaults = rotary::Defaults { theta: 1e6, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    let (experts, inner) = (experts::read(&config, Router::OF_PICKED)?, config.count("intermediate_size")?);
    experts::put(&mut spec, experts, inner, |_| true);
    experts::named(&config, weights, spec, names(weights), |_| false, false)
}

/// The names in a file: those that transformers has in memory, where it has them so.
fn names(weights: &Weights) -> &'static Names {
    if experts::in_memory(weights) { &llama::NAMES } else { &NAMES }
}
