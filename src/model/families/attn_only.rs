//! The small models of the papers, as `attnscope train` writes them: attention without MLP, rotary positions, RMS
//! normalisation before each layer and at the end, tensors named as in Llama.

use anyhow::Result;

use super::llama;
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, _: &Weights) -> Result<Plan> {
    let plan = llama::plan_with(config, None)?;
    let source = plan.source;
    let source = move |slot| match slot {
        Slot::Layer(_, LayerSlot::MlpNorm | LayerSlot::Gate | LayerSlot::Up | LayerSlot::Down, _) => None,
        slot => source(slot),
    };
    Ok(Plan { spec: plan.spec, source: Box::new(source) })
}
