//! Before and after: the open snapshot and an earlier one on the prompt, token by token.

use std::sync::Arc;

use crate::{
    app::session::Answer,
    engine::protocol::{Change, Comparison, Pair},
};

/// A comparison, or why there is none, in a line.
pub(crate) type Outcome = Result<Answer<Arc<Comparison>>, String>;

/// What the view of the Training screen shows, and what was asked for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparing {
    /// It is shown in the place of the losses.
    pub shown: bool,
    /// The step that was marked as before.
    pub(super) marked: Option<u64>,
    /// The token that the cursor is on; until it is moved, the one that changes most.
    token: Option<usize>,
    /// What the engine was asked for last.
    pub(super) asked: Option<Pair>,
    /// What it answered last.
    pub answer: Option<(Pair, Outcome)>,
}

impl Comparing {
    /// Forgets what is about another run.
    pub(super) fn forget(&mut self) {
        *self = Self { shown: self.shown, asked: self.asked, ..Self::default() };
    }

    /// Whether the answer to what was asked is still due.
    pub fn is_working(&self) -> bool {
        self.asked.is_some() && self.answer.as_ref().map(|answer| answer.0) != self.asked
    }

    /// The comparison, where there is one.
    pub fn comparison(&self) -> Option<&Answer<Arc<Comparison>>> {
        self.answer.as_ref()?.1.as_ref().ok()
    }

    /// The tokens by how much the loss on them changes, most first: positions and losses.
    pub fn order(&self) -> Vec<(usize, Change)> {
        let changes = self.comparison().map_or(&[][..], |answer| &answer.value.changes);
        // Nothing predicts the first token.
        let mut order: Vec<(usize, Change)> =
            changes.iter().copied().enumerate().map(|(at, it)| (at + 1, it)).collect();
        order.sort_by(|one, other| other.1.difference().abs().total_cmp(&one.1.difference().abs()));
        order
    }

    /// The place of the cursor in that order.
    pub fn at(&self, order: &[(usize, Change)]) -> usize {
        order.iter().position(|row| Some(row.0) == self.token).unwrap_or(0)
    }

    /// Moves the cursor in that order.
    pub(super) fn step(&mut self, by: isize) {
        let order = self.order();
        let to = self.at(&order).saturating_add_signed(by).min(order.len().saturating_sub(1));
        self.token = order.get(to).map(|row| row.0);
    }

    /// Marks the snapshot of a step as before, or takes the mark off it; `false` where none is marked then.
    pub(super) fn mark(&mut self, step: Option<u64>) -> bool {
        self.shown = true;
        self.marked = step.filter(|_| self.marked != step);
        self.marked.is_some()
    }
}
