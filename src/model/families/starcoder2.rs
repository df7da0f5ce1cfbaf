//! StarCoder2: Llama with LayerNorm, biases and a plain MLP; every layer may see a window alone.

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
        spec::{Mlp, Positions, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[(LayerSlot::Mlp(MlpSlot::Up), "mlp.c_fc"), (LayerSlot::Mlp(MlpSlot::Down), "mlp.c_proj")],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("norm_epsilon", 1e-5)? as f32;
    let rotary = rotary::read(config, shape.head_size, shape.context, rotary::Defaults::default())?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    spec.attention.windows = common::windows(config, shape.layers, |_| true)?;
    let inner = config.count("intermediate_size")?;
    let mlp = Mlp::dense(inner, activation(config, "hidden_act", "gelu_pytorch_tanh")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let biases = config.flag("use_bias", true)?;
    common::named(config, weights, spec, &NAMES, move |place| biases || common::is_norm(place), true)
}
