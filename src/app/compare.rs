//! Before and after: the open snapshot and an earlier one on the prompt, token by token.

use std::sync::Arc;

use super::{App, Effect, Screen, session::Answer, training::Training};
use crate::engine::protocol::{Change, Comparison, Pair, Request};

/// A comparison, or why there is none, in a line.
pub(crate) type Outcome = Result<Answer<Arc<Comparison>>, String>;

/// What the view of the Training screen shows, and what was asked for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparing {
    /// It is shown in the place of the losses.
    pub shown: bool,
    /// The step that was marked as before.
    marked: Option<u64>,
    /// The token that the cursor is on; until it is moved, the one that changes most.
    token: Option<usize>,
    /// What the engine was asked for last.
    asked: Option<Pair>,
    /// What it answered last.
    pub answer: Option<(Pair, Outcome)>,
}

impl Comparing {
    /// Forgets what is about another run.
    pub fn forget(&mut self) {
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
}

impl Training {
    /// The step of the snapshot that counts as before: the one marked, else the last before the change, else the first.
    pub fn before(&self) -> Option<u64> {
        let snapshots = &self.run.as_ref()?.snapshots;
        let steps = || snapshots.iter().map(|snapshot| snapshot.step);
        let marked = self.comparing.marked.filter(|&marked| steps().any(|step| step == marked));
        let calm = || self.window().and_then(|window| steps().take_while(|&step| step <= window.from).last());
        marked.or_else(calm).or_else(|| steps().next())
    }
}

impl App {
    /// What the engine is to be told when something else is to be compared, or nothing any more.
    pub(crate) fn follow_comparison(&mut self) -> Option<Effect> {
        let shown = self.screen == Screen::Training && self.training.comparing.shown;
        let epoch = self.session.run.as_ref().map(|run| run.epoch);
        let pair = epoch.zip(self.training.before()).map(|(epoch, before)| Pair { epoch, before });
        let wanted = pair.filter(|_| shown && self.info().is_some());
        let told = std::mem::replace(&mut self.training.comparing.asked, wanted);
        (told != wanted).then_some(Effect::Send(Request::Compare(wanted)))
    }

    /// Takes the answer, unless something else is wanted by now.
    pub(crate) fn take_comparison(&mut self, pair: Pair, result: Result<Arc<Comparison>, String>) {
        let run = self.session.run.clone().filter(|run| run.epoch == pair.epoch);
        if let Some(run) = run.filter(|_| self.training.comparing.asked == Some(pair)) {
            self.training.comparing.answer = Some((pair, result.map(|value| Answer { run, value })));
        }
    }

    /// Marks the snapshot under the cursor as before, or takes the mark off it.
    pub(super) fn mark_before(&mut self) {
        let step = self.training.snapshot().map(|snapshot| snapshot.step);
        let comparing = &mut self.training.comparing;
        comparing.shown = true;
        comparing.marked = step.filter(|_| comparing.marked != step);
        if comparing.marked.is_none() {
            self.say("the mark is off: before is the last snapshot before the change".into());
        }
    }
}
