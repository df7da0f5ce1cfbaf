//! A run that is looked at again and again, with what came of its snapshots for as long as they stay as they are.

use std::collections::BTreeMap;

use super::folder::{Stamp, TrainingRun, stamp};
use crate::checkpoint::snapshot::Snapshot;

/// Snapshots of which a look asks whether they have changed; those beyond come with the next. A run on a network disk may have
/// thousands.
const STAMPED: usize = 64;

/// A run as it was when it was last looked at, and what came of its snapshots.
pub struct Looked<T> {
    run: TrainingRun,
    /// The folder of the run could not be read when it was last looked at.
    gone: bool,
    /// By what opens the snapshot: how it was written then, and what came of it.
    outcomes: BTreeMap<String, (Stamp, T)>,
    /// The snapshot that was stamped last.
    stamped: String,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The run itself is another: there is a snapshot more or less, or a longer log.
    pub run: bool,
    /// The run went away or came back.
    pub gone: bool,
    /// What came of a snapshot holds no more: it was written anew, or is no longer there.
    pub outcomes: bool,
}

impl<T> Looked<T> {
    /// A run that nothing has come of yet.
    pub fn new(run: TrainingRun) -> Self {
        Self { run, gone: false, outcomes: BTreeMap::new(), stamped: String::new() }
    }

    /// The run as it was when it was last looked at.
    pub fn run(&self) -> &TrainingRun {
        &self.run
    }

    /// Whether its folder could not be read then.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Takes what is known of the run from elsewhere.
    pub fn set_run(&mut self, run: TrainingRun) {
        self.run = run;
    }

    /// Looks at the run. What came of a snapshot that was written anew is forgotten.
    pub fn look(&mut self) -> News {
        let Some(now) = self.run.again() else {
            return News { gone: !std::mem::replace(&mut self.gone, true), ..News::default() };
        };
        let gone = std::mem::take(&mut self.gone);
        let run = now != self.run;
        if run {
            self.run = now;
        }
        let before = self.outcomes.len();
        let there: BTreeMap<&str, &Snapshot> =
            self.run.snapshots.iter().map(|one| (one.model.as_str(), one)).collect();
        self.outcomes.retain(|model, _| there.contains_key(model.as_str()));
        let turn: Vec<&String> = self.outcomes.keys().collect();
        let first = turn.partition_point(|model| **model <= self.stamped);
        let turn: Vec<String> =
            turn[first..].iter().chain(&turn[..first]).take(STAMPED).map(|model| (*model).clone()).collect();
        for model in &turn {
            let changed = there.get(model.as_str()).map(|snapshot| stamp(snapshot));
            if changed != self.outcomes.get(model).map(|outcome| outcome.0) {
                self.outcomes.remove(model);
            }
        }
        self.stamped = turn.last().cloned().unwrap_or_default();
        News { run, gone, outcomes: self.outcomes.len() < before }
    }

    /// Keeps what came of a snapshot that had this stamp before it was read: if it was still being written, it has another
    /// one by now.
    pub fn keep(&mut self, snapshot: Snapshot, stamp: Stamp, outcome: T) {
        self.outcomes.insert(snapshot.model, (stamp, outcome));
    }

    /// What came of a snapshot.
    pub fn outcome(&self, snapshot: &Snapshot) -> Option<&T> {
        self.outcomes.get(&snapshot.model).map(|(_, outcome)| outcome)
    }

    /// Of how many snapshots something came.
    pub fn len(&self) -> usize {
        self.outcomes.len()
    }
}
