//! The tokenizer of a trained model: byte-level BPE with a BOS token in front.

use std::path::Path;

use anyhow::{Result, anyhow, bail, ensure};
use tokenizers::{
    AddedToken, Tokenizer,
    models::{
        TrainerWrapper,
        bpe::{BPE, BpeTrainer},
    },
    pre_tokenizers::byte_level::ByteLevel,
    processors::template::TemplateProcessing,
};

/// The token that starts every sequence; its id is [`BOS_ID`].
pub const BOS: &str = "<bos>";
/// The id of [`BOS`].
pub const BOS_ID: u32 = 0;
/// The bytes and the BOS token: no vocabulary is smaller.
const SMALLEST: usize = 257;

/// Learns a vocabulary of exactly `size` tokens from the texts.
///
/// A space is put before the first word, so that a word is the same token at the start of a prompt as inside it.
pub fn learn<'a>(texts: impl Iterator<Item = &'a str> + Send, size: usize) -> Result<Tokenizer> {
    if size < SMALLEST {
        bail!("--vocab {size} is too small: the bytes and {BOS} alone need {SMALLEST}");
    }
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(true, false, true)))
        .with_decoder(Some(ByteLevel::default()));
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(size)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(BOS, true)])
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
        .into();
    tokenizer.train(&mut trainer, texts).map_err(|error| anyhow!("cannot learn a vocabulary: {error}"))?;
    let found = tokenizer.get_vocab_size(true);
    ensure!(
        found == size,
        "the text gives only {found} tokens, not the {size} of --vocab: lower --vocab or give more text"
    );
    let bos = TemplateProcessing::builder()
        .try_single(format!("{BOS} $A"))
        .and_then(|builder| builder.try_pair(format!("{BOS} $A $B")))
        .map_err(|error| anyhow!("cannot build the tokenizer: {error}"))?
        .special_tokens(vec![(BOS, BOS_ID)])
        .build()?;
    tokenizer.with_post_processor(Some(bos));
    Ok(tokenizer)
}

/// The ids of a text, without BOS.
pub fn plain_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    ids(tokenizer, text, false)
}

/// The ids of a prompt, BOS first.
pub fn prompt_ids(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>> {
    ids(tokenizer, text, true)
}

fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Vec<u32>> {
    let encoding =
        tokenizer.encode_fast(text, special).map_err(|error| anyhow!("cannot tokenize: {error}"))?;
    Ok(encoding.get_ids().to_vec())
}

/// The tokenizer as the text of a `tokenizer.json`.
pub fn json(tokenizer: &Tokenizer) -> Result<String> {
    tokenizer.to_string(false).map_err(|error| anyhow!("cannot write the tokenizer: {error}"))
}

/// Reads a `tokenizer.json`.
pub fn load(path: &Path) -> Result<Tokenizer> {
    Tokenizer::from_file(path).map_err(|error| anyhow!("cannot read {}: {error}", path.display()))
}
