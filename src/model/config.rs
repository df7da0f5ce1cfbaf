//! Reading a model's configuration key by key, so that no key that changes attention goes unnoticed.

use std::{cell::RefCell, collections::BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Words in the names of keys that change attention, when they are not neutral.
const ATTENTION_WORDS: [&str; 19] = [
    "attn",
    "attention",
    "rope",
    "rotary",
    "window",
    "softcap",
    "alibi",
    "qk_",
    "q_norm",
    "k_norm",
    "clip",
    "sink",
    "scale",
    "scaling",
    "multiplier",
    "position",
    "chunk",
    "layer_types",
    "smear",
];

/// Keys with such words that change nothing in the attention of a finished model, whatever the family.
const HARMLESS: [&str; 12] = [
    "attention_dropout",
    "attn_dropout",
    "attn_pdrop",
    "attn_implementation",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "summary_proj_to_labels",
    "initializer_scale",
    "max_position_embeddings",
    "n_positions",
    "use_flash_attn",
    "rope_interleaved",
];

/// A configuration, and which of its keys have been read.
pub struct Config {
    values: Map<String, Value>,
    origin: String,
    read: RefCell<BTreeSet<String>>,
}

impl Config {
    /// The configuration `values`, which messages call `origin`.
    pub fn new(values: Map<String, Value>, origin: impl Into<String>) -> Self {
        Self { values, origin: origin.into(), read: RefCell::default() }
    }

    /// The same with what the object `defaults` says of keys that are absent; one that is null stays so.
    pub fn with_defaults(&self, defaults: Value) -> Self {
        let mut values = self.values.clone();
        if let Value::Object(defaults) = defaults {
            for (key, value) in defaults {
                values.entry(key).or_insert(value);
            }
        }
        Self::new(values, self.origin.clone())
    }

    /// The configuration in the object `key`.
    pub fn part(&self, key: &str) -> Result<Self> {
        match self.get(key) {
            Some(Value::Object(values)) => Ok(Self::new(values.clone(), format!("{}: {key}", self.origin))),
            _ => bail!("{}: key `{key}` is missing, or no object", self.origin),
        }
    }

    /// Its name in messages: a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The value of `key`; `None` where it is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.read.borrow_mut().insert(key.into());
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Whether `key` is there, be it null.
    pub fn holds(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A whole number.
    pub fn optional_count(&self, key: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        // Larger sizes than these no model has; products of them could overflow, and of layers and heads there are lists.
        let most = if ["layer", "head"].iter().any(|word| key.contains(word)) { 1 << 16 } else { 1 << 32 };
        match value.as_u64() {
            Some(number) if number <= most => Ok(Some(number as usize)),
            _ => bail!("{}: key `{key}` is {value}, no reasonable count", self.origin),
        }
    }

    /// A whole number above zero that must be there.
    pub fn count(&self, key: &str) -> Result<usize> {
        match self.optional_count(key)? {
            Some(0) => bail!("{}: key `{key}` is 0", self.origin),
            Some(number) => Ok(number),
            None => bail!("{}: key `{key}` is missing", self.origin),
        }
    }

    /// A whole number that must be there and may be zero.
    pub fn count_from_zero(&self, key: &str) -> Result<usize> {
        self.optional_count(key)?.with_context(|| format!("{}: key `{key}` is missing", self.origin))
    }

    /// A number, or `default`.
    pub fn number(&self, key: &str, default: f64) -> Result<f64> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value
            .as_f64()
            .filter(|number| number.is_finite())
            .with_context(|| format!("{}: key `{key}` is {value}, no number", self.origin))
    }

    /// True or false, or `default`.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_bool().with_context(|| format!("{}: key `{key}` is {value}, not true or false", self.origin))
    }

    /// Text, or `default`.
    pub fn text<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str> {
        let Some(value) = self.get(key) else { return Ok(default) };
        value.as_str().with_context(|| format!("{}: key `{key}` is {value}, no text", self.origin))
    }

    /// Refuses keys that were not read and would change attention.
    pub fn finish(&self) -> Result<()> {
        let read = self.read.borrow();
        for (key, value) in &self.values {
            let neutral = match value {
                Value::Null => true,
                Value::Bool(set) => !set,
                Value::Number(number) => matches!(number.as_f64(), Some(0.0 | 1.0)),
                Value::Array(items) => items.is_empty(),
                Value::Object(items) => items.is_empty(),
                Value::String(text) => matches!(text.as_str(), "none" | "default"),
            };
            let matters =
                ATTENTION_WORDS.iter().any(|word| key.contains(word)) && !HARMLESS.contains(&key.as_str());
            if matters && !neutral && !read.contains(key) {
                bail!(
                    "{}: key `{}` = {value} may change attention and is not handled for this family; \
                     attnscope will not show numbers that could be wrong",
                    self.origin,
                    key.escape_debug()
                );
            }
        }
        Ok(())
    }
}
