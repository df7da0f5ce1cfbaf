//! The small models of the papers, as `attnscope train` writes them: attention with or without MLPs, rotary positions, RMS
//! normalisation before each layer and at the end, tensors named as in Llama.
//!
//! Quirks: there may be no layers at all, which leaves embedding, last normalisation and unembedding: the bigram table.
//! With `smeared_keys` each layer has `self_attn.k_smear`, one number a head, and mixes its keys; see
//! [`Attention::smeared_keys`](crate::model::spec::Attention::smeared_keys).

use anyhow::{Result, bail};

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot, Source},
        spec::{NormKind, Positions, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let layers = config.count_from_zero("num_hidden_layers")?;
    let smeared_keys = config.flag("smeared_keys", false)?;
    if !smeared_keys && weights.contains(&smear(0)) {
        bail!("{}: key `smeared_keys` is not true, but there is a tensor `{}`", config.origin(), smear(0));
    }
    let shape = common::shape_of(config, layers)?;
    let mut spec = Spec::plain(shape);
    spec.norm.kind = NormKind::Rms;
    spec.norm.epsilon = config.number("rms_norm_eps", 1e-6)? as f32;
    let rotary = rotary::read(config, shape.head_size, shape.context, rotary::Defaults::default())?;
    spec.positions = Positions::rotary(rotary, layers);
    spec.attention.smeared_keys = smeared_keys;
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let named = llama::NAMES.sources(weights, |_| false, tied);
    Ok(Plan::new(spec, move |slot| match slot {
        Slot::Layer(layer, LayerSlot::KeySmear, _) => Some(Source::whole(smear(layer))),
        slot => named(slot),
    }))
}

/// The tensor that says how a layer's keys are smeared.
fn smear(layer: usize) -> String {
    format!("model.layers.{layer}.self_attn.k_smear")
}
