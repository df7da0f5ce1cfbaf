//! GPT-NeoX and Pythia: LayerNorm, rotary positions on a part of each head, attention and MLP side by side.
//!
//! Quirks: queries, keys and values share a tensor whose rows go `[head, 3, head_size]`; attention and MLP have each a
//! normalisation of their own also where they are parallel (`use_parallel_residual`, true unless said otherwise); a quarter
//! of each head is rotated (`rotary_pct`; `rotary_emb_base` is the base); biases everywhere; an unembedding of its own.

use anyhow::Result;

use super::{
    common::{self, Names, activation},
    fused, rotary,
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
    embedding: "gpt_neox.embed_in",
    positions: "",
    layers: "gpt_neox.layers",
    places: &[
        (LayerSlot::AttentionNorm, "input_layernorm"),
        (LayerSlot::Query, "attention.query_key_value"),
        (LayerSlot::Key, "attention.query_key_value"),
        (LayerSlot::Value, "attention.query_key_value"),
        (LayerSlot::Output, "attention.dense"),
        (LayerSlot::MlpNorm, "post_attention_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.dense_h_to_4h"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.dense_4h_to_h"),
    ],
    instead: &[],
    last_norm: "gpt_neox.final_layer_norm",
    unembedding: "embed_out",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    let defaults = rotary::Defaults {
        share: 0.25,
        keys: ["rotary_emb_base", "rotary_pct"],
        ..rotary::Defaults::default()
    };
    // The usual names, which some releases have written beside these, say nothing.
    for key in rotary::Defaults::default().keys {
        config.get(key);
    }
    let rotary = rotary::read(config, shape.head_size, shape.context, defaults)?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    spec.parallel = config.flag("use_parallel_residual", true)?;
    let mlp =
        Mlp::dense(config.count("intermediate_size")?, activation(config, "hidden_act", "gelu")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let attention = config.flag("attention_bias", true)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let named = NAMES.sources(weights, move |place| attention || !common::is_attention(place), tied);
    let mut plan = Plan::new(spec, move |slot| Some(fused::by_group(slot, named(slot)?, &shape)));
    plan.unused = &["embed_out.weight"];
    Ok(plan)
}
