//! GPT-2: layer normalisation, learned positions, one tensor for queries, keys and values, plain MLP, tied head.
//!
//! Quirks: projections are stored `[inputs, outputs]`; some files name tensors without the `transformer.` prefix; some
//! models divide the scores by the layer's number as well (`scale_attn_by_inverse_layer_idx`).

use anyhow::{Result, bail};

use super::common::{Names, activation, head_size};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Layout, MlpSlot, Plan, Share, Slot},
        spec::{Mlp, Shape, Spec},
    },
};

const NAMES: Names = Names {
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
    last_norm: "transformer.ln_f",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (layers, width, heads) = (config.count("n_layer")?, config.count("n_embd")?, config.count("n_head")?);
    let mut spec = Spec::plain(Shape {
        layers,
        width,
        heads,
        kv_heads: heads,
        head_size: head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_count("n_positions")?.unwrap_or(1024),
    });
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    if !config.flag("scale_attn_weights", true)? {
        spec.attention.scale = vec![1.0; layers];
    }
    if config.flag("scale_attn_by_inverse_layer_idx", false)? {
        let scales = spec.attention.scale.iter_mut();
        scales.enumerate().for_each(|(layer, scale)| *scale /= (layer + 1) as f32);
    }
    // Only the type of an intermediate, which is f32 here anyway.
    config.flag("reorder_and_upcast_attn", false)?;
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
    let third = move |third: usize| Share::range(third * width..(third + 1) * width, 3 * width);
    let mut plan = Plan::new(spec, move |slot| {
        let source = named(slot)?;
        let Slot::Layer(_, place, _) = slot else { return Some(source) };
        Some(match place {
            LayerSlot::Query => source.stored(Layout::InOut).shared(third(0)),
            LayerSlot::Key => source.stored(Layout::InOut).shared(third(1)),
            LayerSlot::Value => source.stored(Layout::InOut).shared(third(2)),
            LayerSlot::Output | LayerSlot::Mlp(_) => source.stored(Layout::InOut),
            _ => source,
        })
    });
    plan.unused = &["lm_head.weight"];
    Ok(plan)
}
