//! Qwen 2 and 2.5, Qwen 3, and Qwen 1.5 to 3 with experts: decoders of Llama's kind.
//!
//! Quirks: Qwen 2 has biases in queries, keys and values and none in the output. Qwen 3 has none unless `attention_bias` says
//! so, and normalises the queries and keys of each head before they are rotated; its heads have 128 numbers unless said
//! otherwise. Windows are there only with `use_sliding_window`: where `layer_types` says so, or from layer
//! `max_window_layers` on. In Qwen 3 with experts a window is in every layer. With experts, layers in `mlp_only_layers` and those whose number,
//! counted from 1, `decoder_sparse_step` does not divide have an MLP; and the shares of the experts that work on a token
//! sum to one only with `norm_topk_prob`. In Qwen 2 with experts an MLP works beside them, as much of it as a gate says; and with
//! `use_sliding_window` every other layer below `max_window_layers`, from the first on, looks back through the window.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Experts, NormKind, NormOver, QueryKeyNorm, Router, Shared, Spec},
    },
};

/// Reads `config.json` of Qwen 2.
pub fn qwen2(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "num_key_value_heads": 32 }));
    let (config, mut spec) = read(&config)?;
    spec.attention.windows = windows(&config, spec.layers)?;
    common::named(&config, weights, spec, &llama::NAMES, common::is_read, false)
}

/// Reads `config.json` of Qwen 3.
pub fn qwen3(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "num_key_value_heads": 32, "head_dim": 128 }));
    let (config, mut spec) = read(&config)?;
    spec.attention.windows = windows(&config, spec.layers)?;
    spec.attention.query_key_norm = HEAD_NORM;
    llama::named(&config, weights, spec, false)
}

/// Reads `config.json` of Qwen 3 with experts.
pub fn qwen3_moe(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "num_key_value_heads": 4, "decoder_sparse_step": 1 }));
    let (config, mut spec) = read(&config)?;
    let used = config.flag("use_sliding_window", false)?;
    spec.attention.windows = vec![common::window(&config)?.filter(|_| used); spec.layers];
    spec.attention.query_key_norm = HEAD_NORM;
    let experts = experts::read(&config, router(&config, false)?)?;
    put(&config, &mut spec, experts)?;
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| biases && common::is_attention(place);
    experts::named(&config, weights, spec, &llama::NAMES, biased, false)
}

/// Reads `config.json` of Qwen 1.5 and 2 with experts.
pub fn qwen2_moe(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "num_key_value_heads": 16, "decoder_sparse_step": 1 }));
    let (config, mut spec) = read(&config)?;
    let without = config.optional_length("max_window_layers")?.unwrap_or(28);
    let slides = |layer: usize| layer.is_multiple_of(2) && layer < without;
    spec.attention.windows = common::windows_if_used(&config, spec.layers, slides)?;
    let shared = Shared { inner: config.count("shared_expert_intermediate_size")?, gated: true };
    let experts = Experts { shared: Some(shared), ..experts::read(&config, router(&config, false)?)? };
    put(&config, &mut spec, experts)?;
    let biases = config.flag("qkv_bias", true)?;
    let biased = move |place| biases && common::is_read(place);
    experts::named(&config, weights, spec, &NAMES, biased, false)
}

/// The names of Qwen 2 with experts.
const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Shared(MlpSlot::Gate), "mlp.shared_expert.gate_proj"),
        (LayerSlot::Shared(MlpSlot::Up), "mlp.shared_expert.up_proj"),
        (LayerSlot::Shared(MlpSlot::Down), "mlp.shared_expert.down_proj"),
        (LayerSlot::SharedGate, "mlp.shared_expert_gate"),
    ],
    ..llama::NAMES
};

/// How experts are picked; `norm_topk_prob` is as told unless it is there.
pub(super) fn router(config: &Config, normalised: bool) -> Result<Router> {
    Ok(if config.flag("norm_topk_prob", normalised)? { Router::OF_PICKED } else { Router::SOFTMAX })
}

/// Puts experts in the layers that have them.
fn put(config: &Config, spec: &mut Spec, experts: Experts) -> Result<()> {
    let (step, dense) = (config.length("decoder_sparse_step")?, mlp_only(config)?);
    let has = |layer| (layer + 1) % step == 0 && !dense.contains(&layer);
    experts::put(spec, experts, config.count("moe_intermediate_size")?, has);
    Ok(())
}

/// Each head by itself, all with the same gains.
pub(super) const HEAD_NORM: Option<QueryKeyNorm> =
    Some(QueryKeyNorm { kind: NormKind::Rms, over: NormOver::Head, after_rotation: false });

/// The configuration with what all of them take for granted, and what it says in all of them.
fn read(config: &Config) -> Result<(Config, Spec)> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 32_768, "sliding_window": 4096 }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    if let Some(chunk) = chunk(&config)?.filter(|&chunk| chunk < spec.context) {
        spec.context = chunk;
        config.remark(&format!(
            "key `{CHUNKS}`: prompts end at {chunk} tokens, for beyond a chunk attention would be another, which is not handled"
        ));
    }
    Ok((config, spec))
}

/// What the models for a million tokens have of An et al. 2024: distances beyond a chunk are told in another way. The reference
/// does not know the key.
const CHUNKS: &str = "dual_chunk_attention_config";

/// How many tokens attend as usual, where it is there.
fn chunk(config: &Config) -> Result<Option<usize>> {
    if config.get(CHUNKS).is_none() {
        return Ok(None);
    }
    let chunks = config.part(CHUNKS)?;
    let (chunk, local) = (chunks.length("chunk_size")?, chunks.optional_length("local_size")?.unwrap_or(0));
    match chunk.checked_sub(local) {
        Some(0) | None => bail!("{}: `chunk_size` is {chunk}, not above `local_size`", chunks.origin()),
        Some(chunk) => Ok(Some(chunk)),
    }
}

fn windows(config: &Config, layers: usize) -> Result<Vec<Option<usize>>> {
    let without = config.optional_length("max_window_layers")?.unwrap_or(28);
    common::windows_if_used(config, layers, |layer| layer >= without)
}

/// `mlp_only_layers`.
fn mlp_only(config: &Config) -> Result<Vec<usize>> {
    let key = "mlp_only_layers";
    config.get(key).map_or(Ok(Vec::new()), |value| common::layers(config, key, value))
}
