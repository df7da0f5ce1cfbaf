//! GPT-J and CodeGen: LayerNorm, rotary positions on a part of each head, attention and MLP side by side.
//!
//! Quirks: neighbours are rotated together, the first `rotary_dim` numbers of each head; attention and MLP share one
//! normalisation; no biases in attention, but one in the unembedding. CodeGen's queries, values and keys, in this order,
//! share a tensor in four pieces, as it was trained on four devices.

use anyhow::{Result, bail};

use super::common::{self, Names, activation};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        rotary::{Pairing, Rotary},
        slot::{LayerSlot, MlpSlot, Part, Plan, Share, Slot, Source},
        spec::{Mlp, Positions, Spec},
    },
};

const NAMES: Names = Names {
    embedding: "transformer.wte",
    positions: "",
    layers: "transformer.h",
    places: &[
        (LayerSlot::AttentionNorm, "ln_1"),
        (LayerSlot::Query, "attn.q_proj"),
        (LayerSlot::Key, "attn.k_proj"),
        (LayerSlot::Value, "attn.v_proj"),
        (LayerSlot::Output, "attn.out_proj"),
        (LayerSlot::MlpNorm, "ln_1"),
        (LayerSlot::Mlp(MlpSlot::Up), "mlp.fc_in"),
        (LayerSlot::Mlp(MlpSlot::Down), "mlp.fc_out"),
    ],
    instead: &[],
    last_norm: "transformer.ln_f",
    unembedding: "lm_head",
};

/// Pieces of CodeGen's shared tensor.
const PIECES: usize = 4;

/// Reads `config.json` of CodeGen.
pub fn codegen(config: &Config, weights: &Weights) -> Result<Plan> {
    let mut plan = plan(config, weights)?;
    let spec = &plan.spec;
    if spec.heads % PIECES != 0 {
        bail!("{}: {} heads do not lie in {PIECES} equal pieces", config.origin(), spec.heads);
    }
    let (block, total) = (spec.width / PIECES, 3 * spec.width);
    let third = move |third: usize| Share { start: third * block, block, stride: 3 * block, total };
    let source = plan.source;
    plan.source = Box::new(move |slot| {
        let Slot::Layer(_, place, part) = slot else { return source(slot) };
        let third = match place {
            LayerSlot::Query => third(0),
            LayerSlot::Value => third(1),
            LayerSlot::Key => third(2),
            _ => return source(slot),
        };
        Some(common::beside(&source(slot)?, "qkv_proj", part).shared(third))
    });
    Ok(plan)
}

/// Reads `config.json` of GPT-J.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = common::gpt2_shape(config, "n_positions", 2048)?;
    let mut spec = Spec::plain(shape);
    spec.norm.epsilon = config.number("layer_norm_epsilon", 1e-5)? as f32;
    spec.positions = Positions::rotary(rotary(config, shape.head_size)?, shape.layers);
    spec.parallel = true;
    let inner = config.optional_count("n_inner")?.unwrap_or(4 * shape.width);
    let mlp = Mlp::dense(inner, activation(config, "activation_function", "gelu_new")?, false);
    spec.mlp = vec![mlp; shape.layers];
    let tied = config.flag("tie_word_embeddings", false)?;
    config.finish()?;
    let named = NAMES.sources(weights, |place| !common::is_attention(place), tied);
    let mut plan = Plan::new(spec, move |slot| match slot {
        // Beside its bias also where it is the embedding.
        Slot::Unembedding(Part::Weight) if tied => named(Slot::Embedding),
        Slot::Unembedding(Part::Bias) => Some(Source::whole("lm_head.bias")),
        slot => named(slot),
    });
    plan.unused = common::TIED;
    Ok(plan)
}

fn rotary(config: &Config, head_size: usize) -> Result<Rotary> {
    let size = config.optional_count("rotary_dim")?.unwrap_or(64);
    if size == 0 || size % 2 != 0 || size > head_size {
        bail!(
            "{}: key `rotary_dim` is {size}, no even part of a head's {head_size} numbers",
            config.origin()
        );
    }
    Ok(Rotary { pairing: Pairing::Neighbours, ..Rotary::plain(10_000.0, size) })
}
