//! StableLM: Llama with LayerNorm and rotary positions on a part of each head.
//!
//! Quirks: queries and keys may be normalised head by head, each head with gains in a tensor of its own (`qk_layernorm`);
//! attention and MLP may be side by side and then share one normalisation (`use_parallel_residual`).

use anyhow::Result;

use super::{
    common::{self, activation},
    llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Part, Plan, Slot, Source},
        spec::{Mlp, NormKind, NormOver, Positions, QueryKeyNorm, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::shape(config)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_eps", 1e-5)? as f32;
    let defaults = rotary::Defaults { share: 0.25, ..rotary::Defaults::default() };
    let rotary = rotary::read(config, shape.head_size, shape.context, defaults)?;
    spec.positions = Positions::rotary(rotary, shape.layers);
    let parallel = config.flag("use_parallel_residual", false)?;
    spec.parallel = parallel;
    if config.flag("qk_layernorm", false)? {
        spec.attention.query_key_norm = Some(QueryKeyNorm {
            kind: NormKind::Layer,
            over: NormOver::HeadWithItsGains,
            after_rotation: false,
        });
    }
    let inner = config.count("intermediate_size")?;
    spec.mlp = vec![Mlp::dense(inner, activation(config, "hidden_act", "silu")?, true); shape.layers];
    let biases = config.flag("use_qkv_bias", false)?;
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let biased = move |place| match place {
        place if common::is_read(place) => biases,
        place => common::is_norm(place),
    };
    let named = llama::NAMES.sources(weights, biased, tied);
    let mut plan = Plan::new(spec, move |slot| match slot {
        Slot::Layer(layer, LayerSlot::MlpNorm, part) if parallel => {
            named(Slot::Layer(layer, LayerSlot::AttentionNorm, part))
        }
        Slot::Layer(layer, LayerSlot::QueryNorm, Part::Weight) => Some(gains(layer, "q", shape.heads)),
        Slot::Layer(layer, LayerSlot::KeyNorm, Part::Weight) => Some(gains(layer, "k", shape.kv_heads)),
        slot => named(slot),
    });
    plan.unused = common::TIED;
    Ok(plan)
}

/// The gains of a layer's queries or keys, one tensor for each head.
fn gains(layer: usize, of: &str, heads: usize) -> Source {
    let name = |head| format!("model.layers.{layer}.self_attn.{of}_layernorm.norms.{head}.weight");
    Source { more: (1..heads).map(name).collect(), ..Source::whole(name(0)) }
}
