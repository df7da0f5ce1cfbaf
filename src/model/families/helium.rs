//! Helium: Llama's kind with neighbouring numbers of a head rotated together.
//!
//! Quirks: of attention's projections the output never has a bias; heads have 128 numbers unless said otherwise.

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::Pairing,
        slot::{LayerSlot, Plan},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 20,
        "head_dim": 128,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-8,
    }));
    let pairing = Pairing::Neighbours;
    let defaults = rotary::Defaults { theta: 100_000.0, pairing, ..rotary::Defaults::default() };
    let spec = common::llama_like(&config, defaults)?;
    let (attention, mlp) = (config.flag("attention_bias", false)?, config.flag("mlp_bias", false)?);
    let biased = move |place| match place {
        LayerSlot::Mlp(_) => mlp,
        place => attention && common::is_read(place),
    };
    common::named(&config, weights, spec, &llama::NAMES, biased, false)
}
