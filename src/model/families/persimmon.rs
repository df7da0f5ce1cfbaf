//! Persimmon: LayerNorm, rotary positions on a half of each head, plain MLP, biases everywhere.
//!
//! Quirks: queries, keys and values share a tensor whose rows go `[head, 3, head_size]`; queries and keys are normalised head
//! by head, with gains and biases that all heads share, unless `qk_layernorm` is false.

use anyhow::Result;
use serde_json::json;

use super::{
    common::{self, Names, activation},
    fused, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Mlp, NormKind, NormOver, Positions, QueryKeyNorm, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::Query, "self_attn.query_key_value"),
        (LayerSlot::Key, "self_attn.query_key_value"),
        (LayerSlot::Value, "self_attn.query_key_value"),
        (LayerSlot::QueryNorm, "self_attn.q_layernorm"),
        (LayerSlot::KeyNorm, "self_attn.k_layernorm"),
        (LayerSlot::Output, "self_attn.dense"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.dense_h_to_4h"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.dense_4h_to_h"),
    ],
    last_norm: "model.final_layernorm",
    ..llama::NAMES
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "max_position_embeddings": 16_384 }));
    let shape = common::shape(&config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    let defaults = rotary::Defaults { share: 0.5, ..rotary::Defaults::default() };
    let rotary = rotary::read(&config, shape.head_size, shape.context, defaults)?;
    spec.context = rotary.reach(shape.context);
    spec.positions = Positions::rotary(rotary, shape.layers);
    if config.flag("qk_layernorm", true)? {
        spec.attention.query_key_norm =
            Some(QueryKeyNorm { kind: NormKind::Layer, over: NormOver::Head, after_rotation: false });
    }
    let inner = config.count("intermediate_size")?;
    spec.mlp = vec![Mlp::dense(inner, activation(&config, "hidden_act", "relu2")?, false); shape.layers];
    let mut plan = common::named(&config, weights, spec, &NAMES, |_| true, false)?;
    let named = plan.source;
    plan.source = Box::new(move |slot| Some(fused::by_group(slot, named(slot)?, &shape)));
    Ok(plan)
}
