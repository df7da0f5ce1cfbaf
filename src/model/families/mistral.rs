//! Mistral, the first Ministral and Ministral 3: decoders of Llama's kind.
//!
//! Quirks: every layer looks back through the same window, `sliding_window`, of 4,096 tokens unless said otherwise; null
//! switches it off. In Ministral `layer_types` may say which layers do. In Ministral 3
//! there is none unless said, the rotation is stretched by YaRN unless another is described, and queries grow with their position
//! (`llama_4_scaling_beta`). `head_dim` may be another than the width divided by the heads.

use anyhow::{Result, bail};
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::Plan,
        spec::{Spec, Temperature},
    },
};

/// Reads `config.json` of Mistral.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, mut spec) = read(config)?;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    common::named(&config, weights, spec, &llama::NAMES, |_| false, false)
}

/// Reads `config.json` of Ministral.
pub fn ministral(config: &Config, weights: &Weights) -> Result<Plan> {
    let (config, mut spec) = read(config)?;
    spec.attention.windows = common::windows(&config, spec.layers, |_| true)?;
    common::named(&config, weights, spec, &llama::NAMES, |_| false, false)
}

/// Reads `config.json` of Ministral 3.
pub fn ministral3(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut defaults = json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rms_norm_eps": 1e-5,
    });
    if config.get("rope_scaling").or(config.get("rope_parameters")).is_none() {
        defaults["rope_parameters"] = json!({
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 16.0,
            "original_max_position_embeddings": 16_384,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "mscale": 1.0,
            "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        });
    }
    let config = config.with_defaults(defaults);
    // Beside the rotation's own keys are that of the growth and the context, which says nothing there.
    let others = &["llama_4_scaling_beta", "max_position_embeddings", "original_max_position_embeddings"];
    let mut spec = common::llama_like(&config, rotary::Defaults { others, ..rotary::Defaults::default() })?;
    let rope = rotary::described(&config)?;
    if rope.get("llama_4_scaling_beta").is_none() {
        bail!("{}: key `llama_4_scaling_beta` is missing", rope.origin());
    }
    spec.attention.temperature = Some(Temperature {
        growth: rope.number("llama_4_scaling_beta", 0.0)? as f32,
        period: rope.length("original_max_position_embeddings")?,
        first: 0,
        layers: vec![true; spec.layers],
    });
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    common::named(&config, weights, spec, &llama::NAMES, |_| false, false)
}

/// The configuration with what both take for granted, and what it says in both.
fn read(config: &Config) -> Result<(Config, Spec)> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    }));
    let spec = common::llama_like(&config, rotary::Defaults::default())?;
    Ok((config, spec))
}
