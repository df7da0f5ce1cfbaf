//! BLOOM: LayerNorm also of the embedding, ALiBi, plain MLP, tied head.
//!
//! Quirks: queries, keys and values share a tensor whose rows go `[head, 3, head_size]`; the slopes of head counts that are
//! no power of two come from two series; sizes go by other names in the first configurations.

use anyhow::Result;

use super::{
    common::{self, Names},
    fused,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        alibi,
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Slot},
        spec::{Activation, Mlp, Positions, Shape, Spec},
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
    let (width, heads) =
        (config.count(common::present(config, ["n_embed", "hidden_size"]))?, config.count("n_head")?);
    let shape = Shape {
        layers: config.count("n_layer")?,
        width,
        heads,
        kv_heads: heads,
        head_size: common::head_size(config, width, heads)?,
        vocabulary: config.count("vocab_size")?,
        // The positions have no end; this is the length of training.
        context: config.optional_length("seq_length")?.unwrap_or(2048),
    };
    let mut spec = Spec::plain(common::checked(config, shape)?);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    spec.embedding.norm = true;
    spec.positions = Positions::Alibi { slopes: alibi::slopes(heads, 8.0), rounded: false };
    spec.mlp = vec![Mlp::dense(4 * width, Activation::GeluTanh, false); shape.layers];
    common::always(config, "apply_residual_connection_post_layernorm", false)?;
    let tied = config.flag("tie_word_embeddings", true)?;
    config.finish()?;
    let named = NAMES.sources(weights, |_| true, tied);
    let mut plan = Plan::new(spec, move |slot| match slot {
        Slot::EmbeddingNorm(part) => {
            named(Slot::Embedding).map(|table| common::beside(&table, "word_embeddings_layernorm", part))
        }
        slot => Some(fused::by_group(slot, named(slot)?, &shape)),
    });
    plan.unused = common::TIED;
    Ok(plan)
}
