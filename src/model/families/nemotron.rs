//! Nemotron, Arcee and Jais 2: Llama's kind with an MLP that has no gate, whose nonlinearity is the square of what is above 0.
//!
//! Quirks: Nemotron and Jais 2 have LayerNorms with biases; Nemotron's gains are stored less one, and half of each head is
//! rotated. Biases of projections are there in Jais 2 unless said otherwise, and in the others only if said.

use anyhow::Result;
use serde_json::json;

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
        spec::{Mlp, NormKind, Spec},
    },
};

/// Reads `config.json` of Arcee.
pub fn arcee(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 4096, "rms_norm_eps": 1e-5 }));
    let spec = read(&config, rotary::Defaults::default())?;
    llama::named(&config, weights, spec, false)
}

/// Reads `config.json` of Jais 2.
pub fn jais2(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "max_position_embeddings": 8192,
        "attention_bias": true,
        "mlp_bias": true,
    }));
    let mut spec = read(&config, rotary::Defaults::default())?;
    spec.norm.kind = NormKind::Layer;
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    with_normed_biases(&config, weights, spec)
}

/// Reads `config.json` of Nemotron.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 4096 }));
    let mut spec = read(&config, rotary::Defaults { share: 0.5, ..rotary::Defaults::default() })?;
    spec.norm.kind = NormKind::Layer;
    spec.norm.epsilon = config.number("norm_eps", 1e-5)? as f32;
    spec.norm.gain_offset = 1.0;
    with_normed_biases(&config, weights, spec)
}

fn read(config: &Config, defaults: rotary::Defaults) -> Result<Spec> {
    let mut spec = common::llama_like(config, defaults)?;
    let activation = common::activation(config, "hidden_act", "relu2")?;
    spec.mlp = vec![Mlp::dense(config.count("intermediate_size")?, activation, false); spec.layers];
    Ok(spec)
}

fn with_normed_biases(config: &Config, weights: &Weights, spec: Spec) -> Result<Plan> {
    let (attention, mlp) = (config.flag("attention_bias", false)?, config.flag("mlp_bias", false)?);
    let biased = move |place| match place {
        LayerSlot::Mlp(_) => mlp,
        place => common::is_norm(place) || attention && common::is_attention(place),
    };
    common::named(config, weights, spec, &llama::NAMES, biased, false)
}
