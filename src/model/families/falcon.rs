//! Falcon: LayerNorm, rotary positions or ALiBi, attention and MLP side by side, plain MLP, tied head.
//!
//! Quirks: three shapes of the tensor that queries, keys and values share: one key and value for all heads (7B,
//! `multi_query`), for groups of heads (40B, 180B, `new_decoder_architecture`), and for each head (RW); one normalisation
//! before both blocks, one for each (`ln_attn`, `ln_mlp`), or blocks one after the other (`parallel_attn` false); what ALiBi
//! adds is computed in bfloat16 and scaled together with the scores.

use anyhow::{Result, bail};

use super::{
    common::{self, Names, activation},
    fused, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        alibi,
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Slot},
        spec::{Mlp, Positions, Shape, Spec},
    },
};

const NAMES: Names = Names {
    embedding: "transformer.word_embeddings",
    positions: "",
    layers: "transformer.h",
    places: &[
        (LayerSlot::AttentionNorm, "input_layernorm"),
        (LayerSlot::Query, "self_attention.query_key_value"),
        (LayerSlot::Key, "self_attention.query_key_value"),
        (LayerSlot::Value, "self_attention.query_key_value"),
        (LayerSlot::Output, "self_attention.dense"),
        (LayerSlot::MlpNorm, "post_attention_layernorm"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.dense_h_to_4h"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.dense_4h_to_h"),
    ],
    instead: &[],
    last_norm: "transformer.ln_f",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let grouped = config.flag("new_decoder_architecture", false)?;
    let shape = shape(config, grouped)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    spec.positions = match config.flag("alibi", false)? {
        true => {
            // Configurations describe a rotation all the same.
            for key in ["rope_parameters", "rope_scaling", "rope_theta"] {
                config.get(key);
            }
            Positions::Alibi { slopes: alibi::slopes(shape.heads, 8.0), rounded: true }
        }
        false => {
            let rotary = rotary::read(config, shape.head_size, shape.context, rotary::Defaults::default())?;
            Positions::rotary(rotary, shape.layers)
        }
    };
    spec.parallel = config.flag("parallel_attn", true)? || grouped;
    let inner = config.optional_count("ffn_hidden_size")?.unwrap_or(4 * shape.width);
    spec.mlp = vec![Mlp::dense(inner, activation(config, "activation", "gelu")?, false); shape.layers];
    let norms = norms(config, spec.parallel, grouped)?;
    let biases = config.flag("bias", false)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, move |place| biases || common::is_norm(place), tied);
    let mut plan = Plan::new(spec, move |slot| {
        let source = named(slot)?;
        Some(match slot {
            Slot::Layer(_, LayerSlot::AttentionNorm, part) => common::beside(&source, norms[0], part),
            Slot::Layer(_, LayerSlot::MlpNorm, part) => common::beside(&source, norms[1], part),
            slot => fused::by_group(slot, source, &shape),
        })
    });
    plan.unused = common::TIED;
    Ok(plan)
}

fn shape(config: &Config, grouped: bool) -> Result<Shape> {
    let width = config.count(common::present(config, ["n_embed", "hidden_size"]))?;
    let heads = config.count("num_attention_heads")?;
    let kv_heads = config.optional_count("num_kv_heads")?.unwrap_or(heads);
    let kv_heads = match config.flag("multi_query", true)? {
        _ if grouped => kv_heads,
        true => 1,
        false => heads,
    };
    let shape = Shape {
        layers: config.count("num_hidden_layers")?,
        width,
        heads,
        kv_heads,
        head_size: common::head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_position_embeddings")?.unwrap_or(2048),
    };
    common::checked(config, shape)
}

/// The names of the normalisations before attention and before the MLP.
fn norms(config: &Config, parallel: bool, grouped: bool) -> Result<[&'static str; 2]> {
    let count = config.optional_length("num_ln_in_parallel_attn")?;
    Ok(match count.unwrap_or(if grouped { 2 } else { 1 }) {
        _ if !parallel => ["input_layernorm", "post_attention_layernorm"],
        2 if grouped => ["ln_attn", "ln_mlp"],
        1 => ["input_layernorm"; 2],
        other => bail!("{}: key `num_ln_in_parallel_attn` = {other} is not handled", config.origin()),
    })
}
