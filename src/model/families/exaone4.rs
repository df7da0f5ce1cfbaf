//! EXAONE 4: Llama's kind that normalises what attention and MLP write, and not what they read.
//!
//! Quirks: queries and keys of each head are normalised; where there is a window (`sliding_window`), every fourth layer has
//! none (`sliding_window_pattern`), and its queries and keys are not rotated.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{common, olmo, qwen, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{config::Config, slot::Plan, spec::NormPlace},
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 32,
        "rms_norm_eps": 1e-5,
        "sliding_window": 4096,
        "sliding_window_pattern": 4,
    }));
    let mut spec = common::llama_like(&config, rotary::Defaults::default())?;
    spec.norm.place = NormPlace::After;
    spec.attention.query_key_norm = qwen::HEAD_NORM;
    let period = period(&config)?;
    let slides = |layer: usize| period.is_some_and(|period| !(layer + 1).is_multiple_of(period));
    spec.attention.windows = common::windows(&config, spec.layers, slides)?;
    if common::window(&config)?.is_some() {
        spec.positions.only_where(|layer| spec.attention.windows[layer].is_some());
    }
    common::named(&config, weights, spec, &olmo::NAMES, |_| false, false)
}

/// How many layers there are from one without a window to the next; `None` where `layer_types` tells.
fn period(config: &Config) -> Result<Option<usize>> {
    match config.get("sliding_window_pattern") {
        _ if config.get("layer_types").is_some() => Ok(None),
        // Which the reference does not read either without the list.
        Some(Value::String(_)) => bail!(
            "{}: key `sliding_window_pattern` is text, which tells nothing without `layer_types`",
            config.origin()
        ),
        _ => Ok(config.optional_length("sliding_window_pattern")?.filter(|&period| period > 0)),
    }
}
