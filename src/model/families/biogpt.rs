//! BioGPT: OPT with embeddings times the root of their width.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names, activation},
    opt,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::Plan,
        spec::{Mlp, Positions, ReadBy, Spec},
    },
};

const NAMES: Names = Names {
    embedding: "biogpt.embed_tokens",
    positions: "biogpt.embed_positions",
    layers: "biogpt.layers",
    last_norm: "biogpt.layer_norm",
    unembedding: "output_projection",
    ..opt::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 1024 }));
    let shape = common::shape(&config)?;
    let mut spec = Spec::plain(shape);
    if config.flag("scale_embedding", true)? {
        spec.embedding.scale = (spec.width as f32).sqrt();
    }
    spec.positions = Positions::Learned { offset: 2, read_by: ReadBy::Everything };
    let inner = config.count("intermediate_size")?;
    spec.mlp = vec![Mlp::dense(inner, activation(&config, "hidden_act", "gelu")?, false); shape.layers];
    let mut plan = common::named(&config, weights, spec, &NAMES, |_| true, true)?;
    plan.unused = &["output_projection.weight"];
    Ok(plan)
}
