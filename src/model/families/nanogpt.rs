//! nanoGPT: GPT-2 as Karpathy's trainer writes it, with the arguments of the model beside the weights in place of
//! `config.json`.
//!
//! Quirks: GPT-2's names, but projections are stored `[outputs, inputs]`; `bias` says for projections and normalisations at
//! once whether there are biases; the GELU is exact; the unembedding is the embedding, and stored again under its own name.

use anyhow::Result;

use super::{common, fused, gpt2};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::Plan,
        spec::{Activation, Mlp, Spec},
    },
};

/// Reads `model_args`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::gpt2_shape(config, "block_size", 1024)?;
    let mut spec = Spec::plain(shape);
    spec.mlp = vec![Mlp::dense(4 * shape.width, Activation::Gelu, false); shape.layers];
    let biased = config.flag("bias", true)?;
    config.finish()?;
    let named = gpt2::NAMES.sources(weights, move |_| biased, true);
    let mut plan = Plan::new(spec, move |slot| Some(fused::by_kind(slot, named(slot)?, &shape)));
    plan.unused = common::TIED;
    Ok(plan)
}
