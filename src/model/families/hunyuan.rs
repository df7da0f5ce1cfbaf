//! Hunyuan: Llama's kind that normalises queries and keys of each head after they are rotated.
//!
//! Quirks: `alpha` of a rotation whose kind is `dynamic` stretches its base once for all. With experts, an MLP as wide as one of
//! them works beside them; how many work on a token may be told for each layer (`moe_topk`).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    common::{self, Names},
    experts, llama, qwen, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Experts, QueryKeyNorm, Router, Shared, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::QueryNorm, "self_attn.query_layernorm"),
        (LayerSlot::KeyNorm, "self_attn.key_layernorm"),
        (LayerSlot::Router, "mlp.gate.wg"),
        (LayerSlot::Shared(MlpSlot::Gate), "mlp.shared_mlp.gate_proj"),
        (LayerSlot::Shared(MlpSlot::Up), "mlp.shared_mlp.up_proj"),
        (LayerSlot::Shared(MlpSlot::Down), "mlp.shared_mlp.down_proj"),
    ],
    ..llama::NAMES
};

/// Reads `config.json` of dense models.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, spec) = read(config)?;
    let biased = biased(&config)?;
    common::named(&config, weights, spec, &NAMES, biased, false)
}

/// Reads `config.json` of models with experts.
pub fn with_experts(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, mut spec) = read(config)?;
    let (count, inner) = (config.count("num_experts")?, config.count("intermediate_size")?);
    let tops = tops(&config, spec.layers)?;
    let shared = Some(Shared { inner, gated: false });
    for (mlp, top) in spec.mlp.iter_mut().zip(tops) {
        if top == 0 || top > count {
            bail!(
                "{}: keys `moe_topk` = {top} and `num_experts` = {count} do not go together",
                config.origin()
            );
        }
        mlp.experts = Some(Experts { count, top, router: Router::OF_PICKED, shared });
    }
    let biased = biased(&config)?;
    experts::named(&config, weights, spec, &NAMES, biased, false)
}

/// How many experts work on a token in each layer.
fn tops(config: &Config, layers: usize) -> Result<Vec<usize>> {
    let Some(list) = config.get("moe_topk").and_then(Value::as_array) else {
        return Ok(vec![config.optional_length("moe_topk")?.unwrap_or(1); layers]);
    };
    let tops: Option<Vec<usize>> =
        list.iter().take(layers).map(|top| top.as_u64().map(|top| top as usize)).collect();
    tops.filter(|tops| tops.len() == layers)
        .with_context(|| format!("{}: key `moe_topk` is no list of {layers} counts", config.origin()))
}

/// The configuration with what both take for granted, and what it says in both.
fn read(config: &Config) -> Result<(Config, Spec)> {
    let config = config.with_defaults(json!({ "rms_norm_eps": 1e-5 }));
    let defaults = rotary::Defaults { alpha: true, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM.map(|norm| QueryKeyNorm { after_rotation: true, ..norm });
    Ok((config, spec))
}

fn biased(config: &Config) -> Result<impl Fn(LayerSlot) -> bool + use<>> {
    let attention = config.flag("attention_bias", false)?;
    Ok(move |place| attention && common::is_attention(place))
}
