//! Llama: RMS normalisation, rotary positions, grouped-query attention, gated MLP.
//!
//! Quirks: GGUF files store query and key rows so that neighbours, not halves, are rotated together; the patterns are
//! the same. Llama 3.1 slows the low rotary frequencies down (`rope_scaling`, `rope_parameters` in newer
//! configurations); GGUF carries those factors as the tensor `rope_freqs.weight` or has them in its metadata.

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json};

use crate::{
    checkpoint::{gguf::Metadata, weights::Weights},
    model::{
        config::Config,
        slot::{LayerSlot, Part, Plan, Slot, Source},
        spec::{Activation, Mlp, Norm, NormKind, Pairing, Positions, Rotary, Spec},
    },
};

/// Reads `config.json`.
pub fn plan(config: &Config, _: &Weights) -> Result<Plan> {
    let name = config.text("hidden_act", "silu")?;
    let activation = Activation::from_name(name).with_context(|| {
        format!("{}: `hidden_act` = `{}` is not known", config.origin(), name.escape_debug())
    })?;
    let layers = config.count("num_hidden_layers")?;
    let mlp = Mlp { inner: config.count("intermediate_size")?, activation, gated: true };
    plan_with(config, layers, Some(mlp), false)
}

/// The plan of a model named and built as Llama, with so many layers, that MLP, and keys smeared or not.
pub(super) fn plan_with(
    config: &Config,
    layers: usize,
    mlp: Option<Mlp>,
    smeared_keys: bool,
) -> Result<Plan> {
    let width = config.count("hidden_size")?;
    let heads = config.count("num_attention_heads")?;
    let kv_heads = config.optional_count("num_key_value_heads")?.unwrap_or(heads);
    let head_size = config.optional_count("head_dim")?.unwrap_or(width / heads);
    if kv_heads == 0 || heads % kv_heads != 0 {
        bail!("{}: {heads} query heads cannot share {kv_heads} key/value heads", config.origin());
    }
    if head_size == 0 || head_size % 2 != 0 {
        bail!("{}: rotary positions need an even head size, not {head_size}", config.origin());
    }
    let spec = Spec {
        layers,
        width,
        heads,
        kv_heads,
        head_size,
        vocabulary: config.count("vocab_size")?,
        context: config.optional_count("max_position_embeddings")?.unwrap_or(2048),
        positions: Positions::Rotary(Rotary {
            pairing: Pairing::Halves,
            frequencies: frequencies(config, head_size)?,
        }),
        norm: Norm { kind: NormKind::Rms, epsilon: config.number("rms_norm_eps", 1e-6)? as f32 },
        scale: Spec::usual_scale(layers, head_size),
        mlp,
        smeared_keys,
    };
    let tied = config.flag("tie_word_embeddings", false)?;
    let attention_bias = config.flag("attention_bias", false)?;
    let mlp_bias = config.flag("mlp_bias", false)?;
    config.finish()?;
    let source = move |slot| {
        let tensor = match slot {
            Slot::Embedding => "model.embed_tokens.weight".to_string(),
            Slot::FinalNorm(Part::Weight) => "model.norm.weight".to_string(),
            Slot::Unembedding if !tied => "lm_head.weight".to_string(),
            Slot::Unembedding | Slot::Positions | Slot::FinalNorm(Part::Bias) => return None,
            Slot::Layer(layer, place, part) => {
                let (place, has_bias) = match place {
                    LayerSlot::AttentionNorm => ("input_layernorm", false),
                    LayerSlot::Query => ("self_attn.q_proj", attention_bias),
                    LayerSlot::Key => ("self_attn.k_proj", attention_bias),
                    LayerSlot::Value => ("self_attn.v_proj", attention_bias),
                    LayerSlot::Output => ("self_attn.o_proj", attention_bias),
                    LayerSlot::MlpNorm => ("post_attention_layernorm", false),
                    LayerSlot::Gate => ("mlp.gate_proj", mlp_bias),
                    LayerSlot::Up => ("mlp.up_proj", mlp_bias),
                    LayerSlot::Down => ("mlp.down_proj", mlp_bias),
                    LayerSlot::KeySmear => return None,
                };
                match part {
                    Part::Weight => format!("model.layers.{layer}.{place}.weight"),
                    Part::Bias if has_bias => format!("model.layers.{layer}.{place}.bias"),
                    Part::Bias => return None,
                }
            }
        };
        Some(Source::whole(tensor))
    };
    Ok(Plan { spec, source: Box::new(source) })
}

/// Rotary angles per position, `[head_size / 2]`, with the scaling that the configuration asks for.
fn frequencies(config: &Config, head_size: usize) -> Result<Vec<f32>> {
    let (key, scaling) = match config.get("rope_parameters") {
        Some(scaling) => ("rope_parameters", Some(scaling)),
        None => ("rope_scaling", config.get("rope_scaling")),
    };
    let theta = config.number("rope_theta", 10_000.0)?;
    let Some(scaling) = scaling else { return Ok(Rotary::frequencies(theta, head_size)) };
    let scaling =
        scaling.as_object().with_context(|| format!("{}: key `{key}` is no object", config.origin()))?;
    let scaling = Config::new(scaling.clone(), format!("{}: {key}", config.origin()));
    let theta = scaling.number("rope_theta", theta)?;
    let mut frequencies = Rotary::frequencies(theta, head_size);
    // Older configurations call the kind `type`.
    let kind = match scaling.get("rope_type") {
        Some(_) => scaling.text("rope_type", "default")?,
        None => scaling.text("type", "default")?,
    };
    match kind {
        "default" => {}
        "linear" => {
            let factor = scaling.number("factor", 1.0)? as f32;
            frequencies.iter_mut().for_each(|frequency| *frequency /= factor);
        }
        "llama3" => slow_down(&mut frequencies, &scaling)?,
        other => bail!("{}: rotary scaling `{}` is not handled", scaling.origin(), other.escape_debug()),
    }
    scaling.finish()?;
    Ok(frequencies)
}

/// Llama 3.1's scaling: wavelengths beyond the old context are stretched by `factor`, short ones stay, and those between
/// are blended.
fn slow_down(frequencies: &mut [f32], scaling: &Config) -> Result<()> {
    let factor = scaling.number("factor", 8.0)?;
    let low = scaling.number("low_freq_factor", 1.0)?;
    let high = scaling.number("high_freq_factor", 4.0)?;
    let old_context = scaling.count("original_max_position_embeddings")? as f64;
    for frequency in frequencies {
        let turns = old_context * f64::from(*frequency) / std::f64::consts::TAU;
        let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
        *frequency = (f64::from(*frequency) * (kept + (1.0 - kept) / factor)) as f32;
    }
    Ok(())
}

/// Reads the metadata of a GGUF file by way of the keys that `config.json` would have.
pub fn gguf_plan(metadata: &Metadata, weights: &Weights, origin: &str) -> Result<Plan> {
    const KEYS: [(&str, &str); 8] = [
        ("block_count", "num_hidden_layers"),
        ("embedding_length", "hidden_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.layer_norm_rms_epsilon", "rms_norm_eps"),
        ("feed_forward_length", "intermediate_size"),
        ("context_length", "max_position_embeddings"),
    ];
    const IGNORED: [&str; 4] = [
        "attention.value_length",
        "rope.dimension_count",
        "vocab_size",
        "rope.scaling.original_context_length",
    ];
    let mut values = Map::new();
    for (key, value) in metadata {
        let Some(key) = key.strip_prefix("llama.") else { continue };
        let Some(value) = number(value) else {
            bail!("{origin}: key `llama.{}` is no number", key.escape_debug())
        };
        match KEYS.iter().find(|(gguf, _)| *gguf == key) {
            Some((_, name)) => values.insert((*name).into(), value),
            None if key == "rope.freq_base" => values.insert("rope_theta".into(), value),
            None if IGNORED.contains(&key) => None,
            // Under its own name, so that it is refused by it where it changes attention.
            None => values.insert(key.into(), value),
        };
    }
    let Some(Value::Array(tokens)) = metadata.get("tokenizer.ggml.tokens") else {
        bail!("{origin}: key `tokenizer.ggml.tokens` is missing: the size of the vocabulary is not known");
    };
    values.insert("vocab_size".into(), tokens.len().into());
    let config = Config::new(values, origin);
    let plan = plan(&config, weights)?;
    let mut spec = plan.spec;
    if let Positions::Rotary(rotary) = &mut spec.positions {
        rotary.pairing = Pairing::Neighbours;
        if weights.contains("rope_freqs.weight") {
            let factors = weights.get("rope_freqs.weight")?.to_f32();
            rotary.frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        }
    }
    let tied = !weights.contains("output.weight");
    let source = move |slot| if tied && slot == Slot::Unembedding { None } else { gguf_source(slot) };
    Ok(Plan { spec, source: Box::new(source) })
}

/// A number of GGUF metadata as JSON.
fn number(value: &Value) -> Option<Json> {
    match value {
        Value::F32(number) => Some(f64::from(*number).into()),
        Value::F64(number) => Some((*number).into()),
        Value::Bool(flag) => Some((*flag).into()),
        Value::String(text) => Some(text.as_str().into()),
        other => other.to_u64().ok().or_else(|| other.to_u32().ok().map(u64::from)).map(Into::into),
    }
}

fn gguf_source(slot: Slot) -> Option<Source> {
    let tensor = match slot {
        Slot::Embedding => "token_embd.weight".to_string(),
        Slot::FinalNorm(Part::Weight) => "output_norm.weight".to_string(),
        Slot::Unembedding => "output.weight".to_string(),
        Slot::Layer(layer, place, Part::Weight) => {
            let place = match place {
                LayerSlot::AttentionNorm => "attn_norm",
                LayerSlot::Query => "attn_q",
                LayerSlot::Key => "attn_k",
                LayerSlot::Value => "attn_v",
                LayerSlot::Output => "attn_output",
                LayerSlot::MlpNorm => "ffn_norm",
                LayerSlot::Gate => "ffn_gate",
                LayerSlot::Up => "ffn_up",
                LayerSlot::Down => "ffn_down",
                LayerSlot::KeySmear => return None,
            };
            format!("blk.{layer}.{place}.weight")
        }
        Slot::Positions | Slot::FinalNorm(Part::Bias) | Slot::Layer(_, _, Part::Bias) => return None,
    };
    Some(Source::whole(tensor))
}
