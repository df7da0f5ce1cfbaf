//! The families of models: each page reads a configuration into a [`Spec`](super::spec::Spec) and says which tensor
//! fills which slot of the decoder.
//!
//! To add a family, write its page and put its line in [`FAMILIES`]; `tests/reference` makes checkpoints to test it.

mod apertus;
mod attn_only;
mod biogpt;
mod bitnet;
mod bloom;
mod cohere;
pub mod common;
mod cwm;
mod deepseek;
mod dots1;
mod ernie4_5;
mod exaone4;
mod experts;
mod falcon;
mod fused;
mod gemma;
pub mod gguf;
mod glm;
mod glm4_moe;
mod gpt2;
mod gpt_bigcode;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod heads;
mod helium;
mod hunyuan;
mod llama;
mod llama4;
mod mellum;
mod minimax_m2;
mod mistral;
mod mixtral;
mod mpt;
mod nanochat;
mod nanogpt;
mod nemotron;
mod olmo;
mod openai_gpt;
mod opt;
mod persimmon;
mod phi;
mod phi3;
mod phimoe;
mod qwen;
pub mod rotary;
mod seed_oss;
mod smollm3;
mod stablelm;
mod starcoder2;
mod ties;
mod transformer_lens;
mod with_images;
mod wrapping;
mod xglm;

use std::{borrow::Cow, cmp::Ordering, collections::BTreeSet, sync::LazyLock};

use anyhow::{Error, Result, anyhow};
use serde_json::{Map, Value};

use self::{gguf::Architecture, wrapping::Unwrapped};
use super::{
    config::Config,
    reads::{self, Reads},
    slot::{LayerSlot, MlpSlot, Part, Plan, Slot},
};
use crate::{
    checkpoint::{gguf::Metadata, weights::Weights},
    text::{excerpt, nearest},
};

/// A family: how its checkpoints are read.
pub struct Family {
    /// `model_type` in `config.json`.
    pub name: &'static str,
    /// The models that belong to it, as people know them.
    pub models: &'static str,
    /// Reads `config.json`; the weights tell which of several spellings a file has.
    pub hub: fn(&Config, &Weights) -> Result<Plan>,
    /// How GGUF files tell the same, for families that have the format.
    pub gguf: Option<&'static Architecture>,
}

/// Every family there is.
pub const FAMILIES: &[Family] = &[
    Family { name: "apertus", models: "Apertus", hub: apertus::plan, gguf: Some(&gguf::APERTUS) },
    Family { name: "arcee", models: "AFM 4.5B", hub: nemotron::arcee, gguf: Some(&gguf::ARCEE) },
    Family {
        name: "attn-only",
        models: "the shipped models, and what `attnscope train` writes without MLPs",
        hub: attn_only::plan,
        gguf: None,
    },
    Family { name: "biogpt", models: "BioGPT", hub: biogpt::plan, gguf: None },
    Family { name: "bitnet", models: "BitNet b1.58 that is not quantised", hub: bitnet::plan, gguf: None },
    Family { name: "bloom", models: "BLOOM, BLOOMZ", hub: bloom::plan, gguf: Some(&gguf::BLOOM) },
    Family { name: "codegen", models: "CodeGen 1 and 2", hub: gptj::codegen, gguf: None },
    Family { name: "cohere", models: "Command R, Aya", hub: cohere::plan, gguf: Some(&gguf::COHERE) },
    Family {
        name: "cohere2",
        models: "Command R7B, Command A",
        hub: cohere::plan2,
        gguf: Some(&gguf::COHERE2),
    },
    Family { name: "cwm", models: "Code World Model", hub: cwm::plan, gguf: None },
    Family { name: "deepseek_v2", models: "DeepSeek V2, Coder V2", hub: deepseek::plan2, gguf: None },
    Family { name: "deepseek_v3", models: "DeepSeek V3, R1", hub: deepseek::plan3, gguf: None },
    Family { name: "dots1", models: "dots.llm1", hub: dots1::plan, gguf: Some(&gguf::DOTS1) },
    Family { name: "ernie4_5", models: "ERNIE 4.5, dense", hub: ernie4_5::plan, gguf: Some(&gguf::ERNIE4_5) },
    Family {
        name: "ernie4_5_moe",
        models: "ERNIE 4.5 with experts",
        hub: ernie4_5::with_experts,
        gguf: Some(&gguf::ERNIE4_5_MOE),
    },
    Family { name: "exaone4", models: "EXAONE 4", hub: exaone4::plan, gguf: Some(&gguf::EXAONE4) },
    Family { name: "falcon", models: "Falcon 1B to 180B", hub: falcon::plan, gguf: Some(&gguf::FALCON) },
    Family { name: "flex_olmo", models: "FlexOlmo", hub: olmo::flex_olmo, gguf: None },
    Family { name: "gemma", models: "Gemma 1, CodeGemma", hub: gemma::plan, gguf: Some(&gguf::GEMMA) },
    Family { name: "gemma2", models: "Gemma 2", hub: gemma::plan2, gguf: Some(&gguf::GEMMA2) },
    Family {
        name: "gemma3",
        models: "Gemma 3 from 4B on, its text model",
        hub: with_images::gemma3,
        gguf: None,
    },
    Family {
        name: "gemma3_text",
        models: "Gemma 3 270M and 1B",
        hub: gemma::plan3,
        gguf: Some(&gguf::GEMMA3),
    },
    Family { name: "glm", models: "GLM 4 of 2024, GLM Edge", hub: glm::plan, gguf: Some(&gguf::GLM) },
    Family { name: "glm4", models: "GLM 4 and Z1 of 2025, dense", hub: glm::plan4, gguf: Some(&gguf::GLM4) },
    Family { name: "glm4_moe", models: "GLM 4.5 to 4.7", hub: glm4_moe::plan, gguf: Some(&gguf::GLM4_MOE) },
    Family { name: "glm4_moe_lite", models: "GLM 4.7 Flash", hub: deepseek::glm, gguf: None },
    Family {
        name: "gpt2",
        models: "GPT-2, DistilGPT-2, the Stanford runs",
        hub: gpt2::plan,
        gguf: Some(&gguf::GPT2),
    },
    Family {
        name: "gpt_bigcode",
        models: "StarCoder, SantaCoder",
        hub: gpt_bigcode::plan,
        gguf: Some(&gguf::GPT_BIGCODE),
    },
    Family { name: "gpt_neo", models: "GPT-Neo, TinyStories", hub: gpt_neo::plan, gguf: None },
    Family {
        name: "gpt_neox",
        models: "GPT-NeoX, Pythia, StableLM alpha",
        hub: gpt_neox::plan,
        gguf: Some(&gguf::GPT_NEOX),
    },
    Family { name: "gpt_oss", models: "gpt-oss", hub: gpt_oss::plan, gguf: Some(&gguf::GPT_OSS) },
    Family { name: "gptj", models: "GPT-J", hub: gptj::plan, gguf: Some(&gguf::GPTJ) },
    Family { name: "granite", models: "Granite 3, dense", hub: granite::plan, gguf: Some(&gguf::GRANITE) },
    Family {
        name: "granite_swa",
        models: "Granite with windows (Swash)",
        hub: granite::with_windows,
        gguf: None,
    },
    Family {
        name: "granitemoe",
        models: "Granite 3 with experts",
        hub: granite::with_experts,
        gguf: Some(&gguf::GRANITE_MOE),
    },
    Family {
        name: "granitemoeshared",
        models: "Granite with experts, some for every token",
        hub: granite::with_experts,
        gguf: Some(&gguf::GRANITE_MOE_SHARED),
    },
    Family { name: "helium", models: "Helium 1", hub: helium::plan, gguf: None },
    Family {
        name: "hunyuan_v1_dense",
        models: "Hunyuan, dense",
        hub: hunyuan::plan,
        gguf: Some(&gguf::HUNYUAN),
    },
    Family {
        name: "hunyuan_v1_moe",
        models: "Hunyuan A13B",
        hub: hunyuan::with_experts,
        gguf: Some(&gguf::HUNYUAN_MOE),
    },
    Family { name: "jais2", models: "Jais 2", hub: nemotron::jais2, gguf: None },
    Family {
        name: "llama",
        models: "Llama 1 to 3, SmolLM 1 and 2, Yi, and many more",
        hub: llama::plan,
        gguf: Some(&gguf::LLAMA),
    },
    Family { name: "llama4", models: "Llama 4, its text model", hub: with_images::llama4, gguf: None },
    Family { name: "llama4_text", models: "the text model of Llama 4 alone", hub: llama4::plan, gguf: None },
    Family { name: "llava", models: "LLaVA 1.5, its text model", hub: with_images::llava, gguf: None },
    Family { name: "mellum", models: "Mellum 2", hub: mellum::plan, gguf: None },
    Family { name: "minimax_m2", models: "MiniMax M2", hub: minimax_m2::plan, gguf: Some(&gguf::MINIMAX_M2) },
    Family { name: "ministral", models: "Ministral 8B of 2024", hub: mistral::ministral, gguf: None },
    Family {
        name: "ministral3",
        models: "Ministral 3, its text model",
        hub: mistral::ministral3,
        gguf: Some(&gguf::MINISTRAL3),
    },
    Family {
        name: "mistral",
        models: "Mistral 7B, Nemo, Small (in GGUF they are llama)",
        hub: mistral::plan,
        gguf: None,
    },
    Family {
        name: "mistral3",
        models: "Mistral Small 3.1, Ministral 3, their text model",
        hub: with_images::mistral3,
        gguf: None,
    },
    Family { name: "mixtral", models: "Mixtral", hub: mixtral::plan, gguf: Some(&gguf::MIXTRAL) },
    Family { name: "mpt", models: "MPT", hub: mpt::plan, gguf: Some(&gguf::MPT) },
    Family { name: "nanochat", models: "nanochat, converted", hub: nanochat::plan, gguf: None },
    Family { name: "nanogpt", models: "checkpoints of nanoGPT (ckpt.pt)", hub: nanogpt::plan, gguf: None },
    Family {
        name: "nemotron",
        models: "Nemotron 3 and 4, Minitron",
        hub: nemotron::plan,
        gguf: Some(&gguf::NEMOTRON),
    },
    Family { name: "olmo", models: "OLMo 1", hub: olmo::plan, gguf: Some(&gguf::OLMO) },
    Family { name: "olmo2", models: "OLMo 2", hub: olmo::plan2, gguf: Some(&gguf::OLMO2) },
    Family { name: "olmo3", models: "OLMo 3", hub: olmo::plan3, gguf: Some(&gguf::OLMO3) },
    Family { name: "olmoe", models: "OLMoE", hub: olmo::olmoe, gguf: Some(&gguf::OLMOE) },
    Family { name: "openai-gpt", models: "the first GPT", hub: openai_gpt::plan, gguf: None },
    Family { name: "opt", models: "OPT, Galactica", hub: opt::plan, gguf: None },
    Family { name: "persimmon", models: "Persimmon", hub: persimmon::plan, gguf: None },
    Family { name: "phi", models: "Phi-1, 1.5 and 2", hub: phi::plan, gguf: Some(&gguf::PHI) },
    Family { name: "phi3", models: "Phi-3, Phi-4", hub: phi3::plan, gguf: Some(&gguf::PHI3) },
    Family { name: "phimoe", models: "Phi-3.5 MoE", hub: phimoe::plan, gguf: None },
    Family { name: "qwen2", models: "Qwen 2, 2.5, QwQ", hub: qwen::qwen2, gguf: Some(&gguf::QWEN2) },
    Family { name: "qwen2_5_vl", models: "Qwen 2.5 VL, its text model", hub: with_images::qwen, gguf: None },
    Family {
        name: "qwen2_moe",
        models: "Qwen 1.5 and 2 with experts",
        hub: qwen::qwen2_moe,
        gguf: Some(&gguf::QWEN2_MOE),
    },
    Family { name: "qwen2_vl", models: "Qwen 2 VL, its text model", hub: with_images::qwen, gguf: None },
    Family { name: "qwen3", models: "Qwen 3", hub: qwen::qwen3, gguf: Some(&gguf::QWEN3) },
    Family {
        name: "qwen3_moe",
        models: "Qwen 3 with experts",
        hub: qwen::qwen3_moe,
        gguf: Some(&gguf::QWEN3_MOE),
    },
    Family { name: "qwen3_vl", models: "Qwen 3 VL, its text model", hub: with_images::qwen, gguf: None },
    Family { name: "seed_oss", models: "Seed-OSS", hub: seed_oss::plan, gguf: Some(&gguf::SEED_OSS) },
    Family { name: "smollm3", models: "SmolLM3", hub: smollm3::plan, gguf: Some(&gguf::SMOLLM3) },
    Family { name: "solar_open", models: "Solar Open", hub: glm4_moe::solar, gguf: None },
    Family {
        name: "stablelm",
        models: "StableLM 2 and 3B",
        hub: stablelm::plan,
        gguf: Some(&gguf::STABLELM),
    },
    Family { name: "starcoder2", models: "StarCoder2", hub: starcoder2::plan, gguf: Some(&gguf::STARCODER2) },
    Family {
        name: TRANSFORMER_LENS,
        models: "TransformerLens's own: Attn_Only, GELU, SoLU, ARENA's",
        hub: transformer_lens::plan,
        gguf: None,
    },
    Family { name: "vaultgemma", models: "VaultGemma", hub: gemma::vault, gguf: None },
    Family { name: "xglm", models: "XGLM", hub: xglm::plan, gguf: None },
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

impl Family {
    /// What its classes in the reference read; of the shipped models this program is the reference.
    pub fn reads(&self) -> Option<&'static Reads> {
        static OWN: LazyLock<Reads> = LazyLock::new(Reads::own);
        match self.name {
            "attn-only" => Some(&OWN),
            name => reads::of(name),
        }
    }

    /// Reads the model of this family that `values` of the file `origin` describe, whatever its tensors' names begin with.
    ///
    /// # Errors
    /// When the configuration is none of this family, or not handled, or the weights are of several models.
    pub fn read<'w>(
        &self,
        values: &Map<String, Value>,
        weights: &'w Weights,
        origin: &str,
    ) -> Result<(Reading, Cow<'w, Weights>)> {
        let read = |weights: &Weights| {
            let config = self.config(values, weights, origin)?;
            let plan = (self.hub)(&config, weights)?;
            Ok(Reading { plan, remarks: config.remarks() })
        };
        // Heads are beside what is wrapped, or in it.
        let (weights, mut others) = heads::set_apart(Cow::Borrowed(weights));
        let Unwrapped { mut reading, weights, remark } = wrapping::unwrap(weights, origin, &read)?;
        let (weights, inside) = heads::set_apart(weights);
        others.extend(inside);
        let (plan, of_ties) = ties::heed(reading.plan, &weights);
        let (plan, of_heads) = heads::heed(plan, &weights, &others, values);
        let remarks = [remark, of_ties, of_heads].into_iter().flatten();
        let remarks = remarks.map(|remark| format!("{origin}: {remark}"));
        reading.remarks.extend(remarks);
        Ok((Reading { plan, ..reading }, weights))
    }

    /// The configuration `values` of a model of this family with these weights.
    pub fn config(&self, values: &Map<String, Value>, weights: &Weights, origin: &str) -> Result<Config> {
        Ok(Config::new(values.clone(), origin).of(self.reads())?.within(weights.parameters()))
    }
}

/// A model as its family reads it.
pub struct Reading {
    /// What it is, and where its weights are.
    pub plan: Plan,
    /// What is worth a line each.
    pub remarks: Vec<String>,
}

/// The family that `model_type` of `origin` names.
///
/// # Errors
/// When there is none of that name: the message has the one that the rest of the configuration and the tensors are most
/// like, and the list.
pub fn find(
    name: &str,
    values: &Map<String, Value>,
    weights: &Weights,
    origin: &str,
) -> Result<&'static Family> {
    if let Some(family) = FAMILIES.iter().find(|family| family.name == name) {
        return Ok(family);
    }
    /// How alike names are that differ by a slip.
    const SLIP: f64 = 0.9;
    let likeness = |family: &&Family| {
        let fit = family
            .read(values, weights, origin)
            .map_or(0.0, |(reading, weights)| fit(&reading.plan, &weights));
        let alike = strsim::jaro_winkler(family.name, name);
        // A name that is all but right says more than keys, which many families have in common.
        let slip = f64::from(u8::from(alike > SLIP));
        [fit, slip, reads::known_share(family.name, values), alike]
    };
    let most_like = FAMILIES
        .iter()
        .max_by(|a, b| likeness(a).partial_cmp(&likeness(b)).unwrap_or(Ordering::Equal))
        .map_or("", |family| family.name);
    Err(unknown("model_type", name, origin, most_like, FAMILIES.iter().map(|family| family.name).collect()))
}

/// The share of the tensors that a plan has a place for in its layers; none where a matrix is missing that it needs.
fn fit(plan: &Plan, weights: &Weights) -> f64 {
    use LayerSlot as At;
    let spec = &plan.spec;
    let mut found = BTreeSet::new();
    for layer in 0..spec.layers.min(weights.iter().count()) {
        let mlp = spec.mlp.get(layer);
        let mut needed = vec![At::Query, At::Key, At::Value, At::Output];
        needed.extend(spec.attention.query_key_norm.iter().flat_map(|_| [At::QueryNorm, At::KeyNorm]));
        needed.extend(mlp.iter().flat_map(|mlp| match mlp.experts {
            Some(_) => vec![At::Router],
            None if mlp.gated => [MlpSlot::Gate, MlpSlot::Up, MlpSlot::Down].map(At::Mlp).to_vec(),
            None => [MlpSlot::Up, MlpSlot::Down].map(At::Mlp).to_vec(),
        }));
        let norms = [At::AttentionNorm, At::AttentionPostNorm, At::MlpNorm, At::MlpPostNorm];
        for place in needed.iter().copied().chain(norms) {
            for part in [Part::Weight, Part::Bias] {
                match (plan.source)(Slot::Layer(layer, place, part)) {
                    Some(source) if weights.contains(&source.tensor) => drop(found.insert(source.tensor)),
                    Some(_) if needed.contains(&place) => return 0.0,
                    _ => {}
                }
            }
        }
    }
    found.len() as f64 / weights.iter().count().max(1) as f64
}

/// The family of a GGUF file whose `general.architecture` is `name`: the one whose own keys the metadata has, where several
/// share the architecture.
///
/// # Errors
/// As for [`find`].
pub fn find_gguf(
    name: &str,
    metadata: &Metadata,
    origin: &str,
) -> Result<(&'static Family, &'static Architecture)> {
    let with = || FAMILIES.iter().filter_map(|family| Some((family, family.gguf?)));
    let of = |meant: Option<bool>| {
        with().find(|(_, known)| known.name == name && known.is_meant(metadata) == meant)
    };
    match of(Some(true)).or_else(|| of(None)) {
        Some(found) => Ok(found),
        None => {
            let list: BTreeSet<&str> = with().map(|(_, known)| known.name).collect();
            let nearest = nearest(name, list.iter().copied()).unwrap_or_default();
            Err(unknown("general.architecture", name, origin, nearest, list))
        }
    }
}

fn unknown(key: &str, name: &str, origin: &str, nearest: &str, list: BTreeSet<&str>) -> Error {
    let list = Vec::from_iter(list).join(", ");
    anyhow!(
        "{origin}: {key} `{}` is not known; the nearest that is: `{nearest}` (known: {list})",
        excerpt(name)
    )
}
