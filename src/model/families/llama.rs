//! Llama 1 to 3: RMS normalisation, rotary positions, grouped-query attention, gated MLP.
//!
//! Quirks: Llama 3.1 slows the low rotary frequencies down (`rope_scaling`, `rope_parameters` in newer configurations);
//! some checkpoints have biases in attention or in the MLP, and say so.

use anyhow::Result;

use super::{
    common::{self, Names},
    rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::Spec,
    },
};

/// The names that most families after it have taken over, with those of what they added.
pub(super) const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    places: &[
        (LayerSlot::AttentionNorm, "input_layernorm"),
        (LayerSlot::Query, "self_attn.q_proj"),
        (LayerSlot::Key, "self_attn.k_proj"),
        (LayerSlot::Value, "self_attn.v_proj"),
        (LayerSlot::QueryNorm, "self_attn.q_norm"),
        (LayerSlot::KeyNorm, "self_attn.k_norm"),
        (LayerSlot::Sinks, "self_attn.sinks"),
        (LayerSlot::Output, "self_attn.o_proj"),
        (LayerSlot::MlpNorm, "post_attention_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Gate), "mlp.gate_proj"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.up_proj"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.down_proj"),
        (LayerSlot::Router, "mlp.gate"),
        (LayerSlot::RouterCorrection, "mlp.gate.e_score_correction_bias"),
        (LayerSlot::Expert(0, MlpSlot::Gate), "mlp.experts.#.gate_proj"),
        (LayerSlot::Expert(0, MlpSlot::Up), "mlp.experts.#.up_proj"),
        (LayerSlot::Expert(0, MlpSlot::Down), "mlp.experts.#.down_proj"),
        (LayerSlot::Shared(MlpSlot::Gate), "mlp.shared_experts.gate_proj"),
        (LayerSlot::Shared(MlpSlot::Up), "mlp.shared_experts.up_proj"),
        (LayerSlot::Shared(MlpSlot::Down), "mlp.shared_experts.down_proj"),
    ],
    instead: &[],
    last_norm: "model.norm",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let spec = common::llama_like(config, rotary::Defaults::default())?;
    named(config, weights, spec, false)
}

/// A decoder with Llama's names and its keys for biases and a tied unembedding, which is as `tied` says unless told otherwise.
pub(super) fn named(config: &Config, weights: &Weights, spec: Spec, tied: bool) -> Result<Plan> {
    let attention = config.flag("attention_bias", false)?;
    let mlp = config.flag("mlp_bias", false)?;
    let biased = move |place| match place {
        LayerSlot::Mlp(_) => mlp,
        place => attention && common::is_attention(place),
    };
    common::named(config, weights, spec, &NAMES, biased, tied)
}
