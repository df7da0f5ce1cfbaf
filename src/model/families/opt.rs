//! OPT and Galactica: LayerNorm, learned positions, plain MLP, tied head.
//!
//! Quirks: the table of positions has two rows before that of position 0; OPT-350m embeds in fewer numbers than the residual
//! stream has (`word_embed_proj_dim`) and normalises after each sum instead of before each block, with no last
//! normalisation (`do_layer_norm_before`); gains and biases may be absent altogether.

use anyhow::Result;

use super::common::{self, Names, activation};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Part, Plan, Slot},
        spec::{Mlp, NormPlace, Positions, ReadBy, Spec},
    },
};

/// The names that BioGPT has taken over in its layers.
pub(super) const NAMES: Names = Names {
    embedding: "model.decoder.embed_tokens",
    positions: "model.decoder.embed_positions",
    layers: "model.decoder.layers",
    places: &[
        (LayerSlot::AttentionNorm, "self_attn_layer_norm"),
        (LayerSlot::AttentionPostNorm, "self_attn_layer_norm"),
        (LayerSlot::Query, "self_attn.q_proj"),
        (LayerSlot::Key, "self_attn.k_proj"),
        (LayerSlot::Value, "self_attn.v_proj"),
        (LayerSlot::Output, "self_attn.out_proj"),
        (LayerSlot::MlpNorm, "final_layer_norm"),
        (LayerSlot::MlpPostNorm, "final_layer_norm"),
        (LayerSlot::Mlp(MlpSlot::Up), "fc1"),
        (LayerSlot::Mlp(MlpSlot::Down), "fc2"),
    ],
    instead: &[],
    last_norm: "model.decoder.final_layer_norm",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.embedding.width = match config.get("word_embed_proj_dim") {
        Some(_) => config.count("word_embed_proj_dim")?,
        None => shape.width,
    };
    spec.positions = Positions::Learned { offset: 2, read_by: ReadBy::Everything };
    if !config.flag("do_layer_norm_before", true)? {
        spec.norm.place = NormPlace::Sum;
        spec.norm.last = false;
    }
    // Of models tuned before transformers 4.20, which had lost it.
    if config.flag("_remove_final_layer_norm", false)? {
        spec.norm.last = false;
    }
    let mlp = Mlp::dense(config.count("ffn_dim")?, activation(config, "activation_function", "relu")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let biases = config.flag("enable_bias", true)?;
    let affine = config.flag("layer_norm_elementwise_affine", true)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, move |place| biases || common::is_norm(place), tied);
    let mut plan = Plan::new(spec, move |slot| match slot {
        Slot::FinalNorm(_) if !affine => None,
        Slot::Layer(_, place, _) if !affine && common::is_norm(place) => None,
        Slot::ProjectionIn => {
            named(Slot::Embedding).map(|table| common::beside(&table, "project_in", Part::Weight))
        }
        Slot::ProjectionOut => {
            named(Slot::Embedding).map(|table| common::beside(&table, "project_out", Part::Weight))
        }
        slot => named(slot),
    });
    plan.unused = common::TIED;
    Ok(plan)
}
