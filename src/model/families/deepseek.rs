//! DeepSeek V2 and V3, R1, and GLM 4.7 Flash: experts, and multi-head latent attention.
//!
//! Quirks: keys and values are made of a normalised latent, queries of another or, without `q_lora_rank`, of the residual stream; a
//! head's query and key have a part that is not rotated and one that is, which is the same in all heads' keys; values have a size
//! of their own. `mscale_all_dim` of a stretched rotation grows scores. The normalisations of latents have an epsilon of their own,
//! whatever the configuration says. V2 picks experts by a softmax, V3 and GLM as DeepSeek-V3 does; the first layers have an MLP.
//!
//! The trace keeps each head's keys and values, as for any other family, which takes more memory than the latent would.

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    common::{self, Names},
    experts, llama, rotary,
};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::Pairing,
        slot::{LayerSlot, Plan, Share, Slot},
        spec::{Latent, Positions, Router, Shape, Spec},
    },
};

const NAMES: Names = Names {
    instead: &[
        (LayerSlot::QueryLatent, "self_attn.q_a_proj"),
        (LayerSlot::QueryLatentNorm, "self_attn.q_a_layernorm"),
        (LayerSlot::Query, "self_attn.q_b_proj"),
        (LayerSlot::KeyLatent, "self_attn.kv_a_proj_with_mqa"),
        (LayerSlot::RotatedKey, "self_attn.kv_a_proj_with_mqa"),
        (LayerSlot::KeyLatentNorm, "self_attn.kv_a_layernorm"),
        (LayerSlot::Key, "self_attn.kv_b_proj"),
        (LayerSlot::Value, "self_attn.kv_b_proj"),
    ],
    ..llama::NAMES
};

/// The epsilon of the normalisations of latents.
const EPSILON: f32 = 1e-6;

/// Reads `config.json` of V2.
pub fn plan2(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({ "q_lora_rank": 1536, "n_shared_experts": 2 }));
    let (mut spec, latent) = read(&config, Pairing::Neighbours)?;
    let scale = config.number("routed_scaling_factor", 1.0)? as f32;
    let picked = experts::read(&config, Router { scale, ..Router::SOFTMAX })?;
    let picked = match config.text("topk_method", "greedy")? {
        // Which has no use for groups.
        "greedy" => {
            config.get("n_group");
            config.get("topk_group");
            picked
        }
        "group_limited_greedy" => experts::grouped(&config, picked, 1)?,
        other => bail!(
            "{}: key `topk_method` is `{}`; only greedy and group_limited_greedy are handled",
            config.origin(),
            crate::text::excerpt(other)
        ),
    };
    let shared = config.count_from_zero("n_shared_experts")?;
    experts::put_after_dense(&config, &mut spec, experts::beside(&config, picked, shared)?)?;
    let mlps = config.flag("mlp_bias", false)?;
    named(&config, weights, (spec, latent), mlps)
}

/// Reads `config.json` of V3.
pub fn plan3(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 128,
        "max_position_embeddings": 4096,
        "q_lora_rank": 1536,
        "n_group": 8,
        "topk_group": 4,
        "n_shared_experts": 1,
        "routed_scaling_factor": 2.5,
        "first_k_dense_replace": 3,
    }));
    let (mut spec, latent) = read(&config, pairing(&config)?)?;
    let picked = experts::corrected(&config, true)?;
    experts::put_after_dense(&config, &mut spec, picked)?;
    let mut plan = named(&config, weights, (spec, latent), false)?;
    // What predicts the token after the next.
    plan.beside = ["model.layers.61."].map(String::from).to_vec();
    Ok(plan)
}

/// Reads `config.json` of GLM 4.7 Flash.
pub fn glm(config: &Config, weights: &Weights) -> Result<Plan> {
    let config = config.with_defaults(json!({
        "num_key_value_heads": 20,
        "max_position_embeddings": 202_752,
        "rms_norm_eps": 1e-5,
        "q_lora_rank": 768,
        "n_shared_experts": 1,
        "routed_scaling_factor": 1.8,
    }));
    let (mut spec, latent) = read(&config, pairing(&config)?)?;
    let picked = experts::corrected(&config, true)?;
    experts::put_where_listed(&config, &mut spec, picked, |layer| layer > 0)?;
    let mut plan = named(&config, weights, (spec, latent), false)?;
    plan.beside = ["model.layers.47."].map(String::from).to_vec();
    Ok(plan)
}

fn pairing(config: &Config) -> Result<Pairing> {
    Ok(match config.flag("rope_interleave", true)? {
        true => Pairing::Neighbours,
        false => Pairing::Halves,
    })
}

/// All but the experts.
fn read(config: &Config, pairing: Pairing) -> Result<(Spec, Latent)> {
    let heads = config.count("num_attention_heads")?;
    let kv_heads = config.optional_count("num_key_value_heads")?.unwrap_or(heads);
    if kv_heads != heads {
        bail!(
            "{}: keys `num_attention_heads` = {heads} and `num_key_value_heads` = {kv_heads} differ; each head has a key of its own \
             in this family",
            config.origin()
        );
    }
    // Of the rotated part, as transformers writes it; `qk_rope_head_dim` counts.
    config.get("head_dim");
    let (still, rotated) = (config.count("qk_nope_head_dim")?, config.count("qk_rope_head_dim")?);
    let shape = Shape {
        layers: config.count("num_hidden_layers")?,
        width: config.count("hidden_size")?,
        heads,
        kv_heads,
        head_size: still + rotated,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_length("max_position_embeddings")?.unwrap_or(2048),
    };
    let mut spec = common::llama_spec(config, common::checked(config, shape)?)?;
    spec.value_size = config.count("v_head_dim")?;
    config.has_room("values", &[heads, spec.value_size])?;
    let defaults = rotary::Defaults { pairing, others: &["mscale_all_dim"], ..rotary::Defaults::default() };
    let mut rotary = rotary::read(config, rotated, shape.context, defaults)?;
    if rotary.size != rotated {
        bail!("{}: only {} of `qk_rope_head_dim` = {rotated} are rotated", config.origin(), rotary.size);
    }
    rotary.start = still;
    spec.context = rotary.reach(shape.context);
    spec.positions = Positions::rotary(rotary, shape.layers);
    let growth = growth(config)?;
    spec.attention.scale.iter_mut().for_each(|scale| *scale *= growth);
    let queries = match config.get("q_lora_rank") {
        Some(_) => Some(config.count("q_lora_rank")?),
        None => None,
    };
    let keys = config.count("kv_lora_rank")?;
    let latent = Latent { queries, keys, rotated, epsilon: EPSILON };
    spec.attention.latent = Some(latent);
    Ok((spec, latent))
}

/// Factor on scores where the rotation is stretched.
fn growth(config: &Config) -> Result<f32> {
    let rope = rotary::described(config)?;
    let kind = rope.text("rope_type", rope.text("type", "default")?)?;
    let (all, factor) = (rope.number("mscale_all_dim", 0.0)?, rope.number("factor", 1.0)?);
    Ok(match kind == "default" || all == 0.0 || factor <= 1.0 {
        true => 1.0,
        false => (0.1 * all * factor.ln() + 1.0).powi(2) as f32,
    })
}

fn named(config: &Config, weights: &Weights, (spec, latent): (Spec, Latent), mlps: bool) -> Result<Plan> {
    let (heads, value) = (spec.heads, spec.value_size);
    let still = spec.head_size - latent.rotated;
    let biases = config.flag("attention_bias", false)?;
    let biased = move |place| match place {
        LayerSlot::Mlp(_) | LayerSlot::Shared(_) => mlps,
        LayerSlot::QueryLatent | LayerSlot::KeyLatent | LayerSlot::RotatedKey | LayerSlot::Output => biases,
        _ => false,
    };
    let mut plan = experts::named(config, weights, spec, &NAMES, biased, false)?;
    let named = plan.source;
    let both = latent.keys + latent.rotated;
    let of_head =
        move |start, block| Share { start, block, stride: still + value, total: heads * (still + value) };
    plan.source = Box::new(move |slot| {
        let mut source = named(slot)?;
        let Slot::Layer(_, place, _) = slot else { return Some(source) };
        Some(match place {
            LayerSlot::Query if latent.queries.is_none() => {
                source.tensor = source.tensor.replace(".q_b_proj.", ".q_proj.");
                source
            }
            LayerSlot::KeyLatent => source.shared(Share::range(0..latent.keys, both)),
            LayerSlot::RotatedKey => source.shared(Share::range(latent.keys..both, both)),
            LayerSlot::Key => source.shared(of_head(0, still)),
            LayerSlot::Value => source.shared(of_head(still, value)),
            _ => source,
        })
    });
    Ok(plan)
}
