//! Byte-level BPE, built from a vocabulary and its merges.

use anyhow::{Result, anyhow, bail};
use tokenizers::Tokenizer as Library;
use tokenizers::models::bpe::{BPE, Merges};
use tokenizers::normalizers::NFC;

use super::splitting::Splitting;
use super::tokens::Tokens;

/// The encoder of `tokens`, which are spelled in letters that stand for bytes: `splitting` cuts a text into words, and
/// in each of them the pair that is first in `merges` becomes one token, again and again.
///
/// # Errors
/// When a merge has a token that the vocabulary lacks.
pub(super) fn encoder(tokens: &Tokens, merges: Merges, splitting: &Splitting) -> Result<Library> {
    let vocabulary = tokens.vocabulary();
    let mut merged = String::new();
    for (left, right) in &merges {
        merged.clear();
        merged.push_str(left);
        merged.push_str(right);
        if ![left, right, &merged].into_iter().all(|token| vocabulary.contains_key(token)) {
            bail!(
                "the merges have `{} {}`, which the vocabulary lacks",
                left.escape_debug(),
                right.escape_debug()
            );
        }
    }
    let model = BPE::builder().vocab_and_merges(vocabulary, merges).ignore_merges(splitting.whole_words);
    let mut library = Library::new(model.build().map_err(|e| anyhow!(e))?);
    library.with_normalizer(splitting.composes.then_some(NFC)).map_err(|e| anyhow!(e))?;
    library.with_pre_tokenizer(Some(splitting.pre_tokenizer()?));
    library.add_tokens(tokens.added()).map_err(|e| anyhow!(e))?;
    Ok(library)
}

/// The two tokens of a line `left right`.
pub(super) fn merge(line: &str) -> Option<(String, String)> {
    let (left, right) = line.split_once(' ')?;
    Some((left.to_owned(), right.to_owned()))
}
