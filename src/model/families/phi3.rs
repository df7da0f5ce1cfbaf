//! Phi-3 and Phi-4: decoders of Llama's kind with shared tensors.
//!
//! Quirks: `qkv_proj` has the rows of queries, of keys and of values, one after the other, and `gate_up_proj` those of the gate
//! and of the way in. Models for long texts are stretched by LongRoPE, which the first configurations call `su`; the context
//! before that is `original_max_position_embeddings`, outside of the object that describes the rotation. Every layer looks
//! back through `sliding_window`, where it is there.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    common::{self, Names},
    fused, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Query, "self_attn.qkv_proj"),
        (LayerSlot::Key, "self_attn.qkv_proj"),
        (LayerSlot::Value, "self_attn.qkv_proj"),
        (LayerSlot::Mlp(MlpSlot::Gate), "mlp.gate_up_proj"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.gate_up_proj"),
    ],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
    }));
    check_scaling(&config)?;
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    let inner = config.count("intermediate_size")?;
    let shape = common::shape(&config)?;
    let mut plan = common::named(&config, weights, spec, &NAMES, |_| false, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| {
        Some(fused::gate_first(slot, fused::by_kind(slot, named(slot)?, &shape), inner))
    });
    Ok(plan)
}

/// Refuses `yarn`, a name that some configurations of the family have for a stretching that is not YaRN's.
fn check_scaling(config: &Config) -> Result<()> {
    for key in ["rope_parameters", "rope_scaling"] {
        let kind = |name| config.get(key).and_then(|scaling| scaling.get(name)).and_then(Value::as_str);
        if let Some("yarn") = kind("rope_type").or(kind("type")) {
            bail!("{}: key `{key}`: rotary scaling `yarn` is not handled for this family", config.origin());
        }
    }
    Ok(())
}
