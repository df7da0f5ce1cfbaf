//! Gemma 1 to 3 and VaultGemma: Llama's kind with embeddings times the root of their width and gains stored less one.
//!
//! Quirks: heads may be together wider than the residual stream (`head_dim`); `gelu` stands for its approximation in
//! Gemma 1. Since Gemma 2 what attention and MLP write is normalised as well, scores are scaled by `query_pre_attn_scalar`
//! and, in Gemma 2, bent with the logits to stay below a cap; every second layer, in Gemma 3 five of six, sees a window
//! only. Gemma 3 normalises queries and keys of each head, and rotates those of the two kinds of layers with bases of their
//! own.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
        spec::{Activation, NormKind, NormOver, NormPlace, Positions, QueryKeyNorm, Shape, Spec},
    },
};

/// The names since Gemma 2.
const NAMES: Names = Names {
    instead: &[
        (LayerSlot::AttentionPostNorm, "post_attention_layernorm"),
        (LayerSlot::MlpNorm, "pre_feedforward_layernorm"),
        (LayerSlot::MlpPostNorm, "post_feedforward_layernorm"),
    ],
    ..llama::NAMES
};

/// Reads `config.json` of Gemma 1.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "head_dim": 256 }));
    let shape = common::shape(&config)?;
    let mut spec = scaled(common::llama_spec(&config, shape)?);
    let rotary = rotary::read(&config, shape.head_size, shape.context, rotary::Defaults::default())?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    let activation = match common::activation(&config, "hidden_act", "gelu_pytorch_tanh")? {
        Activation::Gelu => Activation::GeluTanh,
        other => other,
    };
    spec.mlp.iter_mut().for_each(|mlp| mlp.activation = activation);
    named(&config, weights, spec, &llama::NAMES)
}

/// Reads `config.json` of Gemma 2.
pub fn plan2(config: &Config, weights: &Weights) -> Result<Plan> {
    capped(config, weights, NormPlace::Around)
}

/// Reads `config.json` of VaultGemma, a Gemma 2 that does not normalise what attention and MLP write.
pub fn vault(config: &Config, weights: &Weights) -> Result<Plan> {
    capped(config, weights, NormPlace::Before)
}

fn capped(config: &Config, weights: &Weights, place: NormPlace) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "head_dim": 256,
        "sliding_window": 4096,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
    }));
    let shape = common::shape(&config)?;
    let mut spec = second(&config, shape)?;
    spec.norm.place = place;
    let rotary = rotary::read(&config, spec.head_size, spec.context, rotary::Defaults::default())?;
    spec.positions = Positions::rotary(rotary, spec.layers);
    spec.attention.cap = common::cap(&config, "attn_logit_softcapping")?;
    spec.attention.windows = common::windows(&config, spec.layers, |layer| layer % 2 == 0)?;
    named(&config, weights, spec, &NAMES)
}

/// Reads `config.json` of a Gemma 3 that reads text only.
pub fn plan3(config: &Config, weights: &Weights) -> Result<Plan> {
    // Configurations of checkpoints that read images leave out what is usual.
    let config = config.with_defaults(json!({
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 131_072,
        "sliding_window": 4096,
    }));
    let shape = common::shape(&config)?;
    let mut spec = second(&config, shape)?;
    spec.attention.query_key_norm =
        Some(QueryKeyNorm { kind: NormKind::Rms, over: NormOver::Head, after_rotation: false });
    let pattern =
        config.optional_length("sliding_window_pattern")?.filter(|&pattern| pattern > 0).unwrap_or(6);
    let slides = |layer: usize| !(layer + 1).is_multiple_of(pattern);
    spec.attention.windows = common::windows(&config, spec.layers, slides)?;
    let sliding = common::sliding(&config, spec.layers, slides)?;
    let global = rotary::Defaults { theta: 1_000_000.0, ..rotary::Defaults::default() };
    let local = config.number("rope_local_base_freq", 10_000.0)?;
    spec.positions = rotary::by_kind(&config, shape, &sliding, global, Some(local))?;
    named(&config, weights, spec, &NAMES)
}

/// What all have in common.
fn scaled(mut spec: Spec) -> Spec {
    spec.norm.gain_offset = 1.0;
    spec.embedding.scale = (spec.width as f32).sqrt();
    spec
}

/// What they have in common since Gemma 2, but for positions and windows.
fn second(config: &Config, shape: Shape) -> Result<Spec> {
    let mut spec = scaled(common::llama_spec(config, shape)?);
    spec.norm.place = NormPlace::Around;
    let activation = common::activation(config, "hidden_activation", "gelu_pytorch_tanh")?;
    spec.mlp.iter_mut().for_each(|mlp| mlp.activation = activation);
    let scalar = config.number("query_pre_attn_scalar", 256.0)?;
    if scalar <= 0.0 {
        bail!("{}: key `query_pre_attn_scalar` is {scalar}; it must be above 0", config.origin());
    }
    spec.attention.scale = vec![(1.0 / scalar.sqrt()) as f32; spec.layers];
    spec.logits.cap = common::cap(config, "final_logit_softcapping")?;
    Ok(spec)
}

fn named(config: &Config, weights: &Weights, spec: Spec, names: &'static Names) -> Result<Plan> {
    let attention = config.flag("attention_bias", false)?;
    common::named(config, weights, spec, names, move |place| attention && common::is_attention(place), true)
}
