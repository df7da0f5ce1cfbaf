//! The bigram table against a text: is the direct path of a model what the text's own bigrams are?

use std::collections::HashMap;

use anyhow::{Result, bail};
use candle_core::Device;
use rayon::prelude::*;

use super::{bigram, factors::Embedding};
use crate::model::decoder::{Control, Decoder};

/// Logits that are held at once.
const LOGITS: usize = 1 << 24;

/// A pair of tokens, one right after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The token.
    pub current: u32,
    /// The one after it.
    pub next: u32,
    /// How often the text has the pair.
    pub count: usize,
}

/// The pairs of a text.
pub struct Pairs {
    /// Every pair that occurs, once, those of a token in a row.
    distinct: Vec<Pair>,
}

impl Pairs {
    /// Counts the pairs of `ids`, of which there are one fewer than tokens.
    pub fn count(ids: &[u32]) -> Self {
        let mut pairs: Vec<(u32, u32)> = ids.windows(2).map(|pair| (pair[0], pair[1])).collect();
        pairs.par_sort_unstable();
        let pair = |same: &[(u32, u32)]| Pair { current: same[0].0, next: same[0].1, count: same.len() };
        Self { distinct: pairs.chunk_by(|a, b| a == b).map(pair).collect() }
    }

    /// How many different pairs there are.
    pub fn distinct(&self) -> usize {
        self.distinct.len()
    }

    /// How many pairs there are, each as often as it occurs.
    pub fn total(&self) -> usize {
        self.distinct.iter().map(|pair| pair.count).sum()
    }

    /// The pairs of each token that has one after it.
    fn by_token(&self) -> impl Iterator<Item = &[Pair]> {
        self.distinct.chunk_by(|a, b| a.current == b.current)
    }

    /// The log-probability of every pair's second token given the first, `ln (count(a b) / count(a .))`, nats, in order.
    fn conditional(&self) -> Vec<f64> {
        let of = |pairs: &[Pair]| {
            let total: usize = pairs.iter().map(|pair| pair.count).sum();
            pairs.iter().map(|pair| (pair.count as f64 / total as f64).ln()).collect::<Vec<_>>()
        };
        self.by_token().flat_map(of).collect()
    }

    /// The loss of the text's own bigrams on it, `- sum_ab P(a b) ln P(b | a)`, nats a token: the entropy of the next
    /// token given the current one, the least that any table of bigrams can have on the text that it is taken from.
    pub fn bigram_loss(&self) -> f64 {
        self.mean_loss(&self.conditional())
    }

    /// The loss of the text's own frequencies, `- sum_b P(b) ln P(b)` over tokens that come next, nats a token.
    pub fn unigram_loss(&self) -> f64 {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        self.distinct.iter().for_each(|pair| *counts.entry(pair.next).or_default() += pair.count);
        let total = self.total() as f64;
        let log_probability = |pair: &Pair| (counts[&pair.next] as f64 / total).ln();
        self.mean_loss(&self.distinct.iter().map(log_probability).collect::<Vec<_>>())
    }

    /// The mean loss over the text where the pairs have these log-probabilities, nats a token.
    pub fn mean_loss(&self, log_probabilities: &[f64]) -> f64 {
        let pairs = self.distinct.iter().zip(log_probabilities);
        -pairs.map(|(pair, log)| pair.count as f64 * log).sum::<f64>() / self.total() as f64
    }
}

/// The log-probability that the direct path gives every pair of a text, nats, in order: `ln softmax(W_U norm(W_E[a]))[b]`
/// (Elhage et al. 2021, "Zero-layer transformers"; [`bigram::bigram`] says what it leaves out).
///
/// Only rows of tokens that occur are made, and of these a few at once.
///
/// # Errors
/// When a token is outside the vocabulary.
pub fn direct_path(
    decoder: &Decoder,
    which: Embedding,
    pairs: &Pairs,
    control: &Control<'_>,
) -> Result<Vec<f64>> {
    let vocabulary = decoder.spec.vocabulary;
    if let Some(id) = pairs.distinct.iter().flat_map(|pair| [pair.current, pair.next]).max()
        && id as usize >= vocabulary
    {
        bail!("the text has token {id}, and the model's vocabulary ends at {}", vocabulary - 1);
    }
    let tokens: Vec<&[Pair]> = pairs.by_token().collect();
    let mut found = Vec::with_capacity(pairs.distinct());
    let rows = (LOGITS / vocabulary).max(1);
    for (chunk, part) in tokens.chunks(rows).enumerate() {
        control.check()?;
        (control.progress)(chunk * rows, tokens.len());
        let ids: Vec<u32> = part.iter().map(|pairs| pairs[0].current).collect();
        let logits = bigram::direct_logits_of(decoder, which, &ids)?;
        let logits = logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        let row = |(pairs, logits): (&&[Pair], &[f32])| {
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = logits.iter().map(|&logit| f64::from((logit - largest).exp())).sum();
            let log = |pair: &Pair| f64::from(logits[pair.next as usize] - largest) - total.ln();
            pairs.iter().map(log).collect::<Vec<_>>()
        };
        found.par_extend(part.par_iter().zip(logits.par_chunks(vocabulary)).flat_map_iter(row));
    }
    Ok(found)
}

/// How a table of bigrams agrees with those of a text.
pub struct Agreement {
    /// Pairs that occur often enough to be compared one by one.
    pub frequent: usize,
    /// The share of the text that these are, 0 to 1.
    pub covered: f64,
    /// Pearson's correlation of the table's log-probability with that of the text over the frequent pairs, each once, -1
    /// to 1.
    pub correlation: f64,
    /// The same with each pair weighed by its count, so as often as the text has it. The more telling of the two: what is
    /// rare has a frequency that is itself a guess (of a pair seen `n` times, its log is uncertain by about `1 / sqrt(n)`),
    /// and a model is trained on pairs as often as they occur.
    pub weighted: f64,
    /// The table's loss on the text, nats a token.
    pub loss: f64,
    /// The frequent pairs that the table is furthest from, furthest first.
    pub differences: Vec<Difference>,
}

/// A pair that a table and a text disagree about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The pair.
    pub pair: Pair,
    /// Its log-probability in the text, nats.
    pub text: f64,
    /// Its log-probability in the table, nats.
    pub table: f64,
    /// What it adds to the table's loss above that of the text's own bigrams, nats a token: its share of the text times
    /// the difference. Over all pairs these sum to the difference of the losses.
    pub nats: f64,
}

/// Compares log-probabilities that a table gives the pairs of a text, nats, in order, with those of the text.
///
/// Pairs that occur `least` times or more are compared one by one, and the `top` that differ most are named. Pairs that
/// never occur have no logarithm and are in the loss alone: what a table gives them it takes from the others.
pub fn agreement(pairs: &Pairs, table: &[f64], least: usize, top: usize) -> Agreement {
    let total = pairs.total() as f64;
    let text = pairs.conditional();
    let mut frequent: Vec<Difference> = pairs
        .distinct
        .iter()
        .zip(text.iter().zip(table))
        .filter(|(pair, _)| pair.count >= least)
        .map(|(&pair, (&text, &table))| {
            let nats = pair.count as f64 / total * (text - table);
            Difference { pair, text, table, nats }
        })
        .collect();
    let count = |difference: &Difference| difference.pair.count as f64;
    let (correlation, weighted) = (correlation(&frequent, |_| 1.0), correlation(&frequent, count));
    let covered = frequent.iter().map(count).sum::<f64>() / total;
    let number = frequent.len();
    frequent.sort_by(|a, b| b.nats.abs().total_cmp(&a.nats.abs()));
    frequent.truncate(top);
    let loss = pairs.mean_loss(table);
    Agreement { frequent: number, covered, correlation, weighted, loss, differences: frequent }
}

/// Pearson's correlation of the two log-probabilities under weights: `cov(x, y) / sqrt(var(x) var(y))`; no number where one
/// of them does not vary.
fn correlation(pairs: &[Difference], weight: impl Fn(&Difference) -> f64) -> f64 {
    let total: f64 = pairs.iter().map(&weight).sum();
    let mean = |of: &dyn Fn(&Difference) -> f64| {
        pairs.iter().map(|pair| weight(pair) * of(pair)).sum::<f64>() / total
    };
    let (text, table) = (mean(&|pair| pair.text), mean(&|pair| pair.table));
    let covariance = mean(&|pair| (pair.text - text) * (pair.table - table));
    let variances = mean(&|pair| (pair.text - text).powi(2)) * mean(&|pair| (pair.table - table).powi(2));
    covariance / variances.sqrt()
}
