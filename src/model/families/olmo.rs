//! OLMo 1 to 3: Llama's kind with other normalisations.
//!
//! Quirks: OLMo 1 has LayerNorms without weights, and in some sizes cuts queries, keys and values off (`clip_qkv`); OLMo 2
//! normalises what attention and MLP write in place of what they read, and all heads of a query or key together; in OLMo 3
//! three layers of four see a window only, and the others alone are stretched by YaRN.

use anyhow::Result;

use super::{
    common::{self, Names},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan, Slot},
        spec::{NormKind, NormOver, NormPlace, QueryKeyNorm, Spec},
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
    let clip = config.number("clip_qkv", 0.0)? as f32;
    spec.attention.clip = Some(clip).filter(|&clip| clip > 0.0);
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

fn normed_after(config: &Config, mut spec: Spec) -> Result<Spec> {
    spec.norm.epsilon = config.number("rms_norm_eps", 1e-5)? as f32;
    spec.norm.place = NormPlace::After;
    spec.attention.query_key_norm =
        Some(QueryKeyNorm { kind: NormKind::Rms, over: NormOver::AllHeads, after_rotation: false });
    Ok(spec)
}

fn named(config: &Config, weights: &Weights, spec: Spec, names: &'static Names) -> Result<Plan> {
    let attention = config.flag("attention_bias", false)?;
    common::named(config, weights, spec, names, move |place| attention && common::is_attention(place), false)
}
