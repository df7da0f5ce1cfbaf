//! The benchmark ranking: scores of all heads and the orders they can be put in.

use std::sync::Arc;

use crate::{
    analysis::{
        doubt::{Doubt, Ranks},
        score::{HeadScores, Score},
    },
    engine::protocol::{ModelInfo, RankSettings},
    head::Head,
};

/// How far the ranking is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nothing measured.
    #[default]
    None,
    /// So many sequences of so many.
    Running(usize, usize),
    /// Stopped after so many of so many.
    Stopped(usize, usize),
    /// All sequences.
    Done,
}

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
    /// `[layer * heads + head]`; empty before the first sequence.
    pub scores: Arc<[HeadScores]>,
    /// How far they can be trusted, `[layer * heads + head]`.
    pub doubts: Arc<[Doubt]>,
}

impl Ranking {
    /// No scores yet.
    pub fn new(settings: RankSettings) -> Self {
        Self { phase: Phase::None, before: Phase::None, settings, scores: Arc::new([]), doubts: Arc::new([]) }
    }

    /// Forgets the scores, which are another model's.
    pub fn clear(&mut self) {
        (self.phase, self.before) = (Phase::None, Phase::None);
        (self.scores, self.doubts) = (Arc::new([]), Arc::new([]));
    }

    /// Whether the engine is measuring.
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running(..))
    }

    /// The scores of a head, where it has been measured.
    pub fn get(&self, info: &ModelInfo, head: Head) -> Option<&HeadScores> {
        self.scores.get(head.layer * info.heads + head.head)
    }

    /// The standard error of what a head has in `column`, where it is known.
    pub fn error(&self, info: &ModelInfo, head: Head, column: Column) -> Option<f32> {
        column.value(&self.doubts.get(head.layer * info.heads + head.head)?.errors)
    }

    /// All heads measured, in the order of `column`: the highest score first, the head's name upwards.
    pub fn order(&self, info: &ModelInfo, column: Column, reverse: bool) -> Vec<Head> {
        let heads = info.heads.max(1);
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        let key = |index: usize| column.value(&self.scores[index]);
        // What was not measured comes last.
        order.sort_by(|&one, &other| match (key(one), key(other)) {
            (Some(one), Some(other)) => other.total_cmp(&one),
            (one, other) => other.is_some().cmp(&one.is_some()),
        });
        if reverse {
            order.reverse();
        }
        order.into_iter().map(|index| Head::new(index / heads, index % heads)).collect()
    }

    /// The ranks that a head may have by a score, where they are known.
    pub fn ranks(&self, info: &ModelInfo, head: Head, score: Score) -> Option<Ranks> {
        self.doubts.get(head.layer * info.heads + head.head)?.ranks(score)
    }

    /// The same, or else the rank that the head has, of how many.
    pub fn place(&self, info: &ModelInfo, head: Head, score: Score) -> Option<(Ranks, usize)> {
        let mine = self.get(info, head)?.measured(score)?;
        let above = || self.scores.iter().filter(|scores| scores.get(score) > mine).count();
        let ranks = self.ranks(info, head, score).unwrap_or_else(|| Ranks::one(above() + 1));
        Some((ranks, self.scores.len()))
    }
}
