//! MPT: LayerNorm, ALiBi or learned positions, plain MLP, tied head; by default nothing has a bias.
//!
//! Quirks: what attention does is in `attn_config`; queries, keys and values are cut off beyond `clip_qkv`; queries and keys
//! may be normalised, all heads together (`qk_ln`). transformers runs only the models with ALiBi and without biases.

use anyhow::{Result, bail};

use super::{
    common::{self, Names},
    fused,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        alibi,
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan},
        spec::{Activation, Clip, Mlp, NormKind, NormOver, Positions, QueryKeyNorm, Shape, Spec},
    },
    text::excerpt,
};

const NAMES: Names = Names {
    embedding: "transformer.wte",
    positions: "transformer.wpe",
    layers: "transformer.blocks",
    places: &[
        (LayerSlot::AttentionNorm, "norm_1"),
        (LayerSlot::Query, "attn.Wqkv"),
        (LayerSlot::Key, "attn.Wqkv"),
        (LayerSlot::Value, "attn.Wqkv"),
        (LayerSlot::QueryNorm, "attn.q_ln"),
        (LayerSlot::KeyNorm, "attn.k_ln"),
        (LayerSlot::Output, "attn.out_proj"),
        (LayerSlot::MlpNorm, "norm_2"),
        (LayerSlot::Mlp(MlpSlot::Up), "ffn.up_proj"),
        (LayerSlot::Mlp(MlpSlot::Down), "ffn.down_proj"),
    ],
    instead: &[],
    last_norm: "transformer.norm_f",
    unembedding: "lm_head",
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let (width, heads) = (config.count("d_model")?, config.count("n_heads")?);
    let shape = Shape {
        layers: config.count("n_layers")?,
        width,
        heads,
        kv_heads: heads,
        head_size: common::head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_seq_len")?.unwrap_or(2048),
    };
    let mut spec = Spec::plain(common::checked(config, shape)?);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    let norm = config.text("norm_type", "low_precision_layernorm")?;
    if !matches!(norm, "layernorm" | "low_precision_layernorm") {
        bail!("{}: key `norm_type` = `{}` is not handled", config.origin(), excerpt(norm));
    }
    read_attention(config, &mut spec)?;
    let ratio = config.optional_length("expansion_ratio")?.unwrap_or(4);
    config.has_room("hidden layers", &[ratio, width])?;
    let inner = ratio * width;
    spec.mlp = vec![Mlp::dense(inner, Activation::Gelu, false); shape.layers];
    let biases = !config.flag("no_bias", true)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, move |_| biases, tied);
    let mut plan = Plan::new(spec, move |slot| Some(fused::by_kind(slot, named(slot)?, &shape)));
    plan.unused = common::TIED;
    Ok(plan)
}

/// Reads `attn_config`.
fn read_attention(config: &Config, spec: &mut Spec) -> Result<()> {
    let config = &config.part("attn_config")?;
    let kind = config.text("attn_type", "multihead_attention")?;
    if kind != "multihead_attention" {
        bail!("{}: key `attn_type` = `{}` is not handled", config.origin(), excerpt(kind));
    }
    common::always(config, "prefix_lm", false)?;
    common::always(config, "attn_uses_sequence_id", false)?;
    // The kernel, which computes the same.
    config.get("attn_impl");
    // Learned positions, `spec`'s own, are what is left without ALiBi.
    let steepness = config.number("alibi_bias_max", 8.0)?;
    if config.flag("alibi", true)? {
        spec.positions = Positions::Alibi { slopes: alibi::slopes(spec.heads, steepness), rounded: false };
    }
    if config.get("softmax_scale").is_some() {
        spec.attention.scale = vec![config.number("softmax_scale", 1.0)? as f32; spec.layers];
    }
    let clip = config.number("clip_qkv", 0.0)? as f32;
    spec.attention.clip = (clip > 0.0).then_some(Clip { most: clip, after_norm: false });
    if config.flag("qk_ln", false)? {
        spec.attention.query_key_norm =
            Some(QueryKeyNorm { kind: NormKind::Layer, over: NormOver::AllHeads, after_rotation: false });
    }
    config.finish()
}
