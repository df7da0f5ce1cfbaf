//! ERNIE 4.5: Llama's kind with neighbouring numbers of a head rotated together, and a tied head.
//!
//! Quirks: heads have 128 numbers unless said otherwise; all projections have biases or none has (`use_bias`). With experts, these
//! are in every `moe_layer_interval`th layer from `moe_layer_start_index` to `moe_layer_end_index`; each one's own number corrects
//! its share for the choice; the shares sum to one, and an MLP as wide as `moe_num_shared_experts` of them works beside them.

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
        rotary::Pairing,
        slot::{LayerSlot, Plan},
        spec::{Router, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
    }));
    let spec = read(&config)?;
    let biased = biased(&config)?;
    common::named(&config, weights, spec, &llama::NAMES, biased, true)
}

/// Reads `config.json` of models with experts.
pub fn with_experts(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 4,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "moe_layer_start_index": 1,
        "moe_layer_interval": 1,
        "moe_num_shared_experts": 2,
    }));
    let mut spec = read(&config)?;
    let least = config.number("moe_norm_min", 1e-12)? as f32;
    let router = Router { corrected: true, divided: Some(least), ..Router::SOFTMAX };
    let shared = config.count_from_zero("moe_num_shared_experts")?;
    let experts = experts::beside(&config, experts::read(&config, router)?, shared)?;
    let (first, step) =
        (config.optional_length("moe_layer_start_index")?.unwrap_or(0), config.length("moe_layer_interval")?);
    let last = match config.number("moe_layer_end_index", -1.0)? {
        -1.0 => spec.layers as f64,
        last => last,
    };
    let has = |layer: usize| layer >= first && layer as f64 <= last && (layer + 1).is_multiple_of(step);
    experts::put(&mut spec, experts, config.count("moe_intermediate_size")?, has);
    let (biased, head) = (biased(&config)?, config.flag("use_bias", false)?);
    let mut plan = experts::named(&config, weights, spec, &NAMES, biased, true)?;
    plan.beside = ["model.mtp_", "mtp_"].map(String::from).to_vec();
    Ok(if head { common::with_biased_head(plan) } else { plan })
}

const NAMES: Names = Names {
    instead: &[(LayerSlot::RouterCorrection, "mlp.moe_statics.e_score_correction_bias")],
    ..llama::NAMES
};

fn read(config: &Config) -> Result<Spec> {
    let pairing = Pairing::Neighbours;
    common::llama_like(config, rotary::Defaults { theta: 500_000.0, pairing, ..rotary::Defaults::default() })
}

fn biased(config: &Config) -> Result<impl Fn(LayerSlot) -> bool + use<>> {
    let biases = config.flag("use_bias", false)?;
    Ok(move |place| {
        let is_apart = common::is_norm(place) || matches!(place, LayerSlot::Router | LayerSlot::Expert(..));
        biases && !is_apart
    })
}
