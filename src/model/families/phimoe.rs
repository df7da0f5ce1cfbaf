//! Phi-3.5 MoE: Mixtral with LayerNorms and SparseMixer's shares.
//!
//! Quirks: two experts work on a token, each with its share among those that are near it (`router_jitter_noise`). All normalisations
//! have biases; attention and the unembedding may. LongRoPE grows scores by `short_mscale` and `long_mscale`, and turns every length
//! by `short_factor`: so does the reference, where Microsoft's code turns those beyond the old context by `long_factor`.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, mixtral, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, Plan},
        spec::{NormKind, Router, Shares},
    },
};

/// The names in transformers' memory.
const IN_MEMORY: Names = Names { instead: &[(LayerSlot::Router, "mlp.router")], ..llama::NAMES };

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "rms_norm_eps": 1e-5,
    }));
    let defaults = rotary::Defaults { theta: 1e6, factors: true, ..rotary::Defaults::default() };
    let mut spec = common::llama_like(&config, defaults)?;
    spec.norm.kind = NormKind::Layer;
    spec.attention.windows = vec![common::window(&config)?; spec.layers];
    let margin = 2.0 * config.number("router_jitter_noise", 0.01)? as f32;
    let experts = experts::read(&config, Router { shares: Shares::Mixer { margin }, ..Router::SOFTMAX })?;
    if experts.top != 2 {
        bail!("{}: key `num_experts_per_tok` is {}; here it is always 2", config.origin(), experts.top);
    }
    experts::put(&mut spec, experts, config.count("intermediate_size")?, |_| true);
    let (attention, head) = (config.flag("attention_bias", false)?, config.flag("lm_head_bias", false)?);
    let biased = move |place| common::is_norm(place) || attention && common::is_attention(place);
    let names = if experts::in_memory(weights) { &IN_MEMORY } else { &mixtral::NAMES };
    let plan = experts::named(&config, weights, spec, names, biased, false)?;
    Ok(if head { common::with_biased_head(plan) } else { plan })
}
