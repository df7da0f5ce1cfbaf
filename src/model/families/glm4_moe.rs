//! GLM 4.5 to 4.7 and Solar Open: Llama's kind with DeepSeek-V3's experts.
//!
//! Quirks: queries, keys and values may have biases, and the output has none. GLM turns half of each head unless said otherwise, may
//! normalise each head's queries and keys (`use_qk_norm`) and has an MLP in its first layers; Solar Open has experts in all.

use anyhow::Result;
use serde_json::json;

use super::{common, experts, llama, qwen, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan, spec::Spec},
};

/// Reads `config.json` of GLM.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "first_k_dense_replace": 1,
        "n_shared_experts": 1,
    }));
    let mut spec =
        common::llama_like(&config, rotary::Defaults { share: 0.5, ..rotary::Defaults::default() })?;
    if config.flag("use_qk_norm", false)? {
        spec.attention.query_key_norm = qwen::HEAD_NORM;
    }
    let mut plan = named(&config, weights, spec)?;
    // What predicts the token after the next.
    plan.beside = ["model.layers.46.", "model.layers.92."].map(String::from).to_vec();
    Ok(plan)
}

/// Reads `config.json` of Solar Open.
pub fn solar(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "n_shared_experts": 1,
    }));
    // Of an MLP in place of the experts, which no layer has.
    config.optional_count("intermediate_size")?;
    let defaults = rotary::Defaults { theta: 1e6, ..rotary::Defaults::default() };
    named(&config, weights, common::llama_like_of(&config, defaults, "moe_intermediate_size")?)
}

fn named(config: &Config, weights: &Weights, mut spec: Spec) -> Result<Plan> {
    experts::put_after_dense(config, &mut spec, experts::corrected(config, true)?)?;
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_read(place);
    experts::named(config, weights, spec, &llama::NAMES, biased, false)
}
