//! What the model is shown: windows of text, and sequences in which a block of random tokens comes back.
//!
//! Every sequence starts with BOS at position 0 and has one token more than the model reads, the last target.

use anyhow::{Result, ensure};
use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;
use tokenizers::Tokenizer;

use super::{
    text::Corpus,
    vocabulary::{BOS_ID, plain_ids},
};

/// The shortest and longest block that comes back; a narrower window lowers the longest.
const BLOCK: (usize, usize) = (6, 59);

/// An endless source of training sequences.
pub struct Source<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
    rng: ChaCha8Rng,
    /// The training text as tokens, with the names of this reading.
    stream: Vec<u32>,
    /// Tokens to draw before the text is read again with new names.
    left: usize,
    context: usize,
    vocab: usize,
}

/// Sequences cut into what the model reads and what it must predict.
pub struct Batch {
    /// `[batch, T]`, u32.
    pub inputs: Tensor,
    /// `[batch * T]`, u32: the token after each input.
    pub targets: Tensor,
}

impl<'a> Source<'a> {
    /// A source whose every draw follows from `seed`.
    pub fn new(corpus: &'a Corpus, tokenizer: &'a Tokenizer, context: usize, seed: u64) -> Result<Self> {
        let (rng, vocab) = (ChaCha8Rng::seed_from_u64(seed), tokenizer.get_vocab_size(true));
        ensure!(context > 2 * BLOCK.0, "--context {context} is too short: {} at least", 2 * BLOCK.0 + 1);
        let mut source = Self { corpus, tokenizer, rng, stream: Vec::new(), left: 0, context, vocab };
        source.read_again()?;
        Ok(source)
    }

    fn read_again(&mut self) -> Result<()> {
        self.stream = tokens(self.tokenizer, &self.corpus.training(&mut self.rng))?;
        ensure!(
            self.stream.len() > self.context,
            "the text has {} tokens, fewer than --context {}: give more text",
            self.stream.len(),
            self.context
        );
        self.left = self.stream.len();
        Ok(())
    }

    /// `length` tokens from a random place of the text.
    fn text(&mut self, length: usize) -> Result<Vec<u32>> {
        if self.left < length && self.corpus.changes() {
            self.read_again()?;
        }
        self.left = self.left.saturating_sub(length);
        let start = self.rng.random_range(0..=self.stream.len() - length);
        Ok(self.stream[start..start + length].to_vec())
    }

    /// BOS and `context` tokens of text.
    pub fn text_sequence(&mut self) -> Result<Vec<u32>> {
        let mut sequence = vec![BOS_ID];
        sequence.extend(self.text(self.context)?);
        Ok(sequence)
    }

    /// BOS and `context` tokens with a block of 6 to 59 distinct random tokens in them: one time in two the block
    /// over and over, else text, the block, text, and the block again at the end.
    pub fn repeat_sequence(&mut self) -> Result<Vec<u32>> {
        let longest = BLOCK.1.min((self.context - 1) / 2).min(self.vocab - 1);
        let size = self.rng.random_range(BLOCK.0.min(longest)..=longest);
        let block = distinct(&mut self.rng, self.vocab, size);
        let mut sequence = vec![BOS_ID];
        if self.rng.random_bool(0.5) {
            sequence.extend(block.iter().cycle().take(self.context));
        } else {
            let text = self.context - 2 * size;
            let between = self.rng.random_range(1..=text);
            sequence.extend(self.text(text - between)?);
            sequence.extend(&block);
            sequence.extend(self.text(between)?);
            sequence.extend(&block);
        }
        Ok(sequence)
    }

    /// `size` sequences, each a repeat with probability `repeats`, else text.
    pub fn sequences(&mut self, size: usize, repeats: f64) -> Result<Vec<Vec<u32>>> {
        let mut sequences = Vec::with_capacity(size);
        for _ in 0..size {
            let repeat = self.rng.random_bool(repeats);
            sequences.push(if repeat { self.repeat_sequence()? } else { self.text_sequence()? });
        }
        Ok(sequences)
    }
}

impl Batch {
    /// Cuts sequences of equal length.
    pub fn new(sequences: &[Vec<u32>]) -> Result<Self> {
        let length = sequences.first().map_or(0, |sequence| sequence.len().saturating_sub(1));
        ensure!(length > 0, "a batch needs sequences of two tokens or more");
        ensure!(sequences.iter().all(|sequence| sequence.len() == length + 1), "a batch needs equal lengths");
        let inputs: Vec<u32> = sequences.iter().flat_map(|s| &s[..length]).copied().collect();
        let targets: Vec<u32> = sequences.iter().flat_map(|s| &s[1..]).copied().collect();
        let count = sequences.len();
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (count, length), &Device::Cpu)?,
            targets: Tensor::from_vec(targets, count * length, &Device::Cpu)?,
        })
    }
}

/// The tokens of the stretches in a row.
pub fn tokens(tokenizer: &Tokenizer, stretches: &[String]) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for stretch in stretches {
        all.extend(plain_ids(tokenizer, stretch)?);
    }
    Ok(all)
}

/// `count` distinct tokens other than BOS, in random order.
pub fn distinct(rng: &mut impl Rng, vocab: usize, count: usize) -> Vec<u32> {
    index::sample(rng, vocab - 1, count).into_iter().map(|index| index as u32 + 1).collect()
}
