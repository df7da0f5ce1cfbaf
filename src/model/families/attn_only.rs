//! The small models of the papers, as `attnscope train` writes them: attention without MLP, rotary positions, RMS
//! normalisation before each layer and at the end, tensors named as in Llama.
//!
//! Quirks: there may be no layers at all, which leaves embedding, last normalisation and unembedding: the bigram table.
//! With `smeared_keys` each layer has `self_attn.k_smear`, one number a head, and mixes its keys; see
//! [`Spec::smeared_keys`](crate::model::spec::Spec::smeared_keys).

use anyhow::{Result, bail};

use super::llama;
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot, Source},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let layers = config.count_from_zero("num_hidden_layers")?;
    let smeared_keys = config.flag("smeared_keys", false)?;
    if !smeared_keys && weights.contains(&smear(0)) {
        bail!("{}: key `smeared_keys` is not true, but there is a tensor `{}`", config.origin(), smear(0));
    }
    let plan = llama::plan_with(config, layers, None, smeared_keys)?;
    let source = plan.source;
    let source = move |slot| match slot {
        Slot::Layer(_, LayerSlot::MlpNorm | LayerSlot::Gate | LayerSlot::Up | LayerSlot::Down, _) => None,
        Slot::Layer(layer, LayerSlot::KeySmear, _) => Some(Source::whole(smear(layer))),
        slot => source(slot),
    };
    Ok(Plan { spec: plan.spec, source: Box::new(source) })
}

/// The tensor that says how a layer's keys are smeared.
fn smear(layer: usize) -> String {
    format!("model.layers.{layer}.self_attn.k_smear")
}
