//! nanochat, as transformers has it: no normalisation has gains, and there is one more before the first layer.
//!
//! Quirks: queries and keys are turned the other way and normalised after that; the MLP squares what is above 0 and has no
//! gate; logits are bent to stay below a cap.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    llama, qwen, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Slot},
        spec::{Mlp, QueryKeyNorm},
    },
};

const NAMES: Names = Names {
    instead: &[(LayerSlot::Mlp(MlpSlot::Up), "mlp.fc1"), (LayerSlot::Mlp(MlpSlot::Down), "mlp.fc2")],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "final_logit_softcapping": 15.0 }));
    let defaults = rotary::Defaults { backwards: true, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.embedding.norm = true;
    spec.attention.query_key_norm = qwen::HEAD_NORM.map(|norm| QueryKeyNorm { after_rotation: true, ..norm });
    let activation = common::activation(&config, "hidden_act", "relu2")?;
    spec.mlp = vec![Mlp::dense(config.count("intermediate_size")?, activation, false); spec.layers];
    spec.logits.cap = common::cap(&config, "final_logit_softcapping")?;
    let attention = config.flag("attention_bias", false)?;
    let biased = move |place| attention && common::is_attention(place);
    let mut plan = common::named(&config, weights, spec, &NAMES, biased, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| match slot {
        Slot::FinalNorm(_) | Slot::Layer(_, LayerSlot::QueryNorm | LayerSlot::KeyNorm, _) => None,
        Slot::Layer(_, place, _) if common::is_norm(place) => None,
        slot => named(slot),
    });
    Ok(plan)
}
