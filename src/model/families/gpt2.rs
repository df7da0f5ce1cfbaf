//! GPT-2: layer normalisation, learned positions, one tensor for queries, keys and values, plain MLP, tied head.
//!
//! Quirks: projections are stored `[inputs, outputs]`; some files name tensors without the `transformer.` prefix; some
//! models divide the scores by the layer's number as well (`scale_attn_by_inverse_layer_idx`).

use anyhow::{Result, bail};

use super::{
    common::{self, Names, activation},
    fused,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Layout, MlpSlot, Plan, Slot},
        spec::{Mlp, Spec},
    },
};

/// The names that some families after it have taken over.
pub(super) const NAMES: Names = Names {
    embedding: "transformer.wte",
    positions: "transformer.wpe",
    layers: "transformer.h",
    places: &[
        (LayerSlot::AttentionNorm, "ln_1"),
        (LayerSlot::Query, "attn.c_attn"),
        (LayerSlot::Key, "attn.c_attn"),
        (LayerSlot::Value, "attn.c_attn"),
        (LayerSlot::Output, "attn.c_proj"),
        (LayerSlot::MlpNorm, "ln_2"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.c_fc"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.c_proj"),
    ],
    instead: &[],
    last_norm: "transformer.ln_f",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::gpt2_shape(config, "n_positions", 1024)?;
    let (layers, width) = (shape.layers, shape.width);
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    if !config.flag("scale_attn_weights", true)? {
        spec.attention.scale = vec![1.0; layers];
    }
    if config.flag("scale_attn_by_inverse_layer_idx", false)? {
        let scales = spec.attention.scale.iter_mut();
        scales.enumerate().for_each(|(layer, scale)| *scale /= (layer + 1) as f32);
    }
    if config.flag("add_cross_attention", false)? {
        bail!(
            "{}: key `add_cross_attention` = true: decoders that read an encoder are not handled",
            config.origin()
        );
    }
    let inner = config.optional_count("n_inner")?.unwrap_or(4 * width);
    spec.mlp = vec![Mlp::dense(inner, activation(config, "activation_function", "gelu_new")?, false); layers];
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, |_| true, tied);
    let mut plan = Plan::new(spec, move |slot| {
        let source = fused::by_kind(slot, named(slot)?, &shape);
        Some(match slot {
            Slot::Layer(_, place, _) if !common::is_norm(place) => source.stored(Layout::InOut),
            _ => source,
        })
    });
    plan.unused = &["lm_head.weight"];
    Ok(plan)
}
