//! The Training screen: the run that the model is a snapshot of, its curves, and the cursor on one of its snapshots.

use std::sync::Arc;

use super::{App, Effect, Screen, action::Action, compare::Comparing};
use crate::{
    analysis::{
        score::Score,
        timeline::{self, Window},
    },
    engine::protocol::{Measured, Request, RunView, SnapshotView},
    head::Head,
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
    watched: bool,
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

    /// The score of a head, `layer * heads + head`, or the best of all, over the steps.
    pub fn curve(&self, head: Option<usize>) -> Vec<(u64, f32)> {
        timeline::curve(self.points().iter().map(|point| (point.step, &*point.scores)), head, self.score)
    }

    /// Where the best of the score changes.
    pub fn window(&self) -> Option<Window> {
        timeline::window(&self.curve(None))
    }

    /// Heads by what their score is in the end, best first, `layer * heads + head`.
    pub fn order(&self) -> Vec<usize> {
        let heads = self.points().iter().map(|point| point.scores.len()).max().unwrap_or(0);
        let last = |head| self.curve(Some(head)).last().map(|point| point.1);
        let mut order: Vec<(usize, Option<f32>)> = (0..heads).map(|head| (head, last(head))).collect();
        order.sort_by(|one, other| other.1.unwrap_or(f32::MIN).total_cmp(&one.1.unwrap_or(f32::MIN)));
        order.into_iter().map(|(head, _)| head).collect()
    }

    /// The scores that are known at some step.
    fn scores(&self) -> Vec<Score> {
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
}

impl App {
    /// Takes what the engine tells of the run.
    pub(crate) fn take_run(&mut self, run: Option<Arc<RunView>>) {
        let training = &mut self.training;
        let source = |run: &Option<Arc<RunView>>| run.as_ref().map(|run| run.source.clone());
        if source(&training.run) != source(&run) {
            (training.cursor, training.asked) = (None, None);
            training.comparing.forget();
        }
        training.run = run;
        if training.run.as_ref().is_some_and(|run| run.open == training.asked) {
            training.asked = None;
        }
    }

    /// What the engine is to be told when the screen is entered or left.
    pub(crate) fn follow_run(&mut self) -> Option<Effect> {
        let watch = self.screen == Screen::Training && self.info().is_some();
        let told = std::mem::replace(&mut self.training.watched, watch);
        (told != watch).then_some(Effect::Send(Request::Watch(watch)))
    }

    /// Actions on the run.
    pub(crate) fn on_run(&mut self, action: Action) -> Vec<Effect> {
        let Some(run) = self.training.run.clone() else {
            self.say("the model is no snapshot of a run: 5 says what a run is".into());
            return Vec::new();
        };
        let last = run.snapshots.len().saturating_sub(1);
        let at = self.training.at().unwrap_or(last);
        match action {
            Action::SnapshotBack => self.put_cursor(&run, at.saturating_sub(1)),
            Action::SnapshotOn => self.put_cursor(&run, (at + 1).min(last)),
            Action::FirstSnapshot => self.put_cursor(&run, 0),
            Action::LastSnapshot => self.put_cursor(&run, last),
            Action::CurveUp if self.training.comparing.shown => self.training.comparing.step(-1),
            Action::CurveDown if self.training.comparing.shown => self.training.comparing.step(1),
            Action::CurveUp => self.step_order(-1),
            Action::CurveDown => self.step_order(1),
            Action::BeforeAfter => self.training.comparing.shown = !self.training.comparing.shown,
            Action::MarkBefore => self.mark_before(),
            Action::StepScale => self.training.log_steps = !self.training.log_steps,
            Action::OpenSnapshot => {
                self.screen = Screen::Explore;
                return self.open_snapshot(&run, at);
            }
            Action::EarlierSnapshot | Action::LaterSnapshot => {
                let from = self.training.asked.or(run.open);
                let to = match (action, from) {
                    (_, None) => Some(last),
                    (Action::EarlierSnapshot, Some(from)) => from.checked_sub(1),
                    (_, Some(from)) => Some(from + 1).filter(|&to| to <= last),
                };
                match to {
                    Some(to) => {
                        self.put_cursor(&run, to);
                        return self.open_snapshot(&run, to);
                    }
                    None => self.say(format!("no snapshot of {} lies further on that side", run.name)),
                }
            }
            _ => return vec![Effect::Send(Request::Measure(!self.training.is_measuring()))],
        }
        Vec::new()
    }

    fn put_cursor(&mut self, run: &RunView, at: usize) {
        self.training.cursor = run.snapshots.get(at).map(|snapshot| snapshot.step);
    }

    fn open_snapshot(&mut self, run: &RunView, at: usize) -> Vec<Effect> {
        let Some(snapshot) = run.snapshots.get(at) else { return Vec::new() };
        let effects = self.open(Some(snapshot.model.clone()));
        self.training.asked = Some(at);
        effects
    }

    /// Selects a head further up or down in the order of the table.
    fn step_order(&mut self, by: isize) {
        let Some(heads) = self.info().map(|info| info.heads) else { return };
        let order = self.training.order();
        let selected = self.explore.head.layer * heads + self.explore.head.head;
        let at = order.iter().position(|&head| head == selected);
        let to = at.map_or(Some(0), |at| at.checked_add_signed(by));
        if let Some(&head) = to.and_then(|to| order.get(to)) {
            self.select_head(Head::new(head / heads, head % heads));
        }
    }

    /// The next score that is known of the run.
    pub(crate) fn next_run_score(&mut self, by: isize) {
        let scores = self.training.scores();
        let Some(count) = Some(scores.len() as isize).filter(|&count| count > 0) else { return };
        let at = scores.iter().position(|&score| score == self.training.score);
        let to = at.map_or(0, |at| (at as isize + by).rem_euclid(count) as usize);
        self.training.score = scores[to];
        if scores.len() < Score::ALL.len() {
            self.say("the log has no other scores: m measures the snapshots".into());
        }
    }
}
