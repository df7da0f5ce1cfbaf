//! Vocabularies out of GGUF metadata (`tokenizer.ggml.*`): byte-level BPE (`gpt2`) and SentencePiece BPE (`llama`).

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::Value;
use tokenizers::models::bpe::{BPE, BpeBuilder, Merges, Vocab};
use tokenizers::normalizers::{NFC, NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::pieces::Spelling;
use super::splitting::Splitting;
use super::{Piece, Tokenizer};

/// What a token is for, as `tokenizer.ggml.token_type` numbers it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    fn from_number(number: u32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// Whether the token's name, written in a text, is the token.
    fn is_added(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// The tokenizer that `metadata` describes.
///
/// # Errors
/// When a key is missing or not what it should be, or names a kind of tokenizer or splitting that is not read here.
pub(super) fn read(metadata: &HashMap<String, Value>) -> Result<Tokenizer> {
    let metadata = Keys(metadata);
    match metadata.text("model")?.context("there is none: tokenizer.ggml.model is missing")? {
        "gpt2" => byte_level(metadata),
        "llama" => sentence_pieces(metadata),
        other => bail!("tokenizer.ggml.model is `{other}`; only `gpt2` and `llama` are read here"),
    }
}

/// Byte-level BPE: merges as stored, words as `tokenizer.ggml.pre` cuts them.
fn byte_level(metadata: Keys) -> Result<Tokenizer> {
    let splitting = Splitting::named(metadata.text("pre")?.unwrap_or("default"))?;
    let tokens = Tokens::read(metadata, Spelling::ByteLevel)?;
    let mut merges = Merges::new();
    for merge in
        metadata.array("merges", "list of texts", text)?.context("tokenizer.ggml.merges is missing")?
    {
        let pair =
            merge.split_once(' ').with_context(|| format!("tokenizer.ggml.merges has `{merge}`, no pair"))?;
        merges.push((pair.0.to_string(), pair.1.to_string()));
    }
    let vocabulary = tokens.vocabulary();
    let mut merged = String::new();
    for (left, right) in &merges {
        merged.clear();
        merged.push_str(left);
        merged.push_str(right);
        if ![left, right, &merged].into_iter().all(|token| vocabulary.contains_key(token)) {
            bail!("tokenizer.ggml.merges has `{left} {right}`, which the vocabulary lacks");
        }
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(splitting.whole_words);
    let normalizer = splitting.composes.then(|| NFC.into());
    let mut inner = build(model, normalizer)?;
    inner.with_pre_tokenizer(Some(splitting.pre_tokenizer()?));
    tokens.finish(inner, metadata, splitting.adds_bos)
}

/// SentencePiece BPE: the merge with the best score first, bytes for what no piece spells, a space put before a text (and
/// before what follows a special token) unless `add_space_prefix` says otherwise. No other normalization.
fn sentence_pieces(metadata: Keys) -> Result<Tokenizer> {
    let tokens = Tokens::read(metadata, Spelling::Sentence)?;
    let scores =
        metadata.array("scores", "list of numbers", float)?.context("tokenizer.ggml.scores is missing")?;
    if scores.len() != tokens.texts.len() {
        bail!("tokenizer.ggml.scores has {} entries for {} tokens", scores.len(), tokens.texts.len());
    }
    let merges = merges_of_scores(&tokens, &scores);
    let mut model =
        BPE::builder().vocab_and_merges(tokens.vocabulary(), merges).byte_fallback(true).fuse_unk(true);
    if let Some(unknown) = tokens.kinds.iter().position(|&kind| kind == Kind::Unknown) {
        model = model.unk_token(tokens.written(unknown));
    }
    let spaces: NormalizerWrapper = Replace::new(" ", "▁").map_err(|e| anyhow!(e))?.into();
    let normalizer = if metadata.flag("add_space_prefix")?.unwrap_or(true) {
        Sequence::new(vec![Prepend::new("▁".to_string()).into(), spaces]).into()
    } else {
        spaces
    };
    let inner = build(model, Some(normalizer))?;
    tokens.finish(inner, metadata, true)
}

/// Every way to make a piece out of two, the pieces with the best scores first.
fn merges_of_scores(tokens: &Tokens, scores: &[f32]) -> Merges {
    let normal = |&(at, _): &(usize, &&str)| tokens.kinds[at] == Kind::Normal;
    let ids: HashMap<&str, usize> =
        tokens.texts.iter().enumerate().filter(normal).map(|(id, t)| (*t, id)).collect();
    let mut order: Vec<usize> = ids.values().copied().collect();
    order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut merges = Merges::new();
    for id in order {
        let token = tokens.texts[id];
        let cuts = token.char_indices().skip(1).map(|(at, _)| token.split_at(at));
        let mut pairs: Vec<_> =
            cuts.filter_map(|(left, right)| Some((*ids.get(left)?, *ids.get(right)?, left, right))).collect();
        pairs.sort_unstable();
        merges.extend(pairs.into_iter().map(|(_, _, left, right)| (left.to_string(), right.to_string())));
    }
    merges
}

fn build(model: BpeBuilder, normalizer: Option<NormalizerWrapper>) -> Result<Inner> {
    let mut inner = Inner::new(model.build().map_err(|e| anyhow!(e))?);
    inner.with_normalizer(normalizer).map_err(|e| anyhow!(e))?;
    Ok(inner)
}

/// The tokens of a file, by id.
struct Tokens<'a> {
    texts: Vec<&'a str>,
    kinds: Vec<Kind>,
    spelling: Spelling,
}

impl<'a> Tokens<'a> {
    fn read(metadata: Keys<'a>, spelling: Spelling) -> Result<Self> {
        let texts =
            metadata.array("tokens", "list of texts", text)?.context("tokenizer.ggml.tokens is missing")?;
        let kinds = match metadata.array("token_type", "list of numbers", integer)? {
            None => vec![Kind::Normal; texts.len()],
            Some(kinds) if kinds.len() == texts.len() => kinds.into_iter().map(Kind::from_number).collect(),
            Some(kinds) => {
                bail!("tokenizer.ggml.token_type has {} entries for {} tokens", kinds.len(), texts.len())
            }
        };
        Ok(Self { texts, kinds, spelling })
    }

    /// The token as the encoder meets it. Added tokens are found in a text before its spaces are rewritten.
    fn written(&self, id: usize) -> String {
        if self.kinds[id].is_added() && self.spelling == Spelling::Sentence {
            self.texts[id].replace('▁', " ")
        } else {
            self.texts[id].to_string()
        }
    }

    /// Ids by token, the first where a token comes twice.
    fn vocabulary(&self) -> Vocab {
        let mut vocabulary = Vocab::with_capacity(self.texts.len());
        for (id, at) in (0..self.texts.len()).zip(0..) {
            vocabulary.entry(self.written(id)).or_insert(at);
        }
        vocabulary
    }

    /// Adds the special tokens, spells out the pieces and takes the BOS policy.
    fn finish(self, mut inner: Inner, metadata: Keys, adds_bos: bool) -> Result<Tokenizer> {
        let mut added = Vec::new();
        let mut pieces = Vec::with_capacity(self.texts.len());
        for (id, (&text, &kind)) in self.texts.iter().zip(&self.kinds).enumerate() {
            let bytes = if kind.is_added() {
                let written = self.written(id);
                added.push(AddedToken::from(written.as_str(), kind != Kind::UserDefined).normalized(false));
                written.into_bytes()
            } else {
                self.spelling.bytes(text)
            };
            let ordinary = kind == Kind::Normal && self.spelling.is_ordinary(text, &bytes);
            pieces.push(Piece { bytes: bytes.into(), ordinary });
        }
        inner.add_tokens(added).map_err(|e| anyhow!(e))?;
        let bos = metadata.id("bos_token_id")?;
        Tokenizer::assemble(inner, pieces, bos, Some(metadata.flag("add_bos_token")?.unwrap_or(adds_bos)))
    }
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
