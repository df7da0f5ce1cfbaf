//! gpt-oss: a decoder of Llama's kind with sinks and experts.
//!
//! Quirks: each head has a score, `self_attn.sinks`, that belongs to no key, so that a row of attention sums to less than
//! one. Every other layer, from the first on, looks back through `sliding_window` unless `layer_types` says which do.
//! The rotation is stretched by YaRN without rounding to whole pairs (`truncate`). Attention, router and experts have biases;
//! the shares of the experts that work on a token sum to one. Experts are in stacks: `gate_up_proj`, `[experts, width, 2 * inner]`,
//! where gate and way in take turns, and `down_proj`, `[experts, inner, width]`; as MXFP4, they are the other way round,
//! `[experts, outputs, inputs]`.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, rotary,
};
use crate::{
    checkpoint::weights::{WeightType, Weights},
    model::{
        config::Config,
        slot::{LayerSlot, Layout, MlpSlot, Plan, Share, Slot},
        spec::{Activation, Mlp, Router},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Router, "mlp.router"),
        (LayerSlot::Expert(0, MlpSlot::Gate), "mlp.experts.gate_up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Up), "mlp.experts.gate_up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Down), "mlp.experts.down_proj"),
    ],
    ..llama::NAMES
};

/// The slope of the sigmoid in the gate, which [`Activation::ClippedGate`] has.
const ALPHA: f64 = 1.702;

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut defaults = json!({
        "num_key_value_heads": 8,
        "head_dim": 64,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "sliding_window": 128,
    });
    if config.get("rope_scaling").is_none() {
        defaults["rope_parameters"] = json!({
            "rope_type": "yarn",
            "factor": 32.0,
            "truncate": false,
            "original_max_position_embeddings": 4096,
        });
    }
    let config = config.with_defaults(defaults);
    let mut spec =
        common::llama_like(&config, rotary::Defaults { theta: 150_000.0, ..rotary::Defaults::default() })?;
    spec.attention.windows = common::windows(&config, spec.layers, |layer| layer % 2 == 0)?;
    spec.attention.sinks = true;
    let inner = config.count("intermediate_size")?;
    let limit = config.number("swiglu_limit", 7.0)? as f32;
    let alpha = config.number("swiglu_alpha", ALPHA)?;
    if alpha != ALPHA || limit <= 0.0 {
        bail!(
            "{}: keys `swiglu_alpha` = {alpha} and `swiglu_limit` = {limit} are not handled: the first must be {ALPHA}, the \
             second above 0",
            config.origin()
        );
    }
    let mlp = Mlp {
        experts: Some(experts::read(&config, Router::OF_PICKED)?),
        ..Mlp::dense(inner, Activation::ClippedGate { limit }, true)
    };
    spec.mlp = vec![mlp; spec.layers];
    let attention = config.flag("attention_bias", true)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let biased = move |place| match place {
        LayerSlot::Router | LayerSlot::Expert(..) => true,
        place => attention && common::is_attention(place),
    };
    let named = NAMES.sources(weights, biased, tied);
    let is_mx = weights.iter().any(|tensor| tensor.kind == WeightType::E2M1);
    let layout = if is_mx { Layout::OutIn } else { Layout::InOut };
    let turn = move |start| Share { start, block: 1, stride: 2, total: 2 * inner };
    let mut plan = Plan::new(spec, move |slot| {
        let source = named(slot)?;
        let Slot::Layer(_, place, _) = slot else { return Some(source) };
        let LayerSlot::Expert(expert, place) = place else {
            return Some(if place == LayerSlot::Sinks { source.bare() } else { source });
        };
        let source = source.bare().entry(expert).stored(layout);
        Some(match place {
            MlpSlot::Gate => source.shared(turn(0)),
            MlpSlot::Up => source.shared(turn(1)),
            _ => source,
        })
    });
    plan.unused = common::TIED;
    Ok(plan)
}
