//! XGLM: LayerNorm, sines and cosines for positions, plain MLP, tied head, embeddings times the root of their width.
//!
//! Quirks: positions are counted from 2, as where two are kept for padding, and the padding token's number has none.

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
        spec::{Mlp, Positions, Shape, Spec},
    },
};

const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    last_norm: "model.layer_norm",
    ..opt::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "pad_token_id": 1 }));
    let (width, heads) = (config.count("d_model")?, config.count("attention_heads")?);
    let shape = Shape {
        layers: config.count("num_layers")?,
        width,
        heads,
        kv_heads: heads,
        head_size: common::head_size(&config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_position_embeddings")?.unwrap_or(2048),
    };
    let mut spec = Spec::plain(common::checked(&config, shape)?);
    if config.flag("scale_embedding", true)? {
        spec.embedding.scale = (width as f32).sqrt();
    }
    spec.positions = Positions::Sinusoidal { offset: 2, zero: config.optional_length("pad_token_id")? };
    common::always(&config, "add_cross_attention", false)?;
    let inner = config.count("ffn_dim")?;
    let mlp = Mlp::dense(inner, activation(&config, "activation_function", "gelu")?, false);
    spec.mlp = vec![mlp; shape.layers];
    common::named(&config, weights, spec, &NAMES, |_| true, true)
}
