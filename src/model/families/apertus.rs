//! Apertus: Llama's kind with xIELU for the nonlinearity, in an MLP without a gate, and normalised queries and keys.
//!
//! Quirks: what xIELU has learned is beside each MLP; the rotation is stretched as Llama 3.1's unless another is described.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    common::{self, Names},
    llama, qwen, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Slot, Source},
        spec::{Activation, Mlp, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::AttentionNorm, "attention_layernorm"),
        (LayerSlot::MlpNorm, "feedforward_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Curve), "mlp.act_fn"),
    ],
    ..llama::NAMES
};

/// What xIELU has learned, and its constants.
const LEARNED: [&str; 4] = ["alpha_p", "alpha_n", "beta", "eps"];

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut defaults = json!({ "max_position_embeddings": 65_536, "rms_norm_eps": 1e-5 });
    if config.get("rope_scaling").or(config.get("rope_parameters")).is_none() {
        defaults["rope_parameters"] = json!({
            "rope_type": "llama3",
            "rope_theta": 12e6,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
    }
    let config = config.with_defaults(defaults);
    let defaults = rotary::Defaults { theta: 12e6, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.query_key_norm = qwen::HEAD_NORM;
    let activation = common::activation(&config, "hidden_act", "xielu")?;
    spec.mlp = vec![Mlp::dense(config.count("intermediate_size")?, activation, false); spec.layers];
    told(&config, &mut spec)?;
    let attention = config.flag("attention_bias", false)?;
    let biased = move |place| attention && common::is_attention(place);
    let mut plan = common::named(&config, weights, spec, &NAMES, biased, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| {
        let source = named(slot)?;
        Some(match slot {
            Slot::Layer(_, LayerSlot::Mlp(MlpSlot::Curve), _) => {
                let mut names = LEARNED.iter().map(|name| source.tensor.replace("weight", name));
                Source { tensor: names.next()?, more: names.collect(), ..source }
            }
            _ => source,
        })
    });
    Ok(plan)
}

/// Takes what xIELU has learned from the configuration, where that tells it layer by layer: files of GGUF do.
fn told(config: &Config, spec: &mut Spec) -> Result<()> {
    for (layer, mlp) in spec.mlp.iter_mut().enumerate() {
        let mut learned = [0.0; 4];
        for (number, name) in learned.iter_mut().zip(LEARNED) {
            let key = format!("xielu.{name}");
            let Some(of_layer) = config.get(&key) else { return Ok(()) };
            let of_this = of_layer.get(layer).and_then(Value::as_f64);
            *number = of_this.with_context(|| {
                format!("{}: key `{key}` is no list of {} numbers", config.origin(), spec.layers)
            })? as f32;
        }
        mlp.activation = Activation::xielu(learned);
    }
    Ok(())
}
