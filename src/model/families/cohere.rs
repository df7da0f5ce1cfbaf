//! Cohere's Command models: LayerNorm without bias, one for attention and MLP, which run side by side.
//!
//! Quirks: neighbouring numbers of a head are rotated together; logits are scaled (`logit_scale`); some sizes of the first
//! generation normalise queries and keys, each head with gains of its own (`use_qk_norm`). In the second three layers of
//! four see a window only, and the others know no positions.

use anyhow::Result;

use super::{
    common::{self, Names},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::Pairing,
        slot::{LayerSlot, Plan, Slot},
        spec::{NormKind, NormOver, QueryKeyNorm, Spec},
    },
};

const NAMES: Names = Names { instead: &[(LayerSlot::MlpNorm, "input_layernorm")], ..llama::NAMES };

/// Reads `config.json` of the first generation.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = spec(config)?;
    if config.flag("use_qk_norm", false)? {
        let over = NormOver::HeadWithItsGains;
        spec.attention.query_key_norm =
            Some(QueryKeyNorm { kind: NormKind::Layer, over, after_rotation: false });
    }
    named(config, weights, spec)
}

/// Reads `config.json` of the second generation.
pub fn plan2(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = spec(config)?;
    let pattern =
        config.optional_length("sliding_window_pattern")?.filter(|&pattern| pattern > 0).unwrap_or(4);
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    spec.attention.windows = common::windows(config, spec.layers, slides)?;
    spec.positions.only_where(|layer| spec.attention.windows[layer].is_some());
    named(config, weights, spec)
}

fn spec(config: &Config) -> Result<Spec> {
    let defaults =
        rotary::Defaults { theta: 500_000.0, pairing: Pairing::Neighbours, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(config, defaults)?;
    spec.norm.kind = NormKind::Layer;
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    spec.parallel = true;
    spec.logits.scale = config.number("logit_scale", 0.0625)? as f32;
    Ok(spec)
}

fn named(config: &Config, weights: &Weights, spec: Spec) -> Result<Plan> {
    let attention = config.flag("attention_bias", false)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let biased = move |place| attention && common::is_attention(place);
    let named = NAMES.sources(weights, biased, tied);
    let mut plan = Plan::new(spec, move |slot| {
        let source = named(slot)?;
        Some(match slot {
            Slot::Layer(_, LayerSlot::QueryNorm | LayerSlot::KeyNorm, _) => source.by_head(),
            _ => source,
        })
    });
    plan.unused = common::TIED;
    Ok(plan)
}
