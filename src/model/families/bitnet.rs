//! BitNet b1.58, its weights as they are: Llama's kind that also normalises what heads put out together and the hidden layer.
//!
//! Quirks: the gate squares what is above 0. Models that round on the way, activations to 8 bits and weights to three values
//! (`quantization_config`), compute something else and are refused.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::NormKind,
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::OutputNorm, "self_attn.attn_sub_norm"),
        (LayerSlot::Mlp(MlpSlot::InnerNorm), "mlp.ffn_sub_norm"),
    ],
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    if config.holds("quantization_config") {
        bail!(
            "{}: key `quantization_config`: models that round activations and weights on the way are not handled for this family",
            config.origin()
        );
    }
    let config = config.with_defaults(json!({ "num_key_value_heads": 5, "rms_norm_eps": 1e-5 }));
    let defaults = rotary::Defaults { theta: 500_000.0, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.attention.output_norm = Some(NormKind::Rms);
    let activation = common::activation(&config, "hidden_act", "relu2")?;
    for mlp in &mut spec.mlp {
        mlp.activation = activation;
        mlp.inner_norm = Some(NormKind::Rms);
    }
    let attention = config.flag("attention_bias", false)?;
    let biased = move |place| attention && common::is_attention(place);
    common::named(&config, weights, spec, &NAMES, biased, false)
}
