//! What the Training screen remembers: the run, what is shown of it, and the cursor on one of its snapshots.

use std::sync::Arc;

use super::compare::Comparing;
use crate::{
    analysis::{
        score::Score,
        timeline::{self, Window},
    },
    engine::protocol::{Measured, RunView, SnapshotView},
    head::{Head, PerHead},
};

/// The state of the Training screen.
#[derive(Clone, Debug)]
pub(crate) struct Training {
    /// The run, where the model belongs to one.
    pub run: Option<Arc<RunView>>,
    /// The score whose curves are shown.
    pub score: Score,
    /// Steps are spread by their logarithm.
    pub log_steps: bool,
    /// The step of the snapshot that the cursor is on; until it is moved, the open one.
    cursor: Option<u64>,
    /// The snapshot that was asked for last, while it is being opened, and where it could not be.
    pub asked: Option<usize>,
    /// The engine was told to follow the run.
    pub(super) watched: bool,
    /// The open snapshot and another on the prompt.
    pub comparing: Comparing,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            run: None,
            score: Score::Induction,
            log_steps: false,
            cursor: None,
            asked: None,
            watched: false,
            comparing: Comparing::default(),
        }
    }
}

impl Training {
    /// Whether snapshots are being measured.
    pub fn is_measuring(&self) -> bool {
        self.watched && self.run.as_ref().is_some_and(|run| run.measuring.is_some())
    }

    /// The snapshot that the cursor is on.
    pub fn at(&self) -> Option<usize> {
        let run = self.run.as_ref()?;
        let last = run.snapshots.len().checked_sub(1)?;
        let moved = self.cursor.and_then(|step| run.snapshots.iter().position(|one| one.step == step));
        Some(moved.or(run.open).unwrap_or(last).min(last))
    }

    /// The same, as what is known of it.
    pub fn snapshot(&self) -> Option<&SnapshotView> {
        self.run.as_ref()?.snapshots.get(self.at()?)
    }

    /// What is known of a step.
    pub fn point(&self, step: u64) -> Option<&Measured> {
        self.points().iter().find(|point| point.step == step)
    }

    pub fn points(&self) -> &[Measured] {
        self.run.as_ref().map_or(&[], |run| &run.points)
    }

    /// The score of a head, or the best of all, over the steps.
    pub fn curve(&self, head: Option<Head>) -> Vec<(u64, f32)> {
        timeline::curve(self.points().iter().map(|point| (point.step, &point.scores)), head, self.score)
    }

    /// Where the best of the score changes.
    pub fn window(&self) -> Option<Window> {
        timeline::window(&self.curve(None))
    }

    /// The heads that anything is known of.
    pub(super) fn heads(&self) -> Vec<Head> {
        let scores = self.points().iter().map(|point| &point.scores).max_by_key(|scores| scores.len());
        scores.into_iter().flat_map(PerHead::iter).map(|(head, _)| head).collect()
    }

    /// Heads by what their score is in the end, best first.
    pub fn order(&self) -> Vec<Head> {
        let last = |head| self.curve(Some(head)).last().map(|point| point.1);
        let mut order: Vec<(Head, Option<f32>)> =
            self.heads().into_iter().map(|head| (head, last(head))).collect();
        order.sort_by(|one, other| other.1.unwrap_or(f32::MIN).total_cmp(&one.1.unwrap_or(f32::MIN)));
        order.into_iter().map(|(head, _)| head).collect()
    }

    /// The scores that are known at some step.
    pub(super) fn scores(&self) -> Vec<Score> {
        let known = |score: &Score| {
            let mut points = self.points().iter();
            points.any(|point| timeline::best(&point.scores, *score).is_some())
        };
        Score::ALL.into_iter().filter(known).collect()
    }

    /// The run's name and the step of the open snapshot, for the title; none for a shipped model, the end of its run.
    pub fn title(&self) -> Option<String> {
        let run = self.run.as_ref()?;
        let open = run.snapshots.get(run.open?)?;
        (open.model != run.name).then(|| format!("{} step {}", run.name, open.step))
    }

    /// The step of the snapshot that counts as before: the one marked, else the last before the change, else the first.
    pub fn before(&self) -> Option<u64> {
        let snapshots = &self.run.as_ref()?.snapshots;
        let steps = || snapshots.iter().map(|snapshot| snapshot.step);
        let marked = self.comparing.marked.filter(|&marked| steps().any(|step| step == marked));
        let calm = || self.window().and_then(|window| steps().take_while(|&step| step <= window.from).last());
        marked.or_else(calm).or_else(|| steps().next())
    }

    /// Takes what the engine tells of the run.
    pub(super) fn take(&mut self, run: Option<Arc<RunView>>) {
        let source = |run: &Option<Arc<RunView>>| run.as_ref().map(|run| run.source.clone());
        if source(&self.run) != source(&run) {
            (self.cursor, self.asked) = (None, None);
            self.comparing.forget();
        }
        self.run = run;
        if self.run.as_ref().is_some_and(|run| run.open == self.asked) {
            self.asked = None;
        }
    }

    /// Puts the cursor on a snapshot.
    pub(super) fn put_cursor(&mut self, run: &RunView, at: usize) {
        self.cursor = run.snapshots.get(at).map(|snapshot| snapshot.step);
    }
}
