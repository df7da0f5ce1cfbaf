//! Granite: a decoder of Llama's kind with four factors; with experts; and with windows.
//!
//! Quirks: `embedding_multiplier` is a factor on the embedding, `attention_multiplier` on the scores, in place of one over the
//! root of the head's size, and `residual_multiplier` on what attention and MLP write; logits are divided by
//! `logits_scaling`. Each is 1 unless said otherwise.
//!
//! With windows (GraniteSWA) three layers of four have one, the first of each four has none, and each may have a base of its
//! own or no positions (`layer_rope_theta`, where 0 is none). Each head has a sink, which the published code takes for a gate on
//! what the head puts out: attention is told as it is without. That is the same number (gpt-oss tells it with the sink).
//!
//! Experts are in stacks, `input_linear` and `output_linear`, and their shares sum to one; in some models an MLP works beside them,
//! whose gate and way in share a tensor too.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{
    common::{self, Names},
    experts, fused, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Slot},
        spec::{Experts, Positions, Router, Shared, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = common::llama_like(config, rotary::Defaults::default())?;
    multiply(config, &mut spec)?;
    llama::named(config, weights, spec, false)
}

/// Reads `config.json` of models with experts.
pub fn with_experts(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut spec = common::llama_like(config, rotary::Defaults::default())?;
    multiply(config, &mut spec)?;
    let (experts, inner) = (experts::read(config, Router::OF_PICKED)?, config.count("intermediate_size")?);
    let shared = config.optional_count("shared_intermediate_size")?.unwrap_or(0);
    let beside = (shared > 0).then_some(Shared { inner: shared, gated: false });
    experts::put(&mut spec, Experts { shared: beside, ..experts }, inner, |_| true);
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_attention(place);
    let mut plan = experts::named(config, weights, spec, &NAMES, biased, false)?;
    let (named, in_memory) = (plan.source, experts::in_memory(weights));
    plan.source = Box::new(move |slot| {
        let mut source = fused::gate_first(slot, named(slot)?, shared);
        if in_memory {
            source.tensor = source.tensor.replace(".router.layer.", ".router.");
        }
        Some(source)
    });
    Ok(plan)
}

/// The names of models with experts.
const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Router, "block_sparse_moe.router.layer"),
        (LayerSlot::Expert(0, MlpSlot::Gate), "block_sparse_moe.experts.#.gate_proj"),
        (LayerSlot::Expert(0, MlpSlot::Up), "block_sparse_moe.experts.#.up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Down), "block_sparse_moe.experts.#.down_proj"),
        (LayerSlot::Shared(MlpSlot::Gate), "shared_mlp.input_linear"),
        (LayerSlot::Shared(MlpSlot::Up), "shared_mlp.input_linear"),
        (LayerSlot::Shared(MlpSlot::Down), "shared_mlp.output_linear"),
    ],
    ..llama::NAMES
};

/// Reads `config.json` of the one with windows.
pub fn with_windows(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 4,
        "max_position_embeddings": 8192,
        "sliding_window": 128,
    }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    multiply(&config, &mut spec)?;
    if let Some(bases) = bases(&config, spec.layers)? {
        let mut known: Vec<f64> = bases.iter().copied().filter(|&base| base > 0.0).collect();
        known.sort_by(f64::total_cmp);
        known.dedup();
        let tables = known.iter().map(|&base| rotary::read_with(&config, base, spec.head_size, spec.context));
        let of_layer = bases.iter().map(|base| known.iter().position(|known| known == base)).collect();
        spec.positions = Positions::Rotary { tables: tables.collect::<Result<_>>()?, of_layer };
    }
    spec.attention.windows = common::windows(&config, spec.layers, |layer| layer % 4 != 0)?;
    spec.attention.sinks = true;
    spec.attention.gated = true;
    let mut plan = llama::named(&config, weights, spec, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| match slot {
        Slot::Layer(_, LayerSlot::Sinks, _) => named(slot).map(|source| source.bare()),
        slot => named(slot),
    });
    Ok(plan)
}

/// The base of each layer's rotation, 0 for none, where they are listed.
fn bases(config: &Config, layers: usize) -> Result<Option<Vec<f64>>> {
    let Some(value) = config.get("layer_rope_theta") else { return Ok(None) };
    let bases: Option<Vec<f64>> =
        value.as_array().and_then(|bases| bases.iter().take(layers).map(Value::as_f64).collect());
    let bases = bases.filter(|bases| bases.len() == layers && bases.iter().all(|&base| base >= 0.0));
    let why = || format!("{}: key `layer_rope_theta` is no list of {layers} bases", config.origin());
    bases.with_context(why).map(Some)
}

/// The four factors.
fn multiply(config: &Config, spec: &mut Spec) -> Result<()> {
    spec.embedding.scale = config.number("embedding_multiplier", 1.0)? as f32;
    spec.attention.scale = vec![config.number("attention_multiplier", 1.0)? as f32; spec.layers];
    spec.residual_scale = config.number("residual_multiplier", 1.0)? as f32;
    spec.logits.scale = match config.number("logits_scaling", 1.0)? {
        0.0 => bail!("{}: key `logits_scaling` is 0, which logits cannot be divided by", config.origin()),
        divisor => (1.0 / divisor) as f32,
    };
    Ok(())
}
