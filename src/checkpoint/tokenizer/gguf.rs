//! Vocabularies out of GGUF metadata (`tokenizer.ggml.*`): byte-level BPE (`gpt2`) and SentencePiece (BPE: `llama`, unigram:
//! `t5`).

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use candle_core::quantized::gguf_file::Value;

use super::pieces::Spelling;
use super::sentencepiece::{Algorithm, Charsmap, Description, Normalizer, SentencePiece};
use super::splitting::Splitting;
use super::tokens::{Kind, Tokens};
use super::{Bos, Tokenizer, byte_level};

/// The tokenizer that `metadata` describes.
///
/// # Errors
/// When a key is missing or not what it should be, or names a kind of tokenizer or splitting that is not read here.
pub(super) fn read(metadata: &HashMap<String, Value>) -> Result<Tokenizer> {
    let metadata = Keys(metadata);
    match metadata.text("model")?.context("there is none: tokenizer.ggml.model is missing")? {
        "gpt2" => byte_pairs(metadata),
        "llama" => sentence_pieces(metadata, Algorithm::Bpe),
        "t5" => sentence_pieces(metadata, Algorithm::Unigram),
        other => bail!(
            "tokenizer.ggml.model is `{}`; only `gpt2`, `llama` and `t5` are read here",
            other.escape_debug()
        ),
    }
}

/// Byte-level BPE: merges as stored, words as `tokenizer.ggml.pre` cuts them.
fn byte_pairs(metadata: Keys) -> Result<Tokenizer> {
    let pre = metadata.text("pre")?;
    let splitting = Splitting::named(pre.unwrap_or("default"))?;
    let tokens = tokens(metadata, Spelling::ByteLevel)?;
    let lines =
        metadata.array("merges", "list of texts", text)?.context("tokenizer.ggml.merges is missing")?;
    let pair = |line: &str| {
        byte_level::merge(line)
            .with_context(|| format!("tokenizer.ggml.merges has `{}`, no pair", line.escape_debug()))
    };
    let merges = lines.into_iter().map(pair).collect::<Result<_>>()?;
    let encoder = byte_level::encoder(&tokens, merges, splitting)?;
    let mut tokenizer = Tokenizer::new(encoder, tokens.pieces(), bos(metadata)?, None, splitting.adds_bos);
    tokenizer.remarks.extend(pre.is_none().then(|| {
        "tokenizer.ggml.pre is missing, so texts are cut into words as GPT-2 does, and tokens may be wrong: convert the \
         model again, or give its own with --tokenizer"
            .to_owned()
    }));
    Ok(tokenizer)
}

/// SentencePiece, with a space put before a text (and before what follows a special token) unless `add_space_prefix` says
/// otherwise. BPE has bytes for what no piece spells and no other normalization; unigram says what it has.
fn sentence_pieces(metadata: Keys, algorithm: Algorithm) -> Result<Tokenizer> {
    let tokens = tokens(metadata, Spelling::Sentence)?;
    let scores =
        metadata.array("scores", "list of numbers", float)?.context("tokenizer.ggml.scores is missing")?;
    if scores.len() != tokens.texts.len() {
        bail!("tokenizer.ggml.scores has {} entries for {} tokens", scores.len(), tokens.texts.len());
    }
    let is_unigram = algorithm == Algorithm::Unigram;
    let charsmap = metadata.array("precompiled_charsmap", "list of bytes", byte)?.filter(|_| is_unigram);
    let normalizer = Normalizer {
        charsmap: charsmap
            .filter(|stored| !stored.is_empty())
            .map(|stored| Charsmap::read(&stored))
            .transpose()?,
        adds_space: metadata.flag("add_space_prefix")?.unwrap_or(true),
        space_is_last: false,
        trims: is_unigram && metadata.flag("remove_extra_whitespaces")?.unwrap_or(true),
        escapes: true,
    };
    let pieces = tokens.pieces();
    let described = Description { tokens, scores, algorithm, normalizer, byte_fallback: true };
    let encoder = SentencePiece::new(described, Kind::is_added);
    Ok(Tokenizer::new(encoder, pieces, bos(metadata)?, None, !is_unigram))
}

/// The tokens with their kinds.
fn tokens(metadata: Keys, spelling: Spelling) -> Result<Tokens> {
    let texts =
        metadata.array("tokens", "list of texts", text)?.context("tokenizer.ggml.tokens is missing")?;
    let kinds = match metadata.array("token_type", "list of numbers", integer)? {
        None => vec![Kind::Normal; texts.len()],
        Some(kinds) if kinds.len() == texts.len() => kinds.into_iter().map(Kind::from_number).collect(),
        Some(kinds) => {
            bail!("tokenizer.ggml.token_type has {} entries for {} tokens", kinds.len(), texts.len())
        }
    };
    Ok(Tokens { texts: texts.into_iter().map(str::to_owned).collect(), kinds, spelling })
}

fn bos(metadata: Keys) -> Result<Bos> {
    Ok(Bos { id: metadata.id("bos_token_id")?, adds: metadata.flag("add_bos_token")? })
}

/// The keys below `tokenizer.ggml.`; each getter fails where the key has a value of another type.
#[derive(Clone, Copy)]
struct Keys<'a>(&'a HashMap<String, Value>);

impl<'a> Keys<'a> {
    fn get<T>(self, key: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.0.get(&format!("tokenizer.ggml.{key}")) else { return Ok(None) };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => bail!("tokenizer.ggml.{key} is no {what}"),
        }
    }

    fn text(self, key: &str) -> Result<Option<&'a str>> {
        self.get(key, "text", text)
    }

    fn flag(self, key: &str) -> Result<Option<bool>> {
        self.get(key, "truth value", |value| value.to_bool().ok())
    }

    fn id(self, key: &str) -> Result<Option<u32>> {
        self.get(key, "token id", integer)
    }

    fn array<T>(
        self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>> {
        self.get(key, what, |value| match value {
            Value::Array(values) => values.iter().map(&read).collect(),
            _ => None,
        })
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f32> {
    match *value {
        Value::F32(number) => Some(number),
        _ => None,
    }
}

/// A byte, signed or not.
fn byte(value: &Value) -> Option<u8> {
    match *value {
        Value::U8(byte) => Some(byte),
        Value::I8(byte) => Some(byte.cast_unsigned()),
        _ => None,
    }
}

/// A whole number of any stored width.
fn integer(value: &Value) -> Option<u32> {
    match *value {
        Value::U8(n) => Some(n.into()),
        Value::I8(n) => n.try_into().ok(),
        Value::U16(n) => Some(n.into()),
        Value::I16(n) => n.try_into().ok(),
        Value::U32(n) => Some(n),
        Value::I32(n) => n.try_into().ok(),
        Value::U64(n) => n.try_into().ok(),
        Value::I64(n) => n.try_into().ok(),
        _ => None,
    }
}
