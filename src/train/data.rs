//! What the model is shown: windows of text, sequences in which a block of random tokens comes back, and windows of text
//! in which a span of that text comes back or someone made up is mentioned again.
//!
//! Every sequence starts with BOS at position 0 and has one token more than the model reads, the last target.

use anyhow::{Result, anyhow, ensure};
use candle_core::{Device, Tensor};
use rand::{
    Rng, SeedableRng,
    seq::{IndexedRandom, index},
};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokenizers::Tokenizer;

use super::{
    text::{Corpus, TITLES},
    vocabulary::{BOS_ID, plain_ids},
};

/// The shortest and longest block that comes back; a narrower window lowers the longest.
const BLOCK: (usize, usize) = (6, 59);
/// The shortest and longest span of text that comes back; a narrower window lowers the longest to its quarter.
const SPAN: (usize, usize) = (8, 42);
/// The fewest and most people made up for a window of text, and how often any of them is mentioned.
const PEOPLE: (usize, usize) = (1, 2);
const MENTIONS: (usize, usize) = (2, 5);
/// The fewest and most tokens of a made-up name.
const NAME: (usize, usize) = (2, 5);
/// The fewest letters of a word that stands before it like a title.
const SHORTEST_WORD: usize = 3;
/// How often one of the titles stands before it; else it is another word.
const TITLED: f64 = 1. / 3.;

/// An endless source of training sequences.
pub struct Source<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
    rng: ChaCha8Rng,
    /// The training text as tokens, with the names of this reading.
    stream: Vec<u32>,
    /// Where the generator stood when the text was read.
    reading: u64,
    /// Tokens to draw before the text is read again with new names.
    left: usize,
    context: usize,
    vocab: usize,
    /// The tokens of each title.
    titles: Vec<Vec<u32>>,
    /// Those of other words with a capital.
    words: Vec<Vec<u32>>,
}

/// Where a source stands: with its seed, all that follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Words drawn from the generator.
    word: u64,
    /// The same when the text was last read.
    reading: u64,
    /// Tokens to draw before it is read again.
    left: usize,
}

/// Shares of the kinds of sequences.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// Sequences with a block of random tokens that comes back.
    pub blocks: f64,
    /// Among the others, those in which a span of text comes back.
    pub spans: f64,
    /// Among what is left, those in which made-up people are mentioned.
    pub mentions: f64,
}

/// Sequences cut into what the model reads and what it must predict.
pub struct Batch {
    /// `[batch, T]`, u32.
    pub inputs: Tensor,
    /// `[batch * T]`, u32: the token after each input.
    pub targets: Tensor,
}

impl<'a> Source<'a> {
    /// A source whose every draw follows from `seed`; it goes on from `place` where one is given.
    pub fn new(
        corpus: &'a Corpus,
        tokenizer: &'a Tokenizer,
        context: usize,
        seed: u64,
        place: Option<Place>,
    ) -> Result<Self> {
        let (rng, vocab) = (ChaCha8Rng::seed_from_u64(seed), tokenizer.get_vocab_size(true));
        ensure!(context > 2 * BLOCK.0, "--context {context} is too short: {} at least", 2 * BLOCK.0 + 1);
        let titles = TITLES.iter().map(|title| plain_ids(tokenizer, title)).collect::<Result<_>>()?;
        let words = capitalised(tokenizer)?;
        let mut source = Self {
            corpus,
            tokenizer,
            rng,
            stream: Vec::new(),
            reading: 0,
            left: 0,
            context,
            vocab,
            titles,
            words,
        };
        source.rng.set_word_pos(place.map_or(0, |place| place.reading).into());
        source.read_again()?;
        if let Some(place) = place {
            source.rng.set_word_pos(place.word.into());
            source.left = place.left;
        }
        Ok(source)
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { word: self.rng.get_word_pos() as u64, reading: self.reading, left: self.left }
    }

    fn read_again(&mut self) -> Result<()> {
        // 2^64 words are never drawn.
        self.reading = self.rng.get_word_pos() as u64;
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

    /// BOS and `context` tokens of text, in whose second half a span of the first half stands again, in place of what
    /// was there: 8 to 42 tokens, a quarter of the context at most, at a place of its own.
    pub fn span_sequence(&mut self) -> Result<Vec<u32>> {
        let mut sequence = self.text_sequence()?;
        let longest = SPAN.1.min(self.context / 4).max(1);
        let size = self.rng.random_range(SPAN.0.min(longest)..=longest);
        let half = self.context / 2;
        let from = self.rng.random_range(1..=1 + half - size);
        let to = self.rng.random_range(1 + half..=1 + self.context - size);
        sequence.copy_within(from..from + size, to);
        Ok(sequence)
    }

    /// BOS and `context` tokens with a block of 6 to 59 distinct random tokens in them: one time in two the block
    /// over and over, else text, the block, text, and the block again at the end.
    pub fn block_sequence(&mut self) -> Result<Vec<u32>> {
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

    /// BOS and `context` tokens of text in which one or two made-up people are mentioned, two to five times in all, or as
    /// often as fits.
    pub fn mention_sequence(&mut self) -> Result<Vec<u32>> {
        let people = self.rng.random_range(PEOPLE.0..=PEOPLE.1);
        let people: Vec<Vec<u32>> = (0..people).map(|_| self.person()).collect();
        let mut left = self.context;
        let mut mentioned = Vec::new();
        for _ in 0..self.rng.random_range(MENTIONS.0..=MENTIONS.1) {
            let person = &people[self.rng.random_range(0..people.len())];
            if person.len() <= left {
                left -= person.len();
                mentioned.push(person);
            }
        }
        let text = self.text(left)?;
        let mut places: Vec<usize> =
            mentioned.iter().map(|_| self.rng.random_range(0..=text.len())).collect();
        places.sort_unstable();
        let (mut sequence, mut done) = (vec![BOS_ID], 0);
        for (place, person) in places.into_iter().zip(mentioned) {
            sequence.extend(&text[done..place]);
            sequence.extend(person);
            done = place;
        }
        sequence.extend(&text[done..]);
        Ok(sequence)
    }

    /// Tokens that mention someone: a title or another word with a capital, and a name of random tokens.
    fn person(&mut self) -> Vec<u32> {
        let openers = if self.rng.random_bool(TITLED) { &self.titles } else { &self.words };
        let opener = openers.choose(&mut self.rng).cloned().unwrap_or_default();
        let size = self.rng.random_range(NAME.0..=NAME.1);
        [opener, distinct(&mut self.rng, self.vocab, size)].concat()
    }

    /// `size` sequences of the kinds that `mix` draws.
    pub fn sequences(&mut self, size: usize, mix: Mix) -> Result<Vec<Vec<u32>>> {
        (0..size)
            .map(|_| match self.rng.random_bool(mix.blocks) {
                true => self.block_sequence(),
                false if mix.spans > 0. && self.rng.random_bool(mix.spans) => self.span_sequence(),
                false if mix.mentions > 0. && self.rng.random_bool(mix.mentions) => self.mention_sequence(),
                false => self.text_sequence(),
            })
            .collect()
    }
}

impl Batch {
    /// Cuts sequences of equal length, for a model on `device`.
    pub fn new(sequences: &[Vec<u32>], device: &Device) -> Result<Self> {
        let length = sequences.first().map_or(0, |sequence| sequence.len().saturating_sub(1));
        ensure!(length > 0, "a batch needs sequences of two tokens or more");
        ensure!(sequences.iter().all(|sequence| sequence.len() == length + 1), "a batch needs equal lengths");
        let inputs: Vec<u32> = sequences.iter().flat_map(|s| &s[..length]).copied().collect();
        let targets: Vec<u32> = sequences.iter().flat_map(|s| &s[1..]).copied().collect();
        let count = sequences.len();
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (count, length), device)?,
            targets: Tensor::from_vec(targets, count * length, device)?,
        })
    }
}

/// The tokens of the stretches in a row.
pub fn tokens(tokenizer: &Tokenizer, stretches: &[String]) -> Result<Vec<u32>> {
    let each: Result<Vec<Vec<u32>>> =
        stretches.par_iter().map(|stretch| plain_ids(tokenizer, stretch)).collect();
    Ok(each?.concat())
}

/// The words that are one token of the vocabulary, with a capital: the tokens of each.
fn capitalised(tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
    let mut words = Vec::new();
    for id in 0..tokenizer.get_vocab_size(true) as u32 {
        let token =
            tokenizer.decode(&[id], false).map_err(|error| anyhow!("cannot read a token: {error}"))?;
        let Some(word) = token.strip_prefix(' ') else { continue };
        if word.len() >= SHORTEST_WORD && word.bytes().all(|byte| byte.is_ascii_lowercase()) {
            words.push(plain_ids(tokenizer, &(word[..1].to_uppercase() + &word[1..]))?);
        }
    }
    Ok(words)
}

/// `count` distinct tokens other than BOS, in random order.
pub fn distinct(rng: &mut impl Rng, vocab: usize, count: usize) -> Vec<u32> {
    index::sample(rng, vocab - 1, count).into_iter().map(|index| index as u32 + 1).collect()
}
