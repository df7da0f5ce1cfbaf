//! The benchmark ranking: scores of all heads and the orders they can be put in.

use crate::{
    analysis::{
        doubt::{Doubt, Ranks},
        score::{HeadScores, Score},
    },
    app::phase::Phase,
    engine::protocol::RankSettings,
    head::{Head, PerHead},
};

/// A column of the table that it can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The head's name.
    Head,
    /// A score.
    Score(Score),
    /// The chance level of the induction score.
    Chance,
}

impl Column {
    /// Every column, from left to right.
    pub fn all() -> impl Iterator<Item = Self> {
        let [induction, rest @ ..] = Score::ALL;
        [Self::Head, Self::Score(induction), Self::Chance].into_iter().chain(rest.map(Self::Score))
    }

    /// The heading.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Score(score) => score.name(),
            Self::Chance => "chance",
        }
    }

    /// The column that many steps to the right, around the end.
    pub fn step(self, by: isize) -> Self {
        let all: Vec<Self> = Self::all().collect();
        let at = all.iter().position(|&column| column == self).unwrap_or(0);
        all[(at as isize + by).rem_euclid(all.len() as isize) as usize]
    }

    /// The value of the column, where it was measured; the head's name counts as none.
    pub fn value(self, scores: &HeadScores) -> Option<f32> {
        match self {
            Self::Head => None,
            Self::Score(score) => scores.measured(score),
            Self::Chance => Some(scores.chance).filter(|chance| !chance.is_nan()),
        }
    }
}

/// The ranking.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// How far it is.
    pub phase: Phase,
    /// How far it was when it was last started.
    pub before: Phase,
    /// How it is measured.
    pub settings: RankSettings,
    /// Of every head; empty before the first sequence.
    pub scores: PerHead<HeadScores>,
    /// How far they can be trusted.
    pub doubts: PerHead<Doubt>,
}

impl Ranking {
    /// No scores yet.
    pub fn new(settings: RankSettings) -> Self {
        let (scores, doubts) = Default::default();
        Self { phase: Phase::None, before: Phase::None, settings, scores, doubts }
    }

    /// Forgets the scores, which are another model's.
    pub fn clear(&mut self) {
        (self.phase, self.before) = (Phase::None, Phase::None);
        (self.scores, self.doubts) = Default::default();
    }

    /// The standard error of what a head has in `column`, where it is known.
    pub fn error(&self, head: Head, column: Column) -> Option<f32> {
        column.value(&self.doubts.get(head)?.errors)
    }

    /// All heads measured, in the order of `column`: the highest score first, the head's name upwards.
    pub fn order(&self, column: Column, reverse: bool) -> Vec<Head> {
        let mut order: Vec<Head> = self.scores.iter().map(|(head, _)| head).collect();
        let key = |head: Head| column.value(&self.scores[head]);
        // What was not measured comes last.
        order.sort_by(|&one, &other| match (key(one), key(other)) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        if reverse {
            order.reverse();
        }
        order
    }

    /// The ranks that a head may have by a score, where they are known.
    pub fn ranks(&self, head: Head, score: Score) -> Option<Ranks> {
        self.doubts.get(head)?.ranks(score)
    }

    /// The same, or else the rank that the head has, of how many.
    pub fn place(&self, head: Head, score: Score) -> Option<(Ranks, usize)> {
        let mine = self.scores.get(head)?.measured(score)?;
        let above = || self.scores.values().iter().filter(|scores| scores.get(score) > mine).count();
        let ranks = self.ranks(head, score).unwrap_or_else(|| Ranks::one(above() + 1));
        Some((ranks, self.scores.len()))
    }
}
