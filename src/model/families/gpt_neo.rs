//! GPT-Neo and TinyStories: LayerNorm, learned positions, global and local attention in turn, plain MLP, tied head.
//!
//! Quirks: scores are not divided by the root of the head size; which layers see only a window of `window_size` keys is
//! run-length encoded (`attention_types`); queries, keys and values have no bias, while the output projection has one.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    common::{self, Names, activation},
    gpt2,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::{Config, shown},
        slot::{LayerSlot, Plan},
        spec::{Mlp, Shape, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Query, "attn.attention.q_proj"),
        (LayerSlot::Key, "attn.attention.k_proj"),
        (LayerSlot::Value, "attn.attention.v_proj"),
        (LayerSlot::Output, "attn.attention.out_proj"),
    ],
    ..gpt2::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (width, heads) = (config.count("hidden_size")?, config.count("num_heads")?);
    let shape = Shape {
        layers: config.count("num_layers")?,
        width,
        heads,
        kv_heads: heads,
        head_size: common::head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_position_embeddings")?.unwrap_or(2048),
    };
    let mut spec = Spec::plain(common::checked(config, shape)?);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    spec.attention.scale = vec![1.0; shape.layers];
    spec.attention.windows = windows(config, shape.layers)?;
    let inner = config.optional_count("intermediate_size")?.unwrap_or(4 * width);
    let mlp = Mlp::dense(inner, activation(config, "activation_function", "gelu_new")?, false);
    spec.mlp = vec![mlp; shape.layers];
    common::named(config, weights, spec, &NAMES, |place| !common::is_read(place), true)
}

/// How many keys a query of each layer sees.
fn windows(config: &Config, layers: usize) -> Result<Vec<Option<usize>>> {
    let window = match config.get("window_size") {
        Some(_) => config.length("window_size")?,
        None => 256,
    };
    let kinds = kinds(config, layers)?;
    if kinds.len() != layers {
        bail!(
            "{}: keys `attention_types` and `attention_layers` describe {} layers, but `num_layers` is {layers}",
            config.origin(),
            kinds.len()
        );
    }
    kinds
        .into_iter()
        .map(|kind| match kind.as_str() {
            Some("global") => Ok(None),
            Some("local") => Ok(Some(window)),
            _ => bail!("{}: attention {} is neither global nor local", config.origin(), shown(&kind)),
        })
        .collect()
}

/// The kind of each layer's attention: `attention_types`, as `[[[kind, ..], times], ..]`, or `attention_layers`, which
/// transformers writes beside it, one by one; in turn where there is neither.
fn kinds(config: &Config, layers: usize) -> Result<Vec<Value>> {
    let runs = match (config.get("attention_layers"), config.get("attention_types")) {
        (Some(Value::Array(kinds)), _) => return Ok(kinds.clone()),
        (Some(_), _) => bail!("{}: key `attention_layers` is no list", config.origin()),
        (None, Some(runs)) => runs,
        (None, None) => return Ok((0..layers).map(|layer| ["global", "local"][layer % 2].into()).collect()),
    };
    let expanded = || {
        let mut kinds = Vec::new();
        for run in runs.as_array()? {
            let (some, times) = (run.get(0)?.as_array()?, run.get(1)?.as_u64()?);
            // More than there are layers is as wrong as one more.
            (0..times.min(layers as u64 + 1)).for_each(|_| kinds.extend_from_slice(some));
        }
        Some(kinds)
    };
    expanded().with_context(|| {
        format!("{}: key `attention_types` is no list of kinds and how often they come", config.origin())
    })
}
