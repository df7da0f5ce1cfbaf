//! The first GPT: GPT-2 that normalises after each sum, and not at the end.
//!
//! Quirks: the nonlinearity is under `afn`, where `gelu` stands for its approximation; the MLP is four times as wide as the
//! residual stream.

use anyhow::{Result, bail};

use super::{
    common::{self, Names},
    fused, gpt2,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Layout, Plan, Slot},
        spec::{Activation, Mlp, NormPlace, Spec},
    },
    text::excerpt,
};

const NAMES: Names = Names {
    embedding: "transformer.tokens_embed",
    positions: "transformer.positions_embed",
    instead: &[(LayerSlot::AttentionPostNorm, "ln_1"), (LayerSlot::MlpPostNorm, "ln_2")],
    ..gpt2::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::gpt2_shape(config, "n_positions", 512)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    spec.norm.place = NormPlace::Sum;
    spec.norm.last = false;
    let activation = match config.text("afn", "gelu")? {
        "gelu" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "silu" | "swish" => Activation::Silu,
        other => bail!("{}: `afn` = `{}` is not known", config.origin(), excerpt(other)),
    };
    spec.mlp = vec![Mlp::dense(4 * shape.width, activation, false); shape.layers];
    let mut plan = common::named(config, weights, spec, &NAMES, |_| true, true)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| {
        let source = fused::by_kind(slot, named(slot)?, &shape);
        Some(match slot {
            Slot::Layer(_, place, _) if !common::is_norm(place) => source.stored(Layout::InOut),
            _ => source,
        })
    });
    Ok(plan)
}
