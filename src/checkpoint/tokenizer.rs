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
//! Small files beside it add to it, as they do for the `AutoTokenizer` of Python's transformers 5.24:
//!
//! | key | file | counts |
//! |---|---|---|
//! | `added_tokens_decoder` | `tokenizer_config.json` | always; where it is, the next two files do not |
//! | ids by token | `added_tokens.json` | without `added_tokens_decoder` |
//! | `*_token`, `extra_special_tokens` | `special_tokens_map.json` | without `added_tokens_decoder`, before `tokenizer_config.json` |
//! | `*_token`, `extra_special_tokens` (failing that `additional_special_tokens`) | `tokenizer_config.json` | always |
//! | `tokenizer_class` | `tokenizer_config.json`, failing that `config.json` | with the kind of model for the class that reads `tokenizer.json`: some keep vocabulary and merges alone and cut text in their own way |
//! | `add_prefix_space`, `legacy` | `tokenizer_config.json` | for such classes; else `tokenizer.json` decides |
//! | `add_bos_token` | `tokenizer_config.json` | without `tokenizer.json`, whose post-processor decides |
//! | `bos_token_id` | `config.json` | where nothing names the BOS |
//!
//! `add_eos_token` does not count: a prompt is to be continued. Nor does `clean_up_tokenization_spaces`, which changes decoded
//! text and no id, nor `chat_template`, `model_max_length`, `padding_side` and `truncation_side`.
//!
//! Byte-level encoding is the `tokenizers` crate's; what is here is the policy around it: which token opens a sequence, the
//! exact bytes that a token stands for, and which tokens are ordinary.

mod beside;
mod byte_level;
mod characters;
mod class;
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
use tokenizers::{AddedToken, Tokenizer as Library};

pub use folder::files;

use beside::Beside;
use class::Class;
use pieces::Spelling;
use tokens::{LARGEST, Tokens};

/// Text to ids and ids to pieces, with the BOS policy of its checkpoint.
pub struct Tokenizer {
    encoder: Box<dyn Encode>,
    /// By id; ids that the vocabulary skips have an empty piece.
    pieces: Vec<Piece>,
    bos: Option<u32>,
    adds_bos: bool,
    remarks: Vec<String>,
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

    /// Reads a `tokenizer.json` and the files beside it, as the table of this module says.
    ///
    /// # Errors
    /// When one of the files cannot be read or is not what it should be; the message names the file.
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        let json = std::fs::read(path).with_context(|| format!("cannot read {origin}"))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = Beside::read(folder)?;
        let mut library = parse(&json, &origin)?;
        if let Some(class) = Class::of(&library, &beside) {
            class.rebuild(&mut library, &beside)?;
        }
        let moved = add(&mut library, beside.added().with_context(|| folder.display().to_string())?)?;
        let pieces = pieces(&library, &origin)?;
        let id = first_of_template(&library).or(beside.bos(&pieces).id);
        let mut tokenizer = Self::of_library(library, pieces, Bos { id, adds: None });
        tokenizer.remarks.extend(moved);
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
        let library = parse(json, origin)?;
        let pieces = pieces(&library, origin)?;
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
        Self { encoder: Box::new(encoder), pieces, bos, adds_bos, remarks: Vec::new() }
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

    /// What is worth a line about the files that it comes from.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
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

/// A `tokenizer.json`, with truncation and padding off: every token of a text counts.
fn parse(json: &[u8], origin: &str) -> Result<Library> {
    let mut library = library(json).with_context(|| format!("{origin} is no tokenizer"))?;
    library.with_truncation(None).map_err(|e| anyhow!(e))?.with_padding(None);
    Ok(library)
}

/// What each token of a `tokenizer.json` stands for.
fn pieces(library: &Library, origin: &str) -> Result<Vec<Piece>> {
    let spelling = Spelling::of(library);
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
    Ok(pieces)
}

/// Adds tokens as the reference does: special ones only where the file does not add them, and each that the vocabulary
/// lacks at the end of it. The answer is a remark where that is another id than the one beside the token.
fn add(library: &mut Library, added: Vec<(Option<u32>, AddedToken)>) -> Result<Option<String>> {
    let own = library.get_added_tokens_decoder();
    let is_new = |id: &Option<u32>, token: &AddedToken| match id {
        Some(id) => own.get(id) != Some(token),
        None => !own.values().any(|there| there.content == token.content),
    };
    let new: Vec<_> = added.into_iter().filter(|(id, token)| is_new(id, token)).collect();
    library.add_tokens(new.iter().map(|(_, token)| token.clone())).map_err(|e| anyhow!(e))?;
    let moved = new.iter().find_map(|(said, token)| {
        let (said, id) = (said.as_ref()?, library.token_to_id(&token.content)?);
        (*said != id).then(|| {
            format!(
                "the added token `{}` is {id}, as the reference counts, and the file beside tokenizer.json says {said}",
                token.content.escape_debug()
            )
        })
    });
    Ok(moved)
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
