//! SmolLM3: a decoder of Llama's kind without positions in some layers.
//!
//! Quirks: `no_rope_layers` has 1 for layers whose queries and keys are rotated and 0 for others; without the list, every
//! `no_rope_layer_interval`th is another. With `use_sliding_window`, layers without positions look back through a window, unless
//! `layer_types` says which do. The base of the rotation is 2,000,000 and the unembedding is tied unless said otherwise.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{common, llama, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 4,
        "max_position_embeddings": 32_768,
        "no_rope_layer_interval": 4,
    }));
    let defaults = rotary::Defaults { theta: 2e6, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    let rotated = rotated(&config, spec.layers)?;
    spec.attention.windows = common::windows_if_used(&config, spec.layers, |layer| !rotated[layer])?;
    spec.positions.only_where(|layer| rotated[layer]);
    llama::named(&config, weights, spec, true)
}

/// Whether each layer rotates queries and keys; an empty list is none.
pub(super) fn rotated(config: &Config, layers: usize) -> Result<Vec<bool>> {
    let interval = config.length("no_rope_layer_interval")?;
    let list =
        config.get("no_rope_layers").filter(|list| list.as_array().is_none_or(|list| !list.is_empty()));
    let Some(value) = list else {
        return Ok((1..=layers).map(|layer| layer % interval != 0).collect());
    };
    let rotated = |value: &Value| value.as_u64().map(|rotated| rotated != 0);
    let list: Option<Vec<bool>> = value.as_array().and_then(|list| list.iter().map(rotated).collect());
    let mut list =
        list.with_context(|| format!("{}: key `no_rope_layers` is no list of 0 and 1", config.origin()))?;
    if list.len() < layers {
        bail!("{}: key `no_rope_layers` has {} entries for {layers} layers", config.origin(), list.len());
    }
    list.truncate(layers);
    Ok(list)
}
