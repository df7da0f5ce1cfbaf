//! Phi-1, 1.5 and 2: LayerNorm, rotary positions on a part of each head, attention and MLP side by side.
//!
//! Quirks: attention and MLP share one normalisation; biases everywhere, also in the unembedding; queries and keys may be
//! normalised head by head, with gains and biases that all heads share (`qk_layernorm`).

use anyhow::Result;

use super::{
    common::{self, Names, activation},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Mlp, NormKind, NormOver, Positions, QueryKeyNorm, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::QueryNorm, "self_attn.q_layernorm"),
        (LayerSlot::KeyNorm, "self_attn.k_layernorm"),
        (LayerSlot::Output, "self_attn.dense"),
        (LayerSlot::MlpNorm, "input_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.fc1"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.fc2"),
    ],
    last_norm: "model.final_layernorm",
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    let defaults = rotary::Defaults { share: 0.5, ..rotary::Defaults::default() };
    let rotary = rotary::read(config, shape.head_size, shape.context, defaults)?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    spec.parallel = true;
    if config.flag("qk_layernorm", false)? {
        spec.attention.query_key_norm =
            Some(QueryKeyNorm { kind: NormKind::Layer, over: NormOver::Head, after_rotation: false });
    }
    let inner = config.count("intermediate_size")?;
    spec.mlp = vec![Mlp::dense(inner, activation(config, "hidden_act", "gelu_new")?, false); shape.layers];
    Ok(common::with_biased_head(common::named(config, weights, spec, &NAMES, |_| true, false)?))
}
