//! Llama 4, its text model: experts, and attention within chunks.
//!
//! Quirks: three layers of four rotate queries and keys (`no_rope_layers`), neighbouring numbers of a head together, normalise
//! what was rotated, without gains (`use_qk_norm`), and see no further back than their chunk began; in the others queries grow with
//! their position. Experts are in stacks, `[experts, width, 2 * inner]` and `[experts, inner, width]`; the sigmoid of an expert's
//! score multiplies what it reads, and an MLP works beside them. Layers without experts have an MLP of a width of their own.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{
    common::{self, Names},
    experts, llama, rotary, smollm3,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::Pairing,
        slot::{LayerSlot, Layout, MlpSlot, Plan, Share, Slot},
        spec::{Experts, NormKind, NormOver, QueryKeyNorm, Router, Shared, Shares, Temperature},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Mlp(MlpSlot::Gate), "feed_forward.gate_proj"),
        (LayerSlot::Mlp(MlpSlot::Up), "feed_forward.up_proj"),
        (LayerSlot::Mlp(MlpSlot::Down), "feed_forward.down_proj"),
        (LayerSlot::Router, "feed_forward.router"),
        (LayerSlot::Expert(0, MlpSlot::Gate), "feed_forward.experts.gate_up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Up), "feed_forward.experts.gate_up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Down), "feed_forward.experts.down_proj"),
        (LayerSlot::Shared(MlpSlot::Gate), "feed_forward.shared_expert.gate_proj"),
        (LayerSlot::Shared(MlpSlot::Up), "feed_forward.shared_expert.up_proj"),
        (LayerSlot::Shared(MlpSlot::Down), "feed_forward.shared_expert.down_proj"),
    ],
    ..llama::NAMES
};

/// What its normalisation of queries and keys takes together; there are no gains.
const HEAD_NORM: QueryKeyNorm =
    QueryKeyNorm { kind: NormKind::Rms, over: NormOver::Head, after_rotation: true };

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
        "no_rope_layer_interval": 4,
        "attention_chunk_size": 8192,
        "floor_scale": 8192,
        "interleave_moe_layer_step": 1,
        "num_experts_per_tok": 1,
    }));
    let pairing = Pairing::Neighbours;
    let defaults = rotary::Defaults { theta: 500_000.0, pairing, ..rotary::Defaults::default() };
    let mut spec = common::llama_like_of(&config, defaults, "intermediate_size_mlp")?;
    let rotated = smollm3::rotated(&config, spec.layers)?;
    spec.positions.only_where(|layer| rotated[layer]);
    spec.attention.query_key_norm = config.flag("use_qk_norm", true)?.then_some(HEAD_NORM);
    spec.attention.chunked = true;
    spec.attention.windows = chunks(&config, &rotated)?;
    let growth = config.number("attn_scale", 0.1)? as f32;
    let period = config.length("floor_scale")?;
    if is_tuned(&config)? {
        let layers = rotated.iter().map(|rotated| !rotated).collect();
        spec.attention.temperature = Some(Temperature { growth, period, first: 1, layers });
    }
    let inner = config.count("intermediate_size")?;
    let router = Router { shares: Shares::Sigmoid, of_input: true, ..Router::SOFTMAX };
    let shared = Some(Shared { inner, gated: false });
    let experts = Experts { shared, ..experts::read(&config, router)? };
    let with = with_experts(&config, spec.layers)?;
    experts::put(&mut spec, experts, inner, |layer| with[layer]);
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_attention(place);
    let mut plan = common::named(&config, weights, spec, &NAMES, biased, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| {
        let source = named(slot)?;
        let Slot::Layer(_, place, _) = slot else { return Some(source) };
        let LayerSlot::Expert(expert, place) = place else {
            let has_gains = !matches!(place, LayerSlot::QueryNorm | LayerSlot::KeyNorm);
            return has_gains.then_some(source);
        };
        let source = source.bare().entry(expert).stored(Layout::InOut);
        Some(match place {
            MlpSlot::Gate => source.shared(Share::range(0..inner, 2 * inner)),
            MlpSlot::Up => source.shared(Share::range(inner..2 * inner, 2 * inner)),
            _ => source,
        })
    });
    Ok(plan)
}

/// How many tokens there are in a chunk of each layer.
fn chunks(config: &Config, rotated: &[bool]) -> Result<Vec<Option<usize>>> {
    let chunk = config.optional_length("attention_chunk_size")?;
    let kinds = ["full_attention", "chunked_attention"];
    let listed = common::of_kind(config, "layer_types", rotated.len(), kinds)?;
    let asks = listed.as_ref().is_some_and(|listed| listed.contains(&true));
    if chunk == Some(0) || chunk.is_none() && asks {
        bail!("{}: key `attention_chunk_size` is missing or 0", config.origin());
    }
    Ok(listed.as_deref().unwrap_or(rotated).iter().map(|chunked| chunk.filter(|_| *chunked)).collect())
}

/// Whether queries grow where they are not rotated, which some configurations tell by a number.
fn is_tuned(config: &Config) -> Result<bool> {
    match config.get("attn_temperature_tuning").and_then(Value::as_u64) {
        Some(number) => Ok(number != 0),
        None => config.flag("attn_temperature_tuning", true),
    }
}

/// Which layers have experts.
fn with_experts(config: &Config, layers: usize) -> Result<Vec<bool>> {
    let step = config.length("interleave_moe_layer_step")?;
    let Some(value) = config.get("moe_layers") else {
        return Ok((1..=layers).map(|layer| layer % step == 0).collect());
    };
    let listed = common::layers(config, "moe_layers", value)?;
    Ok((0..layers).map(|layer| listed.contains(&layer)).collect())
}
