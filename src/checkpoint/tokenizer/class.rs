//! The classes of tokenizers in Python's transformers that keep the vocabulary and the merges of a `tokenizer.json` and put
//! steps of their own in the place of the others, and which of them `AutoTokenizer` takes for a checkpoint.
//!
//! `classes.json` is made from the library's own classes (`tests/reference/classes.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Library};

use super::beside::Beside;

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("classes.json")).unwrap_or_default());

#[derive(Default, Deserialize)]
struct Table {
    classes: BTreeMap<String, Class>,
    /// The class of each kind of model; `None` for the one that takes the file as it is.
    registered: BTreeMap<String, Option<String>>,
    /// Kinds whose registered class goes before one that the files declare.
    corrected: BTreeSet<String>,
}

/// A class that builds steps of its own.
#[derive(Deserialize)]
pub(super) struct Class {
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Value,
    model: Flags,
}

#[derive(Deserialize)]
struct Flags {
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
}

impl Class {
    /// The class that reads a `tokenizer.json` with those files beside it; `None` where the file is taken as it is.
    pub(super) fn of(library: &Library, beside: &Beside) -> Option<&'static Self> {
        let ModelWrapper::BPE(_) = library.get_model() else { return None };
        let declared = beside.declared_class();
        let kind = beside.model_type().unwrap_or_default();
        let registered = TABLE.registered.get(kind).map(Option::as_deref);
        let is_corrected = TABLE.corrected.contains(kind);
        let name = match (declared, registered) {
            // A name that many byte-level files still have from before there was another.
            (Some("LlamaTokenizer"), _) if !is_corrected && is_byte_level(library) => None,
            (Some(declared), Some(Some(registered))) => {
                Some(if is_corrected { registered } else { declared })
            }
            (Some(_), Some(None)) => None,
            (Some(declared), None) => Some(declared),
            (None, registered) => registered.flatten(),
        };
        TABLE.classes.get(name?)
    }

    /// Puts its steps into `library`.
    ///
    /// # Errors
    /// When the library does not take them.
    pub(super) fn rebuild(&self, library: &mut Library, beside: &Beside) -> Result<()> {
        let mut steps = self.pre_tokenizer.clone();
        match steps.get_mut("pretokenizers").and_then(Value::as_array_mut) {
            Some(all) => all.iter_mut().for_each(|step| set_prefix_space(step, beside)),
            None => set_prefix_space(&mut steps, beside),
        }
        let steps: PreTokenizerWrapper = serde_json::from_value(steps)?;
        library
            .with_normalizer(self.normalizer.clone())
            .map_err(|e| anyhow!(e))?
            .with_pre_tokenizer(Some(steps));
        let Flags { fuse_unk, byte_fallback, ignore_merges } = self.model;
        if let ModelWrapper::BPE(model) = library.get_model()
            && (model.fuse_unk, model.byte_fallback, model.ignore_merges)
                != (fuse_unk, byte_fallback, ignore_merges)
        {
            let mut model = model.clone();
            (model.fuse_unk, model.byte_fallback, model.ignore_merges) =
                (fuse_unk, byte_fallback, ignore_merges);
            library.with_model(model);
        }
        Ok(())
    }
}

/// Says of a step whether it puts a space before the text, as `add_prefix_space` has it.
fn set_prefix_space(step: &mut Value, beside: &Beside) {
    match (step["type"].as_str(), beside.prefix_space()) {
        (Some("ByteLevel"), Some(adds)) => step["add_prefix_space"] = adds.into(),
        (Some("Metaspace"), Some(false)) => step["prepend_scheme"] = "never".into(),
        (Some("Metaspace"), _) if beside.is_legacy() => step["prepend_scheme"] = "always".into(),
        _ => (),
    }
}

/// Whether the file cuts bytes, or puts them together.
fn is_byte_level(library: &Library) -> bool {
    let steps =
        [serde_json::to_value(library.get_pre_tokenizer()), serde_json::to_value(library.get_decoder())];
    steps.into_iter().flatten().any(|step| step.to_string().contains("\"ByteLevel\""))
}
