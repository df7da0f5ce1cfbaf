//! What a model makes of plain text: whether it has learnt anything, whether it uses order and context, whether it ends.

use std::collections::HashMap;

use super::{
    Finding, Verdict,
    readings::{ERRORS, GAIN, Gain},
};
use crate::analysis::loss;

/// The texts that are read where none is given, each with its author: both are in the public domain.
pub const SHIPPED: [(&str, &str); 2] =
    [("Austen", include_str!("texts/austen.txt")), ("Darwin", include_str!("texts/darwin.txt"))];

/// Losses on a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss<'a> {
    /// The text.
    pub name: &'a str,
    /// Its tokens.
    pub ids: &'a [u32],
    /// The loss on each token but the first, nats.
    pub losses: &'a [f32],
}

impl Loss<'_> {
    /// The mean, nats a token.
    pub fn mean(&self) -> f64 {
        loss::mean(self.losses)
    }

    /// The entropy of the text's own tokens, `-sum p ln p` of their shares, nats: what a model reaches that knows how often
    /// each comes and nothing else.
    pub fn unigram_entropy(&self) -> f64 {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        self.ids.iter().for_each(|&id| *counts.entry(id).or_default() += 1);
        let total = self.ids.len() as f64;
        let mut shares: Vec<f64> = counts.into_values().map(|count| count as f64 / total).collect();
        // A sum in another order is another sum.
        shares.sort_by(f64::total_cmp);
        shares.into_iter().map(|share| -share * share.ln()).sum()
    }
}

/// Whether a model has learnt something: its losses beat a guess.
pub fn is_trained(losses: &[Loss<'_>], vocabulary: usize) -> bool {
    let mean = losses.iter().map(Loss::mean).sum::<f64>() / losses.len().max(1) as f64;
    // What is no number says nothing of that.
    mean.is_nan() || loss::beats_a_guess(mean, vocabulary)
}

/// Whether some text is read about as well as the shares of its tokens tell.
pub fn is_read(losses: &[Loss<'_>]) -> bool {
    /// Nats above the unigram entropy that a model which has learnt to copy does not lose.
    const FAR: f64 = 1.5;
    losses.iter().any(|of| of.mean() < of.unigram_entropy() + FAR)
}

/// The loss on each text against a guess among all tokens and against how often the text's tokens come.
pub fn losses(losses: &[Loss<'_>], vocabulary: usize) -> Vec<Finding> {
    const CHECK: &str = "text.loss";
    let guess = (vocabulary as f64).ln();
    let finding = |of: &Loss<'_>| {
        let (mean, own) = (of.mean(), of.unigram_entropy());
        let usual = format!("below {own:.2}, the text's unigram entropy");
        let (verdict, what) = if !mean.is_finite() {
            (Verdict::Fail, "which is no number: see weights.finite and inside.finite".to_owned())
        } else if mean > guess + 1.0 {
            (
                Verdict::Fail,
                format!("more than a guess among all tokens ({guess:.2}): it is broken, or read wrongly"),
            )
        } else if !loss::beats_a_guess(mean, vocabulary) {
            (
                Verdict::Note,
                format!(
                    "about that of a guess among all tokens ({guess:.2}): the model is untrained, unless a probe fails"
                ),
            )
        } else if mean > own {
            let what = format!(
                "more than the text's unigram entropy ({own:.2}): little is learnt, or it is read wrongly"
            );
            (Verdict::Warn, what)
        } else {
            (Verdict::Ok, format!("less than the text's unigram entropy ({own:.2})"))
        };
        let text = format!("the loss is {mean:.3} nats a token over {} tokens, {what}", of.losses.len());
        Finding::new(CHECK, verdict, mean, usual, text).at(of.name)
    };
    losses.iter().map(finding).collect()
}

/// Whether what came before helps: the loss on the last third of a text against that on the first.
pub fn by_position(losses: &[Loss<'_>], trained: bool) -> Vec<Finding> {
    const CHECK: &str = "text.position";
    /// Nats by which a text's parts differ in difficulty.
    const RISE: f64 = 1.0;
    if losses.is_empty() || losses.iter().any(|of| !of.mean().is_finite()) {
        return Vec::new();
    }
    let part = |of: &Loss<'_>, third: usize| {
        let size = of.losses.len() / 3;
        loss::mean(&of.losses[third * size..(third + 1) * size])
    };
    let rises: Vec<f64> = losses.iter().map(|of| part(of, 2) - part(of, 0)).collect();
    let rise = rises.iter().sum::<f64>() / rises.len() as f64;
    let worst = rises.iter().copied().fold(f64::INFINITY, f64::min);
    let (verdict, what) = match trained && worst > RISE {
        true => (Verdict::Fail, "it explodes with distance: the rotation or the positions are read wrongly"),
        false if rise < 0.0 => (Verdict::Ok, "it falls, as more of the text is known"),
        false => (Verdict::Ok, "it stays within what texts differ by"),
    };
    let text =
        format!("from the first third of the texts to the last the loss changes by {rise:+.2} nats: {what}");
    vec![Finding::new(CHECK, verdict, rise, format!("below {RISE}"), text)]
}

/// Whether order is used: the loss on a text with its words shuffled against that on the text.
pub fn order(shuffled: f64, plain: f64, trained: bool) -> Finding {
    const CHECK: &str = "text.order";
    /// Nats that shuffling costs a model that uses order.
    const LEAST: f64 = 0.3;
    let cost = shuffled - plain;
    let (verdict, what) = match (trained, cost < LEAST) {
        (true, true) => (Verdict::Warn, "the order of words hardly matters to it"),
        (true, false) => (Verdict::Ok, "it uses the order of words"),
        (false, _) => (Verdict::Note, "an untrained model does not use order"),
    };
    let text = format!("shuffling the words costs {cost:.2} nats a token: {what}");
    Finding::new(CHECK, verdict, cost, format!("above {LEAST}"), text)
}

/// Whether a beginning-of-text token helps, where the tokenizer puts one or could: by what it takes off the loss.
pub fn bos(gain: Gain, adds: bool) -> Finding {
    const CHECK: &str = "text.bos";
    /// Nats that a BOS makes which the model was trained on, or was not.
    const MUCH: f64 = 0.1;
    let Gain { mean: gain, error } = gain;
    let is_much = gain.abs() > MUCH && gain.abs() > ERRORS * error;
    let (verdict, what) = match (adds, is_much) {
        (true, true) if gain < 0.0 => (
            Verdict::Warn,
            "the tokenizer adds one, and the model reads better without: was it trained with it?",
        ),
        (false, true) if gain > 0.0 => {
            (Verdict::Warn, "the tokenizer adds none, and the model reads better with one")
        }
        (true, _) => (Verdict::Ok, "the tokenizer adds one"),
        (false, _) => (Verdict::Ok, "the tokenizer adds none"),
    };
    let side = if gain < 0.0 { "higher" } else { "lower" };
    let text = format!("with a BOS token the loss is {:.3} nats {side}; {what}", gain.abs());
    Finding::new(CHECK, verdict, gain, format!("within {MUCH}, or as the tokenizer has it"), text)
}

/// Whether tokens are predicted one too late or too early: losses against the token that is read, and the one after the next.
pub fn shifted(next: f64, same: f64, after: f64, vocabulary: usize) -> Finding {
    const CHECK: &str = "probe.shift";
    let (best, what) = match same < after {
        true => (same, "the token that is read itself"),
        false => (after, "the token after the next"),
    };
    let gain = next - best;
    let (verdict, text) = match gain > GAIN && loss::beats_a_guess(best, vocabulary) {
        true => (
            Verdict::Fail,
            format!(
                "{what} is predicted better than the next by {gain:.2} nats: targets were shifted in training"
            ),
        ),
        false => (Verdict::Ok, "the next token is what is predicted".to_owned()),
    };
    Finding::new(CHECK, verdict, gain, "the next token is predicted best", text)
}

/// What a tokenizer makes of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Encoding {
    /// Bytes of text.
    pub bytes: usize,
    /// Tokens of it.
    pub tokens: usize,
    /// Tokens that stand for unknown text.
    pub unknown: usize,
    /// Tokens that are part of a character, as byte fallback makes them.
    pub partial: usize,
    /// Whether the tokens give another text back.
    pub changed: bool,
    /// Ids that the model has no embedding for.
    pub outside: usize,
}

/// Whether a tokenizer fits the text and the model.
pub fn tokenizer(encoding: Encoding, tokens: usize, vocabulary: usize) -> Vec<Finding> {
    let Encoding { bytes, tokens: made, unknown, partial, changed, outside } = encoding;
    let each = bytes as f64 / made.max(1) as f64;
    let unknown_share = unknown as f64 / made.max(1) as f64;
    let mut found = Vec::new();
    let (verdict, what) = match (outside, tokens.cmp(&vocabulary)) {
        (0, std::cmp::Ordering::Greater) => {
            (Verdict::Warn, "some of its tokens cannot be embedded: it may be another model's")
        }
        (0, std::cmp::Ordering::Less) => (Verdict::Note, "the rest of the vocabulary is padding"),
        (0, _) => (Verdict::Ok, "they fit"),
        _ => (Verdict::Fail, "tokens of plain text cannot be embedded: it is another model's"),
    };
    let text = format!("the tokenizer has {tokens} tokens and the model {vocabulary}: {what}");
    found.push(Finding::new(
        "vocabulary.size",
        verdict,
        tokens as f64 - vocabulary as f64,
        "at most as many as the model",
        text,
    ));
    let (verdict, what) = match (changed, unknown_share > 0.01) {
        (_, true) => (Verdict::Fail, "it does not know this text: it is broken, or of another language"),
        (true, _) => (
            Verdict::Note,
            "its tokens do not give the text back byte by byte, as tokenizers that normalise text do not",
        ),
        _ => (Verdict::Ok, "its tokens give the text back"),
    };
    let text = format!(
        "{each:.2} bytes a token, {:.1}% unknown, {:.1}% parts of characters: {what}",
        100.0 * unknown_share,
        100.0 * partial as f64 / made.max(1) as f64
    );
    found.push(Finding::new("text.tokenizer", verdict, each, "no unknown tokens", text));
    if each < 2.0 && unknown_share <= 0.01 && tokens > 1000 {
        let text = format!(
            "{each:.2} bytes a token is little for a tokenizer of {tokens} tokens: its merges may be missing"
        );
        found.push(Finding::new("text.tokenizer", Verdict::Warn, each, "3 to 5 for English", text));
    }
    found
}

/// Whether a greedy continuation goes round in circles: the share of its 4-grams that came before in it.
pub fn continuation(ids: &[u32], trained: bool) -> Finding {
    const CHECK: &str = "text.continuation";
    const GRAM: usize = 4;
    let grams: Vec<&[u32]> = ids.windows(GRAM).collect();
    let again = grams.iter().enumerate().filter(|(at, gram)| grams[..*at].contains(gram)).count();
    let share = again as f64 / grams.len().max(1) as f64;
    let distinct = ids.iter().collect::<std::collections::BTreeSet<_>>().len();
    let one = !ids.is_empty() && distinct <= 2;
    let (verdict, what) = match (trained, one, share > 0.5) {
        (true, true, _) => (Verdict::Warn, "it says the same token again and again"),
        (_, _, true) => (Verdict::Note, "it goes round in circles, as small models do when they are greedy"),
        _ => (Verdict::Ok, "it does not go round in circles"),
    };
    let text = format!("{:.0}% of what it continues with repeats what it said: {what}", 100.0 * share);
    Finding::new(CHECK, verdict, share, "below 0.5", text)
}
