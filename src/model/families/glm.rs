//! GLM 4: Llama's kind with neighbouring numbers of a half of each head rotated together.
//!
//! Quirks: queries, keys and values have biases unless said otherwise, and the output has none; gate and way in share a
//! tensor. The releases of 2025 (`glm4`) also normalise what attention and MLP write.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    fused, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::Pairing,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::NormPlace,
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::AttentionPostNorm, "post_self_attn_layernorm"),
        (LayerSlot::MlpPostNorm, "post_mlp_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Gate), "mlp.gate_up_proj"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.gate_up_proj"),
    ],
    ..llama::NAMES
};

/// Reads `config.json` of the first releases.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    read(config, weights, NormPlace::Before)
}

/// Reads `config.json` of those of 2025.
pub fn plan4(config: &Config, weights: &Weights) -> Result<Plan> {
    read(config, weights, NormPlace::Around)
}

fn read(config: &Config, weights: &Weights, place: NormPlace) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1.5625e-7,
    }));
    let defaults =
        rotary::Defaults { share: 0.5, pairing: Pairing::Neighbours, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.norm.place = place;
    let (biases, inner) = (config.flag("attention_bias", true)?, config.count("intermediate_size")?);
    let mut plan =
        common::named(&config, weights, spec, &NAMES, move |place| biases && common::is_read(place), false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| Some(fused::gate_first(slot, named(slot)?, inner)));
    Ok(plan)
}
