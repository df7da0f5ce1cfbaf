//! What the small files beside a vocabulary add to it: special tokens, and which token opens a sequence.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;
use tokenizers::AddedToken;

use super::tokens::{Kind, LARGEST, Tokens};
use super::{Bos, Piece};

/// The keys of tokens with a role, in the order in which the reference adds those that a vocabulary lacks.
const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
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
        let named = self.said("bos_token").and_then(name);
        let id = named.and_then(|name| pieces.iter().position(|piece| *piece.bytes == *name.as_bytes()));
        let id = id.and_then(|id| u32::try_from(id).ok());
        let id = id.or_else(|| self.model["bos_token_id"].as_u64()?.try_into().ok());
        Bos { id, adds: self.tokenizer["add_bos_token"].as_bool() }
    }

    /// What is said of a special token. `special_tokens_map.json` goes first, and is not read beside `added_tokens_decoder`.
    fn said(&self, key: &str) -> Option<&Value> {
        let map = self.specials.get(key).filter(|_| !self.lists_added());
        map.or_else(|| self.tokenizer.get(key)).filter(|value| !value.is_null())
    }

    /// Whether `tokenizer_config.json` lists the added tokens, so that no other file beside it is asked.
    fn lists_added(&self) -> bool {
        self.tokenizer["added_tokens_decoder"].is_object()
    }

    /// The class of tokenizers that the files declare, without the `Fast` that the name may end in.
    pub(super) fn declared_class(&self) -> Option<&str> {
        let files = [&self.tokenizer, &self.model];
        let class = files.into_iter().find_map(|file| file["tokenizer_class"].as_str())?;
        Some(class.strip_suffix("Fast").unwrap_or(class))
    }

    /// The tokens that are added to a vocabulary, in the order in which they get ids: those with an id, which is beside
    /// them, then special ones.
    ///
    /// # Errors
    /// When one has no text or an id that is none.
    pub(super) fn added(&self) -> Result<Vec<(Option<u32>, AddedToken)>> {
        let mut all = if self.lists_added() { self.listed()? } else { self.counted()? };
        all.sort_by_key(|(id, _)| *id);
        for text in self.named() {
            if !all.iter().any(|(_, token)| token.content == text) {
                all.push((None, AddedToken::from(text, true)));
            }
        }
        Ok(all)
    }

    /// `added_tokens_decoder`.
    fn listed(&self) -> Result<Vec<(Option<u32>, AddedToken)>> {
        let decoder = self.tokenizer["added_tokens_decoder"].as_object().into_iter().flatten();
        let read = |(id, token): (&String, &Value)| {
            let wrong = || {
                format!("tokenizer_config.json: added_tokens_decoder has `{}`, no token", id.escape_debug())
            };
            let number = id.parse().ok().with_context(wrong)?;
            let flag = |key: &str| token[key].as_bool();
            let special = flag("special").unwrap_or(false);
            let text = token["content"].as_str().with_context(wrong)?;
            let added = AddedToken::from(text, special)
                .normalized(flag("normalized").unwrap_or(!special))
                .single_word(flag("single_word").unwrap_or(false))
                .lstrip(flag("lstrip").unwrap_or(false))
                .rstrip(flag("rstrip").unwrap_or(false));
            Ok((Some(number), added))
        };
        decoder.map(read).collect()
    }

    /// `added_tokens.json`.
    fn counted(&self) -> Result<Vec<(Option<u32>, AddedToken)>> {
        let named = self.named();
        let read = |(text, id): (&String, &Value)| {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let wrong =
                || format!("added_tokens.json gives `{}` the id {id}, which is none", text.escape_debug());
            let special = named.contains(&text.as_str());
            Ok((Some(number.with_context(wrong)?), AddedToken::from(text.as_str(), special)))
        };
        self.added.as_object().into_iter().flatten().map(read).collect()
    }

    /// The special tokens in the order of the reference: those with a role, those of one model, further ones.
    fn named(&self) -> Vec<&str> {
        let roles = ROLES.iter().filter_map(|role| self.said(role)).filter_map(name);
        let own = self.tokenizer.as_object().into_iter().flatten();
        let own = own.filter(|(key, _)| key.ends_with("_token") && !ROLES.contains(&key.as_str()));
        let own = own.filter_map(|(_, value)| name(value));
        // The second is the older name of the first.
        let further = ["extra_special_tokens", "additional_special_tokens"];
        let is_some = |value: &&Value| **value != Value::Array(Vec::new());
        let further = further.iter().filter_map(|key| self.said(key)).find(is_some).into_iter();
        let further = further.flat_map(|value| match value {
            Value::Array(tokens) => tokens.iter().filter_map(name).collect(),
            Value::Object(tokens) => tokens.values().filter_map(name).collect(),
            _ => Vec::new(),
        });
        roles.chain(own).chain(further).collect()
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

    /// Whether a space is put before a text, where it is said.
    pub(super) fn prefix_space(&self) -> Option<bool> {
        self.tokenizer["add_prefix_space"].as_bool()
    }

    /// Whether a space is put behind special tokens too, as the first conversions of SentencePiece had it.
    pub(super) fn is_legacy(&self) -> bool {
        self.tokenizer["legacy"].as_bool().unwrap_or(false)
    }

    /// Names of tokens that have a purpose: `bos_token`, `pad_token` and the like.
    pub(super) fn special_tokens(&self) -> BTreeSet<&str> {
        self.named().into_iter().collect()
    }

    /// Puts the tokens that were added to the vocabulary to the others; special ones without an id come last.
    ///
    /// # Errors
    /// When one has an id that no vocabulary has.
    pub(super) fn add_to(&self, tokens: &mut Tokens) -> Result<()> {
        for (id, token) in self.added()? {
            let there = tokens.texts.iter().position(|text| *text == token.content);
            let at = match (id, there) {
                (Some(id), _) => id,
                (None, Some(_)) => continue,
                (None, None) => u32::try_from(tokens.texts.len()).unwrap_or(LARGEST),
            };
            let is_there = there == Some(at as usize) && tokens.kinds[at as usize].is_added();
            if !is_there {
                tokens.put(at, token.content, Kind::Control).context("added tokens")?;
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
