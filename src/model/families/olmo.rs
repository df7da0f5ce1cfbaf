//! OLMo 1 to 3, OLMoE and FlexOlmo: Llama's kind with other normalisations.
//!
//! Quirks: OLMo 1 has LayerNorms without weights, and in some sizes cuts queries, keys and values off (`clip_qkv`); OLMo 2
//! normalises what attention and MLP write in place of what they read, and all heads of a query or key together; in OLMo 3
//! three layers of four see a window only, and the others alone are stretched by YaRN. OLMoE has experts and normalises what Llama does,
//! and all heads of a query or key as well, before these are cut off; FlexOlmo is OLMo 2 with experts.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, qwen, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot},
        spec::{Clip, NormKind, NormOver, NormPlace, QueryKeyNorm, Spec},
    },
};

/// The names since OLMo 2.
pub(super) const NAMES: Names = Names {
    instead: &[
        (LayerSlot::AttentionPostNorm, "post_attention_layernorm"),
        (LayerSlot::MlpPostNorm, "post_feedforward_layernorm"),
    ],
    ..llama::NAMES
};

/// Reads `config.json` of OLMo 1.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = common::llama_like(config, rotary::Defaults::default())?;
    spec.norm.kind = NormKind::Layer;
    spec.norm.epsilon = 1e-5;
    spec.attention.clip = clip(config)?;
    let mut plan = named(config, weights, spec, &llama::NAMES)?;
    let source = plan.source;
    plan.source = Box::new(move |slot| match slot {
        Slot::FinalNorm(_) => None,
        Slot::Layer(_, place, _) if common::is_norm(place) => None,
        slot => source(slot),
    });
    Ok(plan)
}

/// Reads `config.json` of OLMo 2.
pub fn plan2(config: &Config, weights: &Weights) -> Result<Plan> {
    let spec = common::llama_like(config, rotary::Defaults::default())?;
    named(config, weights, normed_after(config, spec)?, &NAMES)
}

/// Reads `config.json` of OLMo 3.
pub fn plan3(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let defaults = rotary::Defaults { theta: 500_000.0, ..rotary::Defaults::default() };
    let mut spec = common::llama_spec(config, shape)?;
    let slides = |layer: usize| !(layer + 1).is_multiple_of(4);
    let sliding = common::sliding(config, shape.layers, slides)?;
    spec.positions = rotary::by_kind(config, shape, &sliding, defaults, None)?;
    spec.attention.windows = common::windows(config, shape.layers, slides)?;
    named(config, weights, normed_after(config, spec)?, &NAMES)
}

/// Reads `config.json` of OLMoE.
pub fn olmoe(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 4096, "rms_norm_eps": 1e-5 }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    spec.attention.query_key_norm = ALL_HEADS;
    spec.attention.clip = clip(&config)?.map(|clip| Clip { after_norm: true, ..clip });
    with_experts(&config, weights, spec, &llama::NAMES)
}

/// Reads `config.json` of FlexOlmo.
pub fn flex_olmo(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 4096, "rms_norm_eps": 1e-6 }));
    let defaults = rotary::Defaults { theta: 500_000.0, ..rotary::Defaults::default() };
    let spec = normed_after(&config, common::llama_like(&config, defaults)?)?;
    with_experts(&config, weights, spec, &NAMES)
}

fn with_experts(config: &Config, weights: &Weights, mut spec: Spec, names: &'static Names) -> Result<Plan> {
    let experts = experts::read(config, qwen::router(config, false)?)?;
    experts::put(&mut spec, experts, config.count("intermediate_size")?, |_| true);
    let attention = config.flag("attention_bias", false)?;
    experts::named(config, weights, spec, names, move |place| attention && common::is_attention(place), false)
}

/// All heads together.
pub(super) const ALL_HEADS: Option<QueryKeyNorm> =
    Some(QueryKeyNorm { kind: NormKind::Rms, over: NormOver::AllHeads, after_rotation: false });

/// `clip_qkv`, where it cuts anything off.
fn clip(config: &Config) -> Result<Option<Clip>> {
    let most = config.number("clip_qkv", 0.0)? as f32;
    Ok((most > 0.0).then_some(Clip { most, after_norm: false }))
}

fn normed_after(config: &Config, mut spec: Spec) -> Result<Spec> {
    spec.norm.epsilon = config.number("rms_norm_eps", 1e-5)? as f32;
    spec.norm.place = NormPlace::After;
    spec.attention.query_key_norm = ALL_HEADS;
    Ok(spec)
}

fn named(config: &Config, weights: &Weights, spec: Spec, names: &'static Names) -> Result<Plan> {
    let attention = config.flag("attention_bias", false)?;
    common::named(config, weights, spec, names, move |place| attention && common::is_attention(place), false)
}
