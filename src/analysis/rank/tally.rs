//! What has been measured of every head, draw by draw.

use crate::{
    analysis::{
        benchmark::Kind,
        doubt::{self, Doubt},
        score::{HeadScores, Score},
    },
    head::{Head, PerHead},
};

/// Scores of every head on the sequences measured so far.
#[derive(Clone)]
pub struct Tally {
    layers: usize,
    /// Heads in a layer.
    heads: usize,
    draws: Vec<Draw>,
}

/// What was measured on one sequence.
#[derive(Clone)]
pub(super) struct Draw {
    pub kind: Kind,
    /// The mean of each score over the sequence's rows, `[layers, heads, measured_on(kind)]`.
    pub means: Vec<f64>,
}

/// The scores that are measured on sequences of a kind; on controls that of induction is the chance level.
pub(super) fn measured_on(kind: Kind) -> &'static [Score] {
    use Score::{Duplicate, Entropy, Induction, Itself, Prefix, Previous, Sink, Tl};
    match kind {
        Kind::Repeat => &[Induction, Previous, Duplicate, Sink, Itself, Entropy],
        Kind::Control => &[Induction],
        Kind::Prefix => &[Prefix],
        Kind::Stripe => &[Tl],
    }
}

impl Tally {
    /// Nothing measured yet, for so many layers with `heads` in each.
    pub fn new(layers: usize, heads: usize) -> Self {
        Self::of(layers, heads, Vec::new())
    }

    /// What was measured on sequences, for so many layers with `heads` in each.
    pub(super) fn of(layers: usize, heads: usize, draws: Vec<Draw>) -> Self {
        Self { layers, heads, draws }
    }

    /// Takes in what another tally measured, on other sequences.
    pub fn merge(&mut self, other: Self) {
        self.draws.extend(other.draws);
    }

    /// How many sequences of a kind were measured.
    pub fn count(&self, kind: Kind) -> usize {
        self.draws.iter().filter(|draw| draw.kind == kind).count()
    }

    /// What each sequence of a kind says of a score of a head, in the order in which they were measured.
    pub fn means(&self, kind: Kind, score: Score, head: Head) -> Vec<f64> {
        let scores = measured_on(kind);
        let Some(place) = scores.iter().position(|&measured| measured == score) else { return Vec::new() };
        let of_kind = self.draws.iter().filter(|draw| draw.kind == kind);
        let at = (head.layer * self.heads + head.head) * scores.len() + place;
        of_kind.map(|draw| draw.means[at]).collect()
    }

    /// The means so far; not a number where nothing was measured.
    pub fn scores(&self) -> PerHead<HeadScores> {
        self.each(doubt::mean)
    }

    /// The standard errors of [`Self::scores`]; not a number where one sequence was measured or none.
    pub fn errors(&self) -> PerHead<HeadScores> {
        self.each(doubt::standard_error)
    }

    /// What `value` gives for each head.
    fn of_heads<T>(&self, value: impl FnMut(Head) -> T) -> PerHead<T> {
        PerHead::from_fn(self.layers, self.heads, value)
    }

    /// A number of every score's draws.
    fn each(&self, number: impl Fn(&[f64]) -> f64) -> PerHead<HeadScores> {
        let of = |kind, score, head| number(&self.means(kind, score, head)) as f32;
        self.of_heads(|head| {
            let mut scores = HeadScores::default();
            scores.chance = of(Kind::Control, Score::Induction, head);
            for score in Score::ALL {
                scores.set(score, of(Kind::of(score), score, head));
            }
            scores
        })
    }

    /// The doubt about every head's scores, with the ranks that it may have by those of `by`.
    pub fn doubts(&self, by: &[Score]) -> PerHead<Doubt> {
        let mut doubts: Vec<Doubt> = self.errors().values().iter().copied().map(Doubt::new).collect();
        for &score in by {
            let draws = self.of_heads(|head| self.means(Kind::of(score), score, head));
            for (doubt, ranks) in doubts.iter_mut().zip(doubt::ranks(draws.values())) {
                doubt.set_ranks(score, ranks);
            }
        }
        PerHead::new(self.heads, doubts)
    }

    /// The widest of the intervals that cover the scores of the `leaders` first heads by `by`, each with probability 0.95: half
    /// of it. 0 where none of them was measured.
    pub fn widest(&self, by: Score, leaders: usize) -> f64 {
        let scores = self.scores();
        let first = super::order(&scores, by).into_iter().take(leaders);
        let measured = first.filter(|&head| scores[head].measured(by).is_some());
        measured.map(|head| doubt::half_width(&self.means(Kind::of(by), by, head))).fold(0.0, f64::max)
    }
}
