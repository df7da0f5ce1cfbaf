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
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Share, Slot},
    },
};

const NAMES: Names = Names {
    places: &[
        (LayerSlot::AttentionNorm, "input_layernorm"),
        (LayerSlot::Query, "self_attn.qkv_proj"),
        (LayerSlot::Key, "self_attn.qkv_proj"),
        (LayerSlot::Value, "self_attn.qkv_proj"),
        (LayerSlot::Output, "self_attn.o_proj"),
        (LayerSlot::MlpNorm, "post_attention_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Gate), "mlp.gate_up_proj"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.gate_up_proj"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.down_proj"),
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
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let (queries, keys) = (spec.heads * spec.head_size, spec.kv_heads * spec.head_size);
    let rows = move |start, count| Share::range(start..start + count, queries + 2 * keys);
    let named = NAMES.sources(weights, |_| false, tied);
    let mut plan = Plan::new(spec, move |slot| {
        let source = named(slot)?;
        let Slot::Layer(_, place, _) = slot else { return Some(source) };
        Some(match place {
            LayerSlot::Query => source.shared(rows(0, queries)),
            LayerSlot::Key => source.shared(rows(queries, keys)),
            LayerSlot::Value => source.shared(rows(queries + keys, keys)),
            LayerSlot::Mlp(MlpSlot::Gate) => source.shared(Share::range(0..inner, 2 * inner)),
            LayerSlot::Mlp(MlpSlot::Up) => source.shared(Share::range(inner..2 * inner, 2 * inner)),
            _ => source,
        })
    });
    plan.unused = common::TIED;
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
