//! Which of the files in a folder are its tokenizer, and reading them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::beside::Beside;
use super::sentencepiece::{self, SentencePiece};
use super::tokens::Kind;
use super::{Tokenizer, characters, tiktoken, vocabulary};

const JSON: &str = "tokenizer.json";
const MODEL: &str = "tokenizer.model";
const VOCABULARY: [&str; 2] = ["vocab.json", "merges.txt"];
const CHARACTERS: &str = "chars.json";
/// What nanoGPT writes beside its training data.
const PICKLE: &str = "meta.pkl";
/// What says more about any of them: special tokens and BOS.
const BESIDE: [&str; 3] = ["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"];

/// The form of a tokenizer.
enum Form<'a> {
    /// `tokenizer.json`, the whole of it.
    Json,
    /// `tokenizer.model`: SentencePiece, or ranks of tiktoken.
    Model,
    /// Ranks of tiktoken in the file of that name.
    Ranks(&'a str),
    /// `vocab.json` and `merges.txt`, one of which may be missing.
    Vocabulary,
    /// A character table.
    Characters,
    /// A pickle, which is not read.
    Pickle,
}

impl<'a> Form<'a> {
    /// The form of the tokenizer in a folder that has `names`; the form that says most comes first.
    fn of(names: &BTreeSet<&'a str>) -> Option<Self> {
        let ranks = || names.iter().copied().find(|name| name.ends_with(".tiktoken"));
        if names.contains(JSON) {
            Some(Self::Json)
        } else if names.contains(MODEL) {
            Some(Self::Model)
        } else if let Some(name) = ranks() {
            Some(Self::Ranks(name))
        } else if VOCABULARY.iter().any(|name| names.contains(name)) {
            Some(Self::Vocabulary)
        } else if names.contains(CHARACTERS) {
            Some(Self::Characters)
        } else {
            names.contains(PICKLE).then_some(Self::Pickle)
        }
    }
}

/// The files of the tokenizer in a folder that has `names`, without others that its tokenizer could be read from; none
/// where there is no whole tokenizer.
pub fn files<'a>(names: &BTreeSet<&'a str>) -> Vec<&'a str> {
    let own = match Form::of(names) {
        Some(Form::Json) => vec![JSON],
        Some(Form::Model) => vec![MODEL],
        Some(Form::Ranks(name)) => vec![name],
        Some(Form::Vocabulary) => VOCABULARY.to_vec(),
        Some(Form::Characters) => vec![CHARACTERS],
        Some(Form::Pickle) | None => Vec::new(),
    };
    let found: Vec<&str> = own.iter().filter_map(|name| names.get(name).copied()).collect();
    if found.is_empty() || found.len() < own.len() {
        return Vec::new();
    }
    found.into_iter().chain(BESIDE.iter().filter_map(|name| names.get(name).copied())).collect()
}

/// Reads the tokenizer in `folder`.
///
/// # Errors
/// When there is none, or its files are not what they should be; the message names the file.
pub(super) fn read(folder: &Path) -> Result<Tokenizer> {
    let shown = folder.display();
    let entries = std::fs::read_dir(folder).with_context(|| format!("{shown} cannot be read"))?;
    let names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    match Form::of(&names.iter().map(String::as_str).collect()) {
        Some(Form::Json) => Tokenizer::from_file(&folder.join(JSON)),
        Some(Form::Model) => named(folder, MODEL, |bytes, beside| {
            if tiktoken::is_ranks(bytes) { ranks(bytes, "", beside) } else { pieces(bytes, beside) }
        }),
        Some(Form::Ranks(name)) => named(folder, name, |bytes, beside| {
            ranks(bytes, name.strip_suffix(".tiktoken").unwrap_or(name), beside)
        }),
        Some(Form::Vocabulary) => named(folder, VOCABULARY[0], |vocab, beside| {
            let merges = std::fs::read_to_string(folder.join(VOCABULARY[1]));
            let merges = merges.with_context(|| format!("cannot read {} beside it", VOCABULARY[1]))?;
            let (encoder, tokens) = vocabulary::read(vocab, &merges, beside)?;
            Ok(Tokenizer::of_tokens(encoder, &tokens, beside, None, false))
        }),
        Some(Form::Characters) => named(folder, CHARACTERS, |bytes, beside| {
            let (encoder, tokens) = characters::read(bytes)?;
            Ok(Tokenizer::of_tokens(encoder, &tokens, beside, None, false))
        }),
        Some(Form::Pickle) => bail!(
            "{shown}/{PICKLE} is a pickle of Python objects, which is not read; if you trust it, write {CHARACTERS} in its \
             folder with `python -c \"import json, pickle; m = pickle.load(open('{PICKLE}', 'rb')); json.dump(m['stoi'], \
             open('{CHARACTERS}', 'w'))\"`"
        ),
        None => bail!(
            "{shown} has no tokenizer: none of {JSON}, {MODEL}, a .tiktoken file, {} with {}, or {CHARACTERS}",
            VOCABULARY[0],
            VOCABULARY[1]
        ),
    }
}

/// Reads the file `name`, with those that may lie beside it; errors name it.
fn named(
    folder: &Path,
    name: &str,
    read: impl FnOnce(&[u8], &Beside) -> Result<Tokenizer>,
) -> Result<Tokenizer> {
    let path = folder.join(name);
    let beside = Beside::read(folder)?;
    let bytes = std::fs::read(&path);
    bytes
        .map_err(Into::into)
        .and_then(|bytes| read(&bytes, &beside))
        .with_context(|| format!("cannot read the tokenizer {}", path.display()))
}

fn ranks(bytes: &[u8], stem: &str, beside: &Beside) -> Result<Tokenizer> {
    let tiktoken::Read { encoder, tokens, bos } = tiktoken::read(bytes, stem, beside)?;
    Ok(Tokenizer::of_tokens(encoder, &tokens, beside, bos, bos.is_some()))
}

fn pieces(bytes: &[u8], beside: &Beside) -> Result<Tokenizer> {
    let (mut described, bos) = sentencepiece::read(bytes).context("it is no SentencePiece model")?;
    beside.add_to(&mut described.tokens)?;
    let pieces = described.tokens.pieces();
    let encoder = SentencePiece::new(described, |kind| matches!(kind, Kind::Control | Kind::Unknown));
    let said = beside.bos(&pieces);
    Ok(Tokenizer::new(encoder, pieces, said, bos, true))
}
