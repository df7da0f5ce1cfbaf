//! Mellum 2: Qwen 3 with experts whose layers with a window have a rotation of their own.
//!
//! Quirks: which layers have a window and which an MLP in place of experts is listed (`layer_types`, `mlp_layer_types`); the
//! shares of the experts that work on a token sum to one unless said otherwise. What is there to predict more than one token
//! at a time (`mtp.`) is left out.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{common, experts, llama, qwen, rotary};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::{Config, shown},
        slot::Plan,
        spec::Mlp,
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 4,
        "head_dim": 128,
        "max_position_embeddings": 131_072,
        "sliding_window": 1024,
        "rope_parameters": {
            "full_attention": { "rope_type": "default", "rope_theta": 500_000.0 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 10_000.0 },
        },
    }));
    let shape = common::shape(&config)?;
    let mut spec = common::llama_spec(&config, shape)?;
    let sliding = common::sliding(&config, shape.layers, |_| false)?;
    spec.positions = rotary::by_kind(&config, shape, &sliding, rotary::Defaults::default(), None)?;
    spec.attention.windows = common::windows(&config, shape.layers, |_| false)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM;
    let experts = experts::read(&config, config.flag("norm_topk_prob", true)?)?;
    let inner = config.count("moe_intermediate_size")?;
    for layer in sparse(&config, shape.layers)? {
        spec.mlp[layer] = Mlp { inner, experts: Some(experts), ..spec.mlp[layer] };
    }
    let mut plan = llama::named(&config, weights, spec, false)?;
    if experts::stacked(weights) {
        let named = plan.source;
        plan.source = Box::new(move |slot| Some(experts::in_stack(slot, named(slot)?, inner)));
    }
    plan.beside = &["mtp."];
    Ok(plan)
}

/// The layers with experts: those that `mlp_layer_types` calls `sparse`, or all.
fn sparse(config: &Config, layers: usize) -> Result<Vec<usize>> {
    let Some(kinds) = config.get("mlp_layer_types") else { return Ok((0..layers).collect()) };
    let mut sparse = Vec::new();
    for layer in 0..layers {
        match kinds.get(layer).and_then(Value::as_str) {
            Some("sparse") => sparse.push(layer),
            Some("dense") => {}
            _ => bail!(
                "{}: key `mlp_layer_types` = {} does not call each of {layers} layers `sparse` or `dense`",
                config.origin(),
                shown(kinds)
            ),
        }
    }
    Ok(sparse)
}
