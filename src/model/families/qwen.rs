//! Qwen 2 and 2.5, Qwen 3, and Qwen 3 with experts: decoders of Llama's kind.
//!
//! Quirks: Qwen 2 has biases in queries, keys and values and none in the output. Qwen 3 has none unless `attention_bias` says
//! so, and normalises the queries and keys of each head before they are rotated; its heads have 128 numbers unless said
//! otherwise. Windows are there only with `use_sliding_window`: where `layer_types` says so, or from layer
//! `max_window_layers` on. With experts, a window is in every layer; layers in `mlp_only_layers` and those whose number,
//! counted from 1, `decoder_sparse_step` does not divide have an MLP; and the shares of the experts that work on a token
//! sum to one only with `norm_topk_prob`.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{common, experts, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::Plan,
        spec::{Mlp, NormKind, NormOver, QueryKeyNorm, Spec},
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
    let experts = experts::read(&config, config.flag("norm_topk_prob", false)?)?;
    let inner = config.count("moe_intermediate_size")?;
    let (step, dense) = (config.length("decoder_sparse_step")?, mlp_only(&config)?);
    for (layer, mlp) in spec.mlp.iter_mut().enumerate() {
        if (layer + 1) % step == 0 && !dense.contains(&layer) {
            *mlp = Mlp { inner, experts: Some(experts), ..*mlp };
        }
    }
    let mut plan = llama::named(&config, weights, spec, false)?;
    if experts::stacked(weights) {
        let named = plan.source;
        plan.source = Box::new(move |slot| Some(experts::in_stack(slot, named(slot)?, inner)));
    }
    Ok(plan)
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
    let Some(value) = config.get("mlp_only_layers") else { return Ok(Vec::new()) };
    let layer = |value: &Value| value.as_u64().map(|layer| layer as usize);
    let layers = value.as_array().and_then(|layers| layers.iter().map(layer).collect());
    layers.with_context(|| format!("{}: key `mlp_only_layers` is no list of layers", config.origin()))
}
