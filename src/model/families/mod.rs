//! The families of models: each page reads a configuration into a [`Spec`](super::spec::Spec) and says which tensor
//! fills which slot of the decoder.
//!
//! To add a family, write its page and put its line in [`FAMILIES`]; `tests/reference` makes checkpoints to test it.

mod attn_only;
mod bloom;
mod cohere;
pub mod common;
mod experts;
mod falcon;
mod fused;
mod gemma;
mod gguf;
mod gpt2;
mod gpt_bigcode;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod llama;
mod mistral;
mod mixtral;
mod mpt;
mod nanogpt;
mod olmo;
mod opt;
mod phi3;
mod phi;
mod qwen;
pub mod rotary;
mod smollm3;
mod stablelm;
mod starcoder2;
mod transformer_lens;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use super::{config::Config, slot::Plan};
use crate::{
    checkpoint::{gguf::Metadata, weights::Weights},
    text::nearest,
};

/// Reads the metadata of a GGUF file, which messages call by its path; the weights tell what it leaves open.
type ReadGguf = fn(&Metadata, &Weights, &str) -> Result<Plan>;

/// A family: how its checkpoints are read.
pub struct Family {
    /// `model_type` in `config.json`, `general.architecture` in GGUF.
    pub name: &'static str,
    /// Reads `config.json`; the weights tell which of several spellings a file has.
    pub hub: fn(&Config, &Weights) -> Result<Plan>,
    /// Reads the metadata of a GGUF file, for families that have the format.
    pub gguf: Option<ReadGguf>,
}

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    Family { name: "attn-only", hub: attn_only::plan, gguf: None },
    Family { name: "bloom", hub: bloom::plan, gguf: None },
    Family { name: "codegen", hub: gptj::codegen, gguf: None },
    Family { name: "cohere", hub: cohere::plan, gguf: None },
    Family { name: "cohere2", hub: cohere::plan2, gguf: None },
    Family { name: "falcon", hub: falcon::plan, gguf: None },
    Family { name: "gemma", hub: gemma::plan, gguf: None },
    Family { name: "gemma2", hub: gemma::plan2, gguf: None },
    Family { name: "gemma3", hub: gemma::plan3_with_images, gguf: None },
    Family { name: "gemma3_text", hub: gemma::plan3, gguf: None },
    Family { name: "gpt2", hub: gpt2::plan, gguf: None },
    Family { name: "gpt_bigcode", hub: gpt_bigcode::plan, gguf: None },
    Family { name: "gpt_neo", hub: gpt_neo::plan, gguf: None },
    Family { name: "gpt_neox", hub: gpt_neox::plan, gguf: None },
    Family { name: "gpt_oss", hub: gpt_oss::plan, gguf: None },
    Family { name: "gptj", hub: gptj::plan, gguf: None },
    Family { name: "granite", hub: granite::plan, gguf: None },
    Family { name: "llama", hub: llama::plan, gguf: Some(gguf::llama) },
    Family { name: "mistral", hub: mistral::plan, gguf: None },
    Family { name: "mixtral", hub: mixtral::plan, gguf: None },
    Family { name: "mpt", hub: mpt::plan, gguf: None },
    Family { name: "nanogpt", hub: nanogpt::plan, gguf: None },
    Family { name: "olmo", hub: olmo::plan, gguf: None },
    Family { name: "olmo2", hub: olmo::plan2, gguf: None },
    Family { name: "olmo3", hub: olmo::plan3, gguf: None },
    Family { name: "opt", hub: opt::plan, gguf: None },
    Family { name: "phi", hub: phi::plan, gguf: None },
    Family { name: "phi3", hub: phi3::plan, gguf: None },
    Family { name: "qwen2", hub: qwen::qwen2, gguf: None },
    Family { name: "qwen3", hub: qwen::qwen3, gguf: None },
    Family { name: "qwen3_moe", hub: qwen::qwen3_moe, gguf: None },
    Family { name: "smollm3", hub: smollm3::plan, gguf: None },
    Family { name: "stablelm", hub: stablelm::plan, gguf: None },
    Family { name: "starcoder2", hub: starcoder2::plan, gguf: None },
    Family { name: TRANSFORMER_LENS, hub: transformer_lens::plan, gguf: None },
];

/// The family of configurations that name none, where their keys tell.
const TRANSFORMER_LENS: &str = "transformer_lens";

/// What `config.json` calls its family; models of TransformerLens are known by their keys.
pub fn name_of(values: &Map<String, Value>) -> Option<&str> {
    match values.get("model_type") {
        Some(name) => name.as_str(),
        None => transformer_lens::is_meant(values).then_some(TRANSFORMER_LENS),
    }
}

/// The family of that name, which `key` of `origin` gives.
///
/// # Errors
/// When there is none: the message has the nearest and the list.
pub fn find(name: &str, key: &str, origin: &str) -> Result<&'static Family> {
    if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
        return Ok(family);
    }
    let list: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let nearest = nearest(name, list.iter().copied()).unwrap_or_default();
    bail!(
        "{origin}: {key} `{}` is not known; the nearest that is: `{nearest}` (known: {})",
        name.escape_debug(),
        list.join(", ")
    )
}
