//! The small models of the papers, as `attnscope train` writes them: attention without MLP, rotary positions, RMS
//! normalisation before each layer and at the end, tensors named as in Llama.
//!
//! Quirks: there may be no layers at all, which leaves embedding, last normalisation and unembedding: the bigram table.
//! With `smeared_keys` each layer has `self_attn.k_smear`, one number a head, and mixes its keys; see
//! [`Spec::smeared_keys`](crate::model::spec::Spec::smeared_keys).

use anyhow::Result;

use super::llama;
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot, Source},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, _: &Weights) -> Result<Plan> {
    let layers = config.count_from_zero("num_hidden_layers")?;
    let plan = llama::plan_with(config, layers, None, config.flag("smeared_keys", false)?)?;
    let source = plan.source;
    let source = move |slot| match slot {
        Slot::Layer(_, LayerSlot::MlpNorm | LayerSlot::Gate | LayerSlot::Up | LayerSlot::Down, _) => None,
        Slot::Layer(layer, LayerSlot::KeySmear, _) => {
            Some(Source::whole(format!("model.layers.{layer}.self_attn.k_smear")))
        }
        slot => source(slot),
    };
    Ok(Plan { spec: plan.spec, source: Box::new(source) })
}
