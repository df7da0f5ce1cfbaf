//! What the small files beside a vocabulary add to it: special tokens, and which token opens a sequence.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::tokens::{Kind, Tokens};
use super::{Bos, Piece};

/// Files beside a vocabulary; `null` where one is missing.
pub(super) struct Beside {
    /// `tokenizer_config.json`.
    tokenizer: Value,
    /// `special_tokens_map.json`.
    specials: Value,
    /// `added_tokens.json`: ids by token.
    added: Value,
    /// `config.json`.
    model: Value,
}

impl Beside {
    /// Reads the files in a folder.
    ///
    /// # Errors
    /// When one is there and is no JSON; the message names it.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| read_json(&folder.join(name));
        Ok(Self {
            tokenizer: read("tokenizer_config.json")?,
            specials: read("special_tokens_map.json")?,
            added: read("added_tokens.json")?,
            model: read("config.json")?,
        })
    }

    /// Which token opens a sequence, and whether it comes first: `bos_token` and `add_bos_token`, failing that the model's
    /// `bos_token_id`.
    pub(super) fn bos(&self, pieces: &[Piece]) -> Bos {
        let named = [&self.tokenizer, &self.specials].into_iter().find_map(|file| name(&file["bos_token"]));
        let id = named.and_then(|name| pieces.iter().position(|piece| *piece.bytes == *name.as_bytes()));
        let id = id.and_then(|id| u32::try_from(id).ok());
        let id = id.or_else(|| self.model["bos_token_id"].as_u64()?.try_into().ok());
        Bos { id, adds: self.tokenizer["add_bos_token"].as_bool() }
    }

    /// The class of tokenizers in Python's transformers, without the `Fast` that the name may end in; those that take any
    /// vocabulary say nothing.
    pub(super) fn class(&self) -> Option<&str> {
        let class = self.tokenizer["tokenizer_class"].as_str()?;
        let class = class.strip_suffix("Fast").unwrap_or(class);
        Some(class).filter(|class| !["PreTrainedTokenizer", "TokenizersBackend"].contains(class))
    }

    /// The family of the model.
    pub(super) fn model_type(&self) -> Option<&str> {
        self.model["model_type"].as_str()
    }

    /// Whether a space is put before a text.
    pub(super) fn adds_prefix_space(&self) -> bool {
        self.tokenizer["add_prefix_space"].as_bool().unwrap_or(false)
    }

    /// Names of tokens that have a purpose: `bos_token`, `pad_token` and the like.
    pub(super) fn special_tokens(&self) -> BTreeSet<&str> {
        let entries = [&self.tokenizer, &self.specials].into_iter().filter_map(Value::as_object).flatten();
        let named = entries.filter(|(key, _)| key.ends_with("_token") || key.ends_with("_special_tokens"));
        named
            .flat_map(|(_, value)| value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice))
            .filter_map(name)
            .collect()
    }

    /// Puts the tokens that were added to the vocabulary to the others.
    ///
    /// # Errors
    /// When one has an id that no vocabulary has.
    pub(super) fn add_to(&self, tokens: &mut Tokens) -> Result<()> {
        let number = |id: &Value| id.as_u64()?.try_into().ok();
        let added = self.added.as_object().into_iter().flatten();
        let added = added.filter_map(|(text, id)| Some((number(id)?, text.as_str())));
        let decoder = self.tokenizer["added_tokens_decoder"].as_object().into_iter().flatten();
        let decoder = decoder.filter_map(|(id, token)| Some((id.parse().ok()?, name(token)?)));
        for (id, text) in added.chain(decoder) {
            let at = id as usize;
            let is_there =
                tokens.texts.get(at).is_some_and(|there| there == text) && tokens.kinds[at].is_added();
            if !is_there {
                tokens.put(id, text.to_owned(), Kind::Control).context("added tokens")?;
            }
        }
        Ok(())
    }
}

/// The text of a token, which stands alone or in an object that describes it.
fn name(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// The content of a JSON file, or `null` where there is none.
fn read_json(path: &Path) -> Result<Value> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
