//! Granite: a decoder of Llama's kind with four factors.
//!
//! Quirks: `embedding_multiplier` is a factor on the embedding, `attention_multiplier` on the scores, in place of one over the
//! root of the head's size, and `residual_multiplier` on what attention and MLP write; logits are divided by
//! `logits_scaling`. Each is 1 unless said otherwise.

use anyhow::{Result, bail};

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = common::llama_like(config, rotary::Defaults::default())?;
    spec.embedding.scale = config.number("embedding_multiplier", 1.0)? as f32;
    spec.attention.scale = vec![config.number("attention_multiplier", 1.0)? as f32; spec.layers];
    spec.residual_scale = config.number("residual_multiplier", 1.0)? as f32;
    spec.logits.scale = match config.number("logits_scaling", 1.0)? {
        0.0 => bail!("{}: key `logits_scaling` is 0, which logits cannot be divided by", config.origin()),
        divisor => (1.0 / divisor) as f32,
    };
    llama::named(config, weights, spec, false)
}
