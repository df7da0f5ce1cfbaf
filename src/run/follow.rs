//! A run that is followed: looked at again and again, with what came of its snapshots for as long as they stay as they are.

use std::collections::BTreeMap;

use super::{
    folder::{Stamp, TrainingRun},
    log::Log,
    looked::Looked,
    measured::Measured,
};
use crate::checkpoint::snapshot::Snapshot;

/// Which snapshots are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Those of whose step nothing is logged.
    #[default]
    Unlogged,
    /// All.
    All,
    /// None any more.
    None,
}

/// A run, its log, and what came of its snapshots.
pub struct Followed {
    /// What was measured of each, or what is wrong with it, in a line.
    looked: Looked<Result<Measured, String>>,
    log: Log,
    /// Layers of the model, and heads in each.
    shape: (usize, usize),
    scope: Scope,
}

impl Followed {
    /// A run of models with these layers and heads in each. What came of its snapshots `before` stays, where that was the same
    /// run, of models of the same shape.
    pub fn new(run: TrainingRun, shape: (usize, usize), before: Option<Self>) -> Self {
        let log = run.read_log();
        match before.filter(|before| before.shape == shape && before.run().source == run.source) {
            Some(mut before) => {
                before.looked.set_run(run);
                Self { log, ..before }
            }
            None => Self { looked: Looked::new(run), log, shape, scope: Scope::default() },
        }
    }

    /// The run as it was when it was last looked at.
    pub fn run(&self) -> &TrainingRun {
        self.looked.run()
    }

    /// Layers of the run's models, and heads in each.
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// Says which snapshots are measured from now on; what has been measured stays.
    pub fn set_scope(&mut self, scope: Scope) {
        self.scope = scope;
    }

    /// Looks at the run; whether anything has changed. A snapshot that was written anew, or was not whole, is to be measured
    /// again.
    pub fn look(&mut self) -> bool {
        let news = self.looked.look();
        if news.run {
            self.log = self.run().read_log();
        }
        news.run || news.gone || news.outcomes
    }

    /// The snapshots that are measured, those that have been included.
    fn wanted(&self) -> impl Iterator<Item = &Snapshot> {
        let unlogged = |step| self.log.at(step).is_none_or(|entry| entry.heads.is_empty());
        self.run().snapshots.iter().filter(move |snapshot| {
            self.outcome(snapshot).is_some()
                || match self.scope {
                    Scope::Unlogged => unlogged(snapshot.step),
                    Scope::All => true,
                    Scope::None => false,
                }
        })
    }

    /// The snapshot that is to be measured next.
    pub fn next(&self) -> Option<&Snapshot> {
        self.wanted().find(|snapshot| self.outcome(snapshot).is_none())
    }

    /// How many snapshots have been measured, and how many of them there will be.
    pub fn progress(&self) -> (usize, usize) {
        (self.looked.len(), self.wanted().count())
    }

    /// Keeps what came of a snapshot that had this stamp before it was read: if it was still being written, it has another
    /// one by now.
    pub fn keep(&mut self, snapshot: Snapshot, stamp: Stamp, measured: Result<Measured, String>) {
        self.looked.keep(snapshot, stamp, measured);
    }

    fn outcome(&self, snapshot: &Snapshot) -> Option<&Result<Measured, String>> {
        self.looked.outcome(snapshot)
    }

    /// What is wrong with a snapshot, in a line.
    pub fn problem(&self, snapshot: &Snapshot) -> Option<&String> {
        self.outcome(snapshot)?.as_ref().err()
    }

    /// Tokens in the block that what was logged last was measured on.
    pub fn logged_length(&self) -> Option<usize> {
        self.log.entries.iter().rev().find_map(|entry| entry.length)
    }

    /// What is known of the steps, in their order: measured where it was, else as it was logged.
    pub fn points(&self) -> Vec<Measured> {
        let (layers, heads) = self.shape;
        let logged = self.log.entries.iter().map(|entry| entry.measured(layers, heads));
        let mut points: BTreeMap<u64, Measured> = logged.map(|point| (point.step, point)).collect();
        let measured =
            self.run().snapshots.iter().filter_map(|snapshot| self.outcome(snapshot)?.as_ref().ok().cloned());
        for mut point in measured {
            if let Some(logged) = points.get(&point.step) {
                point.add_logged(logged);
            }
            points.insert(point.step, point);
        }
        points.into_values().collect()
    }

    /// What is wrong with the run, a line each.
    pub fn troubles(&self) -> Vec<String> {
        let run = self.run();
        let gone = || format!("{} cannot be read any more; what was read is kept", run.source);
        let troubles = self.looked.is_gone().then(gone).into_iter().chain(run.troubles.iter().cloned());
        troubles.chain(self.log.trouble.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::folder::stamp, *};

    #[test]
    fn what_was_measured_is_kept_while_the_snapshot_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let write = |step: u64, bytes: &str| {
            let snapshot = folder.path().join(format!("step-{step}"));
            fs::create_dir_all(&snapshot).unwrap();
            fs::write(snapshot.join("model.safetensors"), bytes).unwrap();
        };
        let next = |followed: &Followed| followed.next().map(|snapshot| snapshot.step);
        let take = |followed: &mut Followed, measured: Result<Measured, String>| {
            let snapshot = followed.next().unwrap().clone();
            let stamp = stamp(&snapshot);
            followed.keep(snapshot, stamp, measured);
        };
        write(5, "five");
        write(10, "ten");
        let log = r#"{"step":5,"held_out_loss":4.5,"heads":[{"layer":0,"head":0,"induction":0.5}]}"#;
        fs::write(folder.path().join("log.jsonl"), log).unwrap();
        let run = || TrainingRun::read(folder.path()).unwrap();
        let mut followed = Followed::new(run(), (1, 1), None);
        assert_eq!((next(&followed), followed.progress()), (Some(10), (0, 1)), "5 is logged");
        take(&mut followed, Err("half".to_owned()));
        assert_eq!(
            (next(&followed), followed.problem(&followed.run().snapshots[1]).unwrap().as_str()),
            (None, "half")
        );
        assert!(!followed.look());
        write(10, "the whole of ten");
        assert!(followed.look());
        assert_eq!(next(&followed), Some(10), "it is written anew");
        followed.set_scope(Scope::All);
        assert_eq!(next(&followed), Some(5));
        take(&mut followed, Ok(Measured { step: 5, gain: Some(1.0), ..Measured::default() }));
        let point = |followed: &Followed| followed.points()[0].clone();
        assert_eq!((point(&followed).gain, point(&followed).held_out), (Some(1.0), Some(4.5)));
        // Another snapshot of the run is opened, and a model of another shape.
        let same = Followed::new(run(), (1, 1), Some(followed));
        assert_eq!((point(&same).gain, next(&same)), (Some(1.0), Some(10)));
        let other = Followed::new(run(), (2, 1), Some(same));
        assert_eq!((point(&other).gain, other.progress()), (None, (0, 1)));
    }
}
