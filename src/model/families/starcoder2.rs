//! StarCoder2: Llama with LayerNorm, biases and a plain MLP; every layer may see a window alone.

use anyhow::Result;

use super::{
    common::{self, Names, activation},
    rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Mlp, Positions, Spec},
    },
};

const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    positions: "",
    layers: "model.layers",
    places: &[
        (LayerSlot::AttentionNorm, "input_layernorm"),
        (LayerSlot::Query, "self_attn.q_proj"),
        (LayerSlot::Key, "self_attn.k_proj"),
        (LayerSlot::Value, "self_attn.v_proj"),
        (LayerSlot::Output, "self_attn.o_proj"),
        (LayerSlot::MlpNorm, "post_attention_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.c_fc"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.c_proj"),
    ],
    last_norm: "model.norm",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("norm_epsilon", 1e-5)? as f32;
    let rotary = rotary::read(config, shape.head_size, shape.context, rotary::Defaults::default())?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    spec.attention.windows = common::windows(config, shape.layers, |_| true)?;
    let inner = config.count("intermediate_size")?;
    let mlp = Mlp::dense(inner, activation(config, "hidden_act", "gelu_pytorch_tanh")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let biases = config.flag("use_bias", true)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, move |place| biases || common::is_norm(place), tied);
    let mut plan = Plan::new(spec, named);
    plan.unused = common::TIED;
    Ok(plan)
}
