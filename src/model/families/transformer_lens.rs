//! Models in TransformerLens's own format: the teaching models of one to four layers, attention-only or with an MLP, and
//! whatever else `HookedTransformer` was trained as.
//!
//! Quirks: `config.json` has keys of its own and no `model_type`; each head's projections are matrices of their own, inputs
//! first; normalisation is LayerNorm or RMS with weights (`LN`, `RMS`) or without (`LNPre`, `RMSPre`), or there is none;
//! with `final_rms` the last one is RMS all the same; positions may be added to what queries and keys are made of only
//! (`shortformer_pos`); with `solu_ln` the hidden layer of the MLP is normalised; biases may be missing.
//!
//! The oldest models (`..._old`) call normalisations `norm` for `ln`; those of up to eight layers store positions with the
//! context second, and those of up to six all other matrices turned as well.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::common::{activation, checked};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::{Config, shown},
        rotary::{Pairing, Rotary},
        slot::{LayerSlot, Layout, MlpSlot, Part, Plan, Slot, Source},
        spec::{Activation, Mlp, NormKind, NormOver, Positions, QueryKeyNorm, ReadBy, Shape, Spec},
    },
    text::excerpt,
};

/// Keys that must be absent or say no: what they ask for is not handled.
const REFUSED: [&str; 5] = [
    "use_normalization_before_and_after",
    "use_NTK_by_parts_rope",
    "post_embedding_ln",
    "gated_mlp",
    "load_in_4bit",
];

/// Weight and bias of each place of a layer.
const PLACES: [(LayerSlot, [&str; 2]); 11] = [
    (LayerSlot::AttentionNorm, ["ln1.w", "ln1.b"]),
    (LayerSlot::Query, ["attn.W_Q", "attn.b_Q"]),
    (LayerSlot::Key, ["attn.W_K", "attn.b_K"]),
    (LayerSlot::Value, ["attn.W_V", "attn.b_V"]),
    (LayerSlot::QueryNorm, ["attn.q_norm.w", "attn.q_norm.b"]),
    (LayerSlot::KeyNorm, ["attn.k_norm.w", "attn.k_norm.b"]),
    (LayerSlot::Output, ["attn.W_O", "attn.b_O"]),
    (LayerSlot::MlpNorm, ["ln2.w", "ln2.b"]),
    (LayerSlot::Mlp(MlpSlot::Up), ["mlp.W_in", "mlp.b_in"]),
    (LayerSlot::Mlp(MlpSlot::InnerNorm), ["mlp.ln.w", "mlp.ln.b"]),
    (LayerSlot::Mlp(MlpSlot::Down), ["mlp.W_out", "mlp.b_out"]),
];

/// Whether a configuration without `model_type` is one of TransformerLens.
pub fn is_meant(values: &Map<String, Value>) -> bool {
    ["n_ctx", "d_vocab", "d_model"].iter().all(|key| values.contains_key(*key))
}

/// Reads `config.json`.
pub fn plan(config: &Config, weights: &Weights) -> Result<Plan> {
    let shape = shape(config)?;
    let mut spec = Spec::plain(shape);
    refuse(config, shape)?;
    let names = Names::of(weights, shape);
    let weighted = norms(config, &names, &mut spec)?;
    spec.positions = positions(config, shape)?;
    attention(config, &mut spec)?;
    spec.parallel = config.flag("parallel_attn_mlp", false)?;
    let inner = config.optional_count("d_mlp")?.unwrap_or(4 * shape.width);
    if !config.flag("attn_only", false)? {
        let (activation, inner_norm) = match config.text("act_fn", "")? {
            "solu" => (Activation::Solu, None),
            "solu_ln" => (Activation::Solu, Some(NormKind::Layer)),
            _ => (activation(config, "act_fn", "")?, None),
        };
        spec.mlp = vec![Mlp { inner_norm, ..Mlp::dense(inner, activation, false) }; shape.layers];
    }
    spec.logits.cap = cap(config, "output_logits_soft_cap")?;
    config.finish()?;
    let mut plan = Plan::new(spec, move |slot| names.source(slot, &weighted));
    // Those of positions are there also where others are in use.
    plan.unused = &["pos_embed.W_pos", "attn.mask", "attn.IGNORE", "attn.rotary_sin", "attn.rotary_cos"];
    Ok(plan)
}

fn shape(config: &Config) -> Result<Shape> {
    let (width, head_size) = (config.count("d_model")?, config.count("d_head")?);
    // Some configurations have -1 for as many heads as fit.
    let heads = match config.get("n_heads").and_then(Value::as_i64) {
        Some(-1) => width / head_size,
        _ => config.optional_count("n_heads")?.unwrap_or(width / head_size),
    };
    if heads == 0 {
        bail!("{}: key `n_heads` leaves no heads", config.origin());
    }
    let (layers, vocabulary) = (config.count("n_layers")?, config.count("d_vocab")?);
    let context = config.length("n_ctx")?;
    checked(config, Shape { layers, width, heads, kv_heads: heads, head_size, vocabulary, context })
}

/// Refuses what is not handled.
fn refuse(config: &Config, shape: Shape) -> Result<()> {
    let refused = |key: &str, value: &dyn std::fmt::Display| -> Result<()> {
        bail!("{}: key `{key}` = {value} is not handled for models of TransformerLens", config.origin())
    };
    for key in REFUSED {
        if config.flag(key, false)? {
            refused(key, &true)?;
        }
    }
    if let Some(value) = config.get("num_experts") {
        refused("num_experts", &shown(value))?;
    }
    match config.optional_count("n_key_value_heads")? {
        Some(count) if count != shape.heads => refused("n_key_value_heads", &count)?,
        _ => {}
    }
    match config.get("d_vocab_out").and_then(Value::as_i64) {
        Some(count) if count >= 0 && count != shape.vocabulary as i64 => refused("d_vocab_out", &count)?,
        _ => {}
    }
    match config.text("attention_dir", "causal")? {
        "causal" => Ok(()),
        other => refused("attention_dir", &excerpt(other)),
    }
}

/// Reads the normalisations into `spec`; which of them have weights.
fn norms(config: &Config, names: &Names, spec: &mut Spec) -> Result<Weighted> {
    let key = if config.get("normalization").is_some() { "normalization" } else { "normalization_type" };
    // Null stands for none, and so does an absent key, unless there are weights.
    let absent = if names.has("ln_final.w") { "LN" } else { "none" };
    let (kind, layers) = match config.text(key, absent)? {
        "LN" => (NormKind::Layer, true),
        "LNPre" => (NormKind::Layer, false),
        "RMS" => (NormKind::Rms, true),
        "RMSPre" => (NormKind::Rms, false),
        "none" | "None" => (NormKind::None, false),
        other => bail!("{}: `{key}` = `{}` is not known", config.origin(), excerpt(other)),
    };
    spec.norm.kind = kind;
    spec.norm.epsilon = config.number("eps", 1e-5)? as f32;
    if config.flag("final_rms", false)? && kind != NormKind::None {
        spec.norm.last_kind = Some(NormKind::Rms);
    }
    if config.flag("use_qk_norm", false)? {
        spec.attention.query_key_norm =
            Some(QueryKeyNorm { kind: NormKind::Rms, over: NormOver::Head, after_rotation: false });
    }
    // The hidden layer's has weights only where all are LayerNorms with weights.
    Ok(Weighted { layers, inner: layers && kind == NormKind::Layer })
}

/// Which normalisations have weights.
struct Weighted {
    /// Those of the residual stream.
    layers: bool,
    /// That of the MLP's hidden layer.
    inner: bool,
}

fn positions(config: &Config, shape: Shape) -> Result<Positions> {
    let size = config.optional_count("rotary_dim")?.unwrap_or(shape.head_size);
    let theta = config.number("rotary_base", 10_000.0)?;
    let adjacent = config.flag("rotary_adjacent_pairs", false)?;
    let usual = match config.flag("shortformer_pos", false)? {
        true => "shortformer",
        false => "standard",
    };
    let learned = |read_by| Positions::Learned { offset: 0, read_by };
    Ok(match config.text("positional_embedding_type", usual)? {
        "standard" => learned(ReadBy::Everything),
        "shortformer" => learned(ReadBy::QueriesAndKeys),
        "rotary" if size == 0 || size > shape.head_size || size % 2 != 0 || theta <= 1.0 => bail!(
            "{}: keys `rotary_dim` = {size} and `rotary_base` = {theta} are no rotation of heads of {}",
            config.origin(),
            shape.head_size
        ),
        "rotary" => {
            let pairing = if adjacent { Pairing::Neighbours } else { Pairing::Halves };
            Positions::rotary(Rotary { pairing, ..Rotary::plain(theta, size) }, shape.layers)
        }
        "alibi" => {
            let slope = |head: usize| (-8.0 * (head + 1) as f32 / shape.heads as f32).exp2();
            Positions::Alibi { slopes: (0..shape.heads).map(slope).collect(), rounded: false }
        }
        other => bail!(
            "{}: key `positional_embedding_type` = `{}` is not handled; standard, shortformer, rotary and alibi are",
            config.origin(),
            excerpt(other)
        ),
    })
}

/// Reads scale, caps and windows.
fn attention(config: &Config, spec: &mut Spec) -> Result<()> {
    // A divisor; -1 stands for the usual one.
    let divisor = config.number("attn_scale", -1.0)?;
    let scale = match config.flag("use_attn_scale", true)? {
        true if divisor > 0.0 => (1.0 / divisor) as f32,
        true => spec.attention.scale[0],
        false => 1.0,
    };
    let by_layer = config.flag("scale_attn_by_inverse_layer_idx", false)?;
    let divided = |layer: usize| if by_layer { scale / (layer + 1) as f32 } else { scale };
    spec.attention.scale = (0..spec.layers).map(divided).collect();
    spec.attention.cap = cap(config, "attn_scores_soft_cap")?;
    let (window, kinds) = (config.optional_length("window_size")?, config.get("attn_types"));
    if !config.flag("use_local_attn", false)? {
        return Ok(());
    }
    let kinds = kinds.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (Some(window), true) = (window.filter(|&window| window > 0), kinds.len() >= spec.layers) else {
        bail!("{}: `use_local_attn` needs `window_size` and `attn_types` of each layer", config.origin());
    };
    for (windows, kind) in spec.attention.windows.iter_mut().zip(kinds) {
        *windows = match kind.as_str() {
            Some("local") => Some(window),
            Some("global") => None,
            _ => bail!(
                "{}: key `attn_types` has {}; only global and local are handled",
                config.origin(),
                shown(kind)
            ),
        };
    }
    Ok(())
}

/// The cap that `key` gives; -1 stands for none.
fn cap(config: &Config, key: &str) -> Result<Option<f32>> {
    Ok(Some(config.number(key, -1.0)? as f32).filter(|&cap| cap > 0.0))
}

/// The names of the tensors in a file, and how they lie.
struct Names {
    present: BTreeSet<String>,
    /// Whether normalisations are called `norm`.
    old: bool,
    /// Whether positions have the context second.
    turned_positions: bool,
    /// Whether the other matrices have their outputs first, the embedding its inputs.
    turned: bool,
}

impl Names {
    /// The shapes tell, where they differ, how tensors lie.
    fn of(weights: &Weights, shape: Shape) -> Self {
        let present: BTreeSet<String> = weights.iter().map(|tensor| tensor.name.clone()).collect();
        let old = present.contains("norm.w") || present.contains("blocks.0.norm1.w");
        let turned = |name: &str, sides: [usize; 2]| {
            let stored = weights.get(name).map(|tensor| tensor.shape.as_slice()).unwrap_or_default();
            sides[0] != sides[1] && stored.ends_with(&[sides[1], sides[0]])
        };
        Self {
            turned_positions: turned("pos_embed.W_pos", [shape.context, shape.width]),
            turned: turned("blocks.0.attn.W_Q", [shape.width, shape.head_size]),
            present,
            old,
        }
    }

    /// The name in this file of a tensor that is called `name` today.
    fn in_file(&self, name: &str) -> String {
        match self.old {
            true => name.replace("ln_final", "ln").replace("ln", "norm"),
            false => name.into(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.present.contains(&self.in_file(name))
    }

    fn source(&self, slot: Slot, weighted: &Weighted) -> Option<Source> {
        let name = name(slot, weighted)?;
        let is_bias = matches!(
            slot,
            Slot::Layer(_, _, Part::Bias) | Slot::FinalNorm(Part::Bias) | Slot::Unembedding(Part::Bias)
        );
        if is_bias && !self.has(&name) {
            return None;
        }
        let source = Source::whole(self.in_file(&name));
        // A row of the embedding and of the positions is what belongs to a token: these have their outputs first.
        let outputs_first = match slot {
            Slot::Positions => !self.turned_positions,
            Slot::Embedding => !self.turned,
            _ => self.turned,
        };
        let source = source.stored(if outputs_first { Layout::OutIn } else { Layout::InOut });
        use LayerSlot::{Key, Output, Query, Value};
        Some(match slot {
            Slot::Layer(_, Query | Key | Value, _) | Slot::Layer(_, Output, Part::Weight) => source.by_head(),
            _ => source,
        })
    }
}

/// What the tensor of a slot is called today.
fn name(slot: Slot, weighted: &Weighted) -> Option<String> {
    let of = |part, names: [&str; 2]| match part {
        Part::Weight => names[0].to_owned(),
        Part::Bias => names[1].to_owned(),
    };
    Some(match slot {
        Slot::Embedding => "embed.W_E".into(),
        Slot::Positions => "pos_embed.W_pos".into(),
        Slot::FinalNorm(part) if weighted.layers => of(part, ["ln_final.w", "ln_final.b"]),
        Slot::Unembedding(part) => of(part, ["unembed.W_U", "unembed.b_U"]),
        Slot::Layer(_, LayerSlot::AttentionNorm | LayerSlot::MlpNorm, _) if !weighted.layers => return None,
        Slot::Layer(_, LayerSlot::Mlp(MlpSlot::InnerNorm), _) if !weighted.inner => return None,
        Slot::Layer(layer, place, part) => {
            let &(_, names) = PLACES.iter().find(|(known, _)| *known == place)?;
            format!("blocks.{layer}.{}", of(part, names))
        }
        _ => return None,
    })
}
