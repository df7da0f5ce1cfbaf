//! Text to token ids and back to the bytes of each token.
//!
//! A vocabulary comes from a `tokenizer.json` ([`Tokenizer::from_file`], [`Tokenizer::from_bytes`]) or from the metadata of
//! a GGUF file ([`Tokenizer::from_gguf`]). Encoding is the `tokenizers` crate's; what is here is the policy around it: which
//! token opens a sequence, the exact bytes that a token stands for, and which tokens are ordinary.

mod gguf;
mod pieces;
mod splitting;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::Value as Metadata;
use serde_json::Value;

use pieces::Spelling;

/// The largest vocabulary that is believed; the largest in use have some 260,000 tokens.
const LARGEST: u32 = 1 << 24;

/// Text to ids and ids to pieces, with the BOS policy of its checkpoint.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// By id; ids that the vocabulary skips have an empty piece.
    pieces: Vec<Piece>,
    bos: Option<u32>,
    adds_bos: bool,
}

#[derive(Clone, Default)]
struct Piece {
    bytes: Box<[u8]>,
    ordinary: bool,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// `tokenizer_config.json` beside it says which token is BOS (`bos_token`) and whether it comes first
    /// (`add_bos_token`); failing that, `config.json` names the BOS (`bos_token_id`) and the file's own post-processor
    /// decides whether it comes first.
    ///
    /// # Errors
    /// When one of the files cannot be read or is not what it should be; the message names the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let json = std::fs::read(path).with_context(|| format!("cannot read {origin}"))?;
        let mut tokenizer = Self::from_bytes(&json, &origin, None, None)?;

        let of_tokenizer = read_json(&path.with_file_name("tokenizer_config.json"))?;
        let of_model = read_json(&path.with_file_name("config.json"))?;
        let token = &of_tokenizer["bos_token"];
        let named = token.as_str().or_else(|| token["content"].as_str());
        let bos = named.and_then(|token| tokenizer.inner.token_to_id(token));
        let bos = bos.or_else(|| of_model["bos_token_id"].as_u64().and_then(|id| u32::try_from(id).ok()));
        tokenizer.set_bos(bos, of_tokenizer["add_bos_token"].as_bool());
        Ok(tokenizer)
    }

    /// Reads the text of a `tokenizer.json`; `origin` names it in errors.
    ///
    /// `bos` is the id of the BOS token and `adds_bos` whether it comes first. Where they are `None`, the file's
    /// post-processor decides.
    ///
    /// # Errors
    /// When `json` is no tokenizer.
    pub fn from_bytes(json: &[u8], origin: &str, bos: Option<u32>, adds_bos: Option<bool>) -> Result<Self> {
        let inner = parse(json).with_context(|| format!("{origin} is no tokenizer"))?;
        let spelling = Spelling::of(&inner);
        let vocabulary = inner.get_vocab(true);
        let added = inner.get_added_tokens_decoder();
        let mut pieces = Vec::new();
        for (token, id) in vocabulary {
            if id >= LARGEST {
                bail!("{origin}: token {token:?} has the id {id}, and no vocabulary is that large");
            }
            if pieces.len() <= id as usize {
                pieces.resize(id as usize + 1, Piece::default());
            }
            pieces[id as usize] = if added.contains_key(&id) {
                Piece { bytes: token.into_bytes().into(), ordinary: false }
            } else {
                let bytes = spelling.bytes(&token);
                Piece { ordinary: spelling.is_ordinary(&token, &bytes), bytes: bytes.into() }
            };
        }
        Self::assemble(inner, pieces, bos, adds_bos).with_context(|| origin.to_string())
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes; `origin` names the file in errors.
    ///
    /// # Errors
    /// When the file has no vocabulary, a broken one, or one of a kind that is not read; the message names the key.
    pub fn from_gguf(metadata: &HashMap<String, Metadata>, origin: &str) -> Result<Self> {
        gguf::read(metadata).with_context(|| format!("cannot read the tokenizer of {origin}"))
    }

    /// Puts the parts together, with truncation and padding off: every token of a text counts.
    fn assemble(
        mut inner: tokenizers::Tokenizer,
        pieces: Vec<Piece>,
        bos: Option<u32>,
        adds_bos: Option<bool>,
    ) -> Result<Self> {
        inner.with_truncation(None).map_err(|e| anyhow!(e))?;
        inner.with_padding(None);
        let mut tokenizer = Self { inner, pieces, bos: None, adds_bos: false };
        tokenizer.set_bos(bos, adds_bos);
        Ok(tokenizer)
    }

    /// Takes the stated policy where there is one, else what the post-processor does.
    fn set_bos(&mut self, bos: Option<u32>, adds_bos: Option<bool>) {
        let first = self.first_of_template();
        self.bos = bos.filter(|&id| (id as usize) < self.len()).or(first);
        self.adds_bos = self.bos.is_some() && adds_bos.unwrap_or(first == self.bos);
    }

    /// The id that the post-processor puts before a text, if it puts one there.
    fn first_of_template(&self) -> Option<u32> {
        let ids = |specials| Some(self.inner.encode_fast("a", specials).ok()?.get_ids().to_vec());
        let (bare, whole) = (ids(false)?, ids(true)?);
        whole.first().copied().filter(|_| whole.len() > bare.len() && !whole.starts_with(&bare))
    }

    /// The ids of `text`. No BOS is added; special tokens written in the text are recognised.
    ///
    /// # Errors
    /// When the vocabulary has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|e| anyhow!("cannot tokenize the text: {e}"))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The id of the BOS token, if the vocabulary has one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Whether the checkpoint's own policy puts the BOS token first.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// The exact bytes that a token stands for, possibly a part of a character; empty for ids outside the vocabulary.
    /// Special tokens give their literal text.
    pub fn piece(&self, id: u32) -> Vec<u8> {
        self.pieces.get(id as usize).map_or_else(Vec::new, |piece| piece.bytes.to_vec())
    }

    /// Whether the token may be drawn for benchmark sequences: it is text, not special, added, unused, reserved, a control
    /// character or a part of a character.
    pub fn is_ordinary(&self, id: u32) -> bool {
        self.pieces.get(id as usize).is_some_and(|piece| piece.ordinary)
    }

    /// One more than the largest id.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the vocabulary has no token.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }
}

/// The library's own reading. It panics on merges longer than every token, which a damaged file may have.
fn parse(json: &[u8]) -> Result<tokenizers::Tokenizer> {
    match std::panic::catch_unwind(|| tokenizers::Tokenizer::from_bytes(json)) {
        Ok(read) => read.map_err(|e| anyhow!(e)),
        Err(_) => bail!("its merges do not fit its vocabulary"),
    }
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
