//! StarCoder and SantaCoder (GPT-BigCode): GPT-2 with one key and one value for all heads.
//!
//! Quirks: projections are stored `[outputs, inputs]`; without `multi_query`, the rows of queries, keys and values go
//! `[head, 3, head_size]`.

use anyhow::Result;

use super::{
    common::{self, activation},
    fused, gpt2,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::Plan,
        spec::{Mlp, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut shape = common::gpt2_shape(config, "n_positions", 1024)?;
    if config.flag("multi_query", true)? {
        shape.kv_heads = 1;
    }
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    if !config.flag("scale_attn_weights", true)? {
        spec.attention.scale = vec![1.0; shape.layers];
    }
    common::always(config, "add_cross_attention", false)?;
    let inner = config.optional_count("n_inner")?.unwrap_or(4 * shape.width);
    let mlp = Mlp::dense(inner, activation(config, "activation_function", "gelu_pytorch_tanh")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = gpt2::NAMES.sources(weights, |_| true, tied);
    let mut plan = Plan::new(spec, move |slot| Some(fused::by_group(slot, named(slot)?, &shape)));
    plan.unused = common::TIED;
    Ok(plan)
}
