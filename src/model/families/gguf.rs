//! Models in GGUF files: their metadata read by way of the keys that `config.json` would have, and the names of their tensors.
//!
//! Quirks: files of Llama store query and key rows so that neighbours, not halves, are rotated together; the patterns are the
//! same. They carry Llama 3.1's factors as the tensor `rope_freqs.weight` or have them in their metadata.

use anyhow::{Result, bail};
use candle_core::quantized::gguf_file::Value;
use serde_json::{Map, Value as Json};

use super::llama;
use crate::{
    checkpoint::{gguf::Metadata, weights::Weights},
    model::{
        config::Config,
        rotary::{Frequencies, Pairing},
        slot::{LayerSlot, MlpSlot, Part, Plan, Slot, Source},
        spec::Positions,
    },
};

/// What rotary frequencies are divided by, `[size / 2]`.
const FACTORS: &str = "rope_freqs.weight";

/// Reads the metadata of a GGUF file by way of the keys that `config.json` would have.
pub fn llama(metadata: &Metadata, weights: &Weights, origin: &str) -> Result<Plan> {
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
    let plan = llama::plan(&config, weights)?;
    let mut spec = plan.spec;
    if let Positions::Rotary { tables, .. } = &mut spec.positions {
        for table in tables {
            table.pairing = Pairing::Neighbours;
            if let (true, Frequencies::Fixed(angles)) = (weights.contains(FACTORS), &mut table.frequencies) {
                let factors = weights.get(FACTORS)?.to_f32();
                angles.iter_mut().zip(factors).for_each(|(angle, factor)| *angle /= factor);
            }
        }
    }
    let tied = !weights.contains("output.weight");
    let head = Slot::Unembedding(Part::Weight);
    let mut plan = Plan::new(spec, move |slot| if tied && slot == head { None } else { source(slot) });
    plan.unused = &[FACTORS];
    Ok(plan)
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

fn source(slot: Slot) -> Option<Source> {
    let tensor = match slot {
        Slot::Embedding => "token_embd.weight".to_string(),
        Slot::FinalNorm(Part::Weight) => "output_norm.weight".to_string(),
        Slot::Unembedding(Part::Weight) => "output.weight".to_string(),
        Slot::Layer(layer, place, Part::Weight) => {
            let place = match place {
                LayerSlot::AttentionNorm => "attn_norm",
                LayerSlot::Query => "attn_q",
                LayerSlot::Key => "attn_k",
                LayerSlot::Value => "attn_v",
                LayerSlot::Output => "attn_output",
                LayerSlot::MlpNorm => "ffn_norm",
                LayerSlot::Mlp(MlpSlot::Gate) => "ffn_gate",
                LayerSlot::Mlp(MlpSlot::Up) => "ffn_up",
                LayerSlot::Mlp(MlpSlot::Down) => "ffn_down",
                _ => return None,
            };
            format!("blk.{layer}.{place}.weight")
        }
        _ => return None,
    };
    Some(Source::whole(tensor))
}
