//! Text to token ids and back to the bytes of each token.
//!
//! A vocabulary comes from the files of a folder ([`Tokenizer::from_folder`]), from a `tokenizer.json` alone
//! ([`Tokenizer::from_file`], [`Tokenizer::from_bytes`]) or from the metadata of a GGUF file ([`Tokenizer::from_gguf`]).
//! A folder may have
//!
//! - `tokenizer.json`;
//! - `tokenizer.model`, SentencePiece (BPE or unigram) or the ranks of tiktoken, as Llama 3 has them;
//! - a `.tiktoken` file;
//! - `vocab.json` and `merges.txt`, as GPT-2 has them;
//! - `chars.json`, a character table: a list of characters in the order of their ids, or ids by character.
//!
//! Byte-level encoding is the `tokenizers` crate's; what is here is the policy around it: which token opens a sequence, the
//! exact bytes that a token stands for, and which tokens are ordinary.

mod beside;
mod byte_level;
mod characters;
mod folder;
mod gguf;
mod pieces;
mod sentencepiece;
mod splitting;
mod tiktoken;
mod tokens;
mod vocabulary;

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::Value as Metadata;
use tokenizers::Tokenizer as Library;

pub use folder::files;

use beside::Beside;
use pieces::Spelling;
use tokens::{LARGEST, Tokens};

/// Text to ids and ids to pieces, with the BOS policy of its checkpoint.
pub struct Tokenizer {
    encoder: Box<dyn Encode>,
    /// By id; ids that the vocabulary skips have an empty piece.
    pieces: Vec<Piece>,
    bos: Option<u32>,
    adds_bos: bool,
}

/// Text to ids.
trait Encode: Send + Sync {
    /// The ids of `text`, with special tokens that are written in it and no others.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;
}

impl Encode for Library {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.encode_fast(text, false).map_err(|e| anyhow!(e))?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[derive(Clone, Default)]
struct Piece {
    bytes: Box<[u8]>,
    ordinary: bool,
}

/// What files say of the token that opens a sequence.
#[derive(Clone, Copy)]
struct Bos {
    id: Option<u32>,
    /// Whether it comes first.
    adds: Option<bool>,
}

impl Tokenizer {
    /// Reads the tokenizer of the checkpoint in a folder.
    ///
    /// # Errors
    /// When there is none, or its files are not what they should be; the message names the file.
    pub fn from_folder(folder: &Path) -> Result<Self> {
        folder::read(folder)
    }

    /// Reads a `tokenizer.json`.
    ///
    /// `tokenizer_config.json` beside it says which token is BOS (`bos_token`) and whether it comes first
    /// (`add_bos_token`); failing that, `special_tokens_map.json` or `config.json` names the BOS (`bos_token_id`) and the
    /// file's own post-processor decides whether it comes first.
    ///
    /// # Errors
    /// When one of the files cannot be read or is not what it should be; the message names the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let json = std::fs::read(path).with_context(|| format!("cannot read {origin}"))?;
        let (library, pieces) = parse(&json, &origin)?;
        let beside = Beside::read(path.parent().unwrap_or(Path::new("")))?;
        let said = beside.bos(&pieces);
        Ok(Self::of_library(library, pieces, said))
    }

    /// Reads the text of a `tokenizer.json`; `origin` names it in errors.
    ///
    /// `bos` is the id of the BOS token and `adds_bos` whether it comes first. Where they are `None`, the file's
    /// post-processor decides.
    ///
    /// # Errors
    /// When `json` is no tokenizer.
    pub fn from_bytes(json: &[u8], origin: &str, bos: Option<u32>, adds_bos: Option<bool>) -> Result<Self> {
        let (library, pieces) = parse(json, origin)?;
        Ok(Self::of_library(library, pieces, Bos { id: bos, adds: adds_bos }))
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes; `origin` names the file in errors.
    ///
    /// # Errors
    /// When the file has no vocabulary, a broken one, or one of a kind that is not read; the message names the key.
    pub fn from_gguf(metadata: &HashMap<String, Metadata>, origin: &str) -> Result<Self> {
        gguf::read(metadata).with_context(|| format!("cannot read the tokenizer of {origin}"))
    }

    /// Puts the parts together. What is said of BOS goes before `bos` and `adds_bos`, which are its vocabulary's own.
    fn new(
        encoder: impl Encode + 'static,
        pieces: Vec<Piece>,
        said: Bos,
        bos: Option<u32>,
        adds_bos: bool,
    ) -> Self {
        let bos = said.id.filter(|&id| (id as usize) < pieces.len()).or(bos);
        let adds_bos = bos.is_some() && said.adds.unwrap_or(adds_bos);
        Self { encoder: Box::new(encoder), pieces, bos, adds_bos }
    }

    /// The tokenizer of a `tokenizer.json`, whose post-processor may put a token first.
    fn of_library(library: Library, pieces: Vec<Piece>, said: Bos) -> Self {
        let first = first_of_template(&library);
        let is_first = first.is_some() && said.id.or(first) == first;
        Self::new(library, pieces, said, first, is_first)
    }

    /// The tokenizer of a vocabulary with files beside it.
    fn of_tokens(
        encoder: impl Encode + 'static,
        tokens: &Tokens,
        beside: &Beside,
        bos: Option<u32>,
        adds_bos: bool,
    ) -> Self {
        let pieces = tokens.pieces();
        let said = beside.bos(&pieces);
        Self::new(encoder, pieces, said, bos, adds_bos)
    }

    /// The ids of `text`. No BOS is added; special tokens written in the text are recognised.
    ///
    /// # Errors
    /// When the vocabulary has no token for a part of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.encoder.encode(text).context("cannot tokenize the text")
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

/// A `tokenizer.json` and its pieces, with truncation and padding off: every token of a text counts.
fn parse(json: &[u8], origin: &str) -> Result<(Library, Vec<Piece>)> {
    let mut library = library(json).with_context(|| format!("{origin} is no tokenizer"))?;
    library.with_truncation(None).map_err(|e| anyhow!(e))?.with_padding(None);
    let spelling = Spelling::of(&library);
    let added = library.get_added_tokens_decoder();
    let mut pieces = Vec::new();
    for (token, id) in library.get_vocab(true) {
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
    Ok((library, pieces))
}

/// The library's own reading. It panics on merges longer than every token, which a damaged file may have.
fn library(json: &[u8]) -> Result<Library> {
    match std::panic::catch_unwind(|| Library::from_bytes(json)) {
        Ok(read) => read.map_err(|e| anyhow!(e)),
        Err(_) => bail!("its merges do not fit its vocabulary"),
    }
}

/// The id that the post-processor puts before a text, if it puts one there.
fn first_of_template(library: &Library) -> Option<u32> {
    let ids = |specials| Some(library.encode_fast("a", specials).ok()?.get_ids().to_vec());
    let (bare, whole) = (ids(false)?, ids(true)?);
    whole.first().copied().filter(|_| whole.len() > bare.len() && !whole.starts_with(&bare))
}
