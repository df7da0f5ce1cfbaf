//! Hunyuan, dense: Llama's kind that normalises queries and keys of each head after they are rotated.
//!
//! Quirks: `alpha` of a rotation whose kind is `dynamic` stretches its base once for all.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    llama, qwen, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
        spec::QueryKeyNorm,
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::QueryNorm, "self_attn.query_layernorm"),
        (LayerSlot::KeyNorm, "self_attn.key_layernorm"),
    ],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "rms_norm_eps": 1e-5 }));
    let defaults = rotary::Defaults { alpha: true, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM.map(|norm| QueryKeyNorm { after_rotation: true, ..norm });
    let attention = config.flag("attention_bias", false)?;
    let biased = move |place| attention && common::is_attention(place);
    common::named(&config, weights, spec, &NAMES, biased, false)
}
