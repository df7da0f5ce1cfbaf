//! A folder that a job writes snapshots into, watched: which of them is finished and to be checked next.
//!
//! Nobody says of a snapshot that it is finished. It is taken for that once it has not changed for a while, and what cannot
//! be opened even so is only called broken when it has been left like that.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::{
    folder::{Stamp, TrainingRun, stamp},
    history::History,
    looked::Looked,
};
use crate::checkpoint::snapshot::Snapshot;

/// A snapshot that was last written to so long ago is finished, without a second look: clocks of disks are not further apart.
const OLD: Duration = Duration::from_secs(60);
/// A snapshot that cannot be opened and was not written to for so long is broken.
const LEFT: Duration = Duration::from_secs(120);

/// What came of a snapshot.
enum Came {
    /// It was checked, or is known to be broken.
    Checked,
    /// It could not be opened, for this reason.
    Unreadable(String),
}

/// The snapshot that is to be checked next.
#[derive(Debug, PartialEq, Eq)]
pub struct Next {
    /// It.
    pub snapshot: Snapshot,
    /// It could not be opened before, and nobody writes to it any more: if it still cannot, it is broken.
    pub is_last_try: bool,
}

/// What a look at the folder has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// What was there before.
    Same,
    /// Something new.
    New,
    /// The folder is not there any more, or not yet.
    Gone,
    /// It is there again.
    Back,
}

/// A folder that is watched.
pub struct Watched {
    looked: Looked<Came>,
    /// How each snapshot that is not checked looked, and since when.
    settling: BTreeMap<String, (Stamp, Instant)>,
    /// How long a snapshot has to stay as it is.
    quiet: Duration,
    /// Steps between snapshots that are checked.
    every: u64,
}

impl Watched {
    /// A folder that may not be there yet. Of its snapshots those are checked that are `every` steps or more apart, once they
    /// have been as they are for `quiet`.
    pub fn new(folder: &Path, quiet: Duration, every: u64) -> Self {
        let run = TrainingRun { source: folder.display().to_string(), ..TrainingRun::default() };
        Self { looked: Looked::new(run), settling: BTreeMap::new(), quiet, every }
    }

    /// The run as it was when it was last looked at.
    pub fn run(&self) -> &TrainingRun {
        self.looked.run()
    }

    /// Whether the folder is there.
    pub fn is_there(&self) -> bool {
        !self.looked.is_gone() || Path::new(&self.run().source).is_dir()
    }

    /// Looks at the folder: lists it, and asks how those of its snapshots look that are not checked, and some of the others.
    /// What the history knows of them as they are is not to be checked again.
    pub fn look(&mut self, history: &History) -> Seen {
        let news = self.looked.look();
        if self.looked.is_gone() {
            return if news.gone { Seen::Gone } else { Seen::Same };
        }
        let mut changed = news.run || news.outcomes;
        let open: Vec<Snapshot> =
            self.run().snapshots.iter().filter(|one| !self.is_checked(one)).cloned().collect();
        let mut settling = BTreeMap::new();
        for snapshot in open {
            let now = stamp(&snapshot);
            if history.of(&snapshot).is_some_and(|known| known.is(now)) {
                self.looked.keep(snapshot, now, Came::Checked);
                continue;
            }
            let before = self.settling.get(&snapshot.model).filter(|before| before.0 == now);
            changed |= before.is_none();
            settling.insert(snapshot.model, before.copied().unwrap_or((now, Instant::now())));
        }
        self.settling = settling;
        match (news.gone, changed) {
            (true, _) => Seen::Back,
            (_, true) => Seen::New,
            _ => Seen::Same,
        }
    }

    /// What is to be checked next, the earliest step first. Once the job `is_over`, nothing is waited for.
    pub fn next(&self, history: &History, is_over: bool) -> Option<Next> {
        if self.looked.is_gone() {
            return None;
        }
        let checked = self.run().snapshots.iter().filter(|one| self.is_checked(one));
        let last = checked.map(|one| one.step).max();
        self.wanted(history, is_over).into_iter().find_map(|snapshot| {
            let unchanged = self.unchanged(snapshot)?;
            let (is_due, is_last_try) = match self.looked.outcome(snapshot) {
                None => (is_over || unchanged >= self.quiet, false),
                // The job has gone on to another, or has left it so.
                Some(Came::Unreadable(_)) => {
                    (is_over || last > Some(snapshot.step) || unchanged >= LEFT, true)
                }
                Some(Came::Checked) => (false, false),
            };
            is_due.then(|| Next { snapshot: snapshot.clone(), is_last_try })
        })
    }

    /// The snapshots that are not checked yet, each with why it could not be opened, where that was tried.
    pub fn unfinished(&self, history: &History) -> Vec<(&Snapshot, Option<&str>)> {
        let wanted = self.wanted(history, false).into_iter();
        wanted
            .filter_map(|snapshot| match self.looked.outcome(snapshot) {
                None => Some((snapshot, None)),
                Some(Came::Unreadable(reason)) => Some((snapshot, Some(reason.as_str()))),
                Some(Came::Checked) => None,
            })
            .collect()
    }

    /// Keeps that a snapshot was checked which had this stamp.
    pub fn checked(&mut self, snapshot: Snapshot, stamp: Stamp) {
        self.looked.keep(snapshot, stamp, Came::Checked);
    }

    /// Keeps that a snapshot that has this stamp could not be opened.
    pub fn unreadable(&mut self, snapshot: Snapshot, stamp: Stamp, reason: String) {
        self.looked.keep(snapshot, stamp, Came::Unreadable(reason));
    }

    fn is_checked(&self, snapshot: &Snapshot) -> bool {
        matches!(self.looked.outcome(snapshot), Some(Came::Checked))
    }

    /// How long a snapshot that is not checked has been as it is, as far as is known.
    fn unchanged(&self, snapshot: &Snapshot) -> Option<Duration> {
        let (stamp, since) = self.settling.get(&snapshot.model)?;
        let age = stamp.0.and_then(|time| SystemTime::now().duration_since(time).ok());
        Some(since.elapsed().max(age.filter(|&age| age > OLD).unwrap_or_default()))
    }

    /// The snapshots that are checked at all, of a job that is over its last too.
    fn wanted(&self, history: &History, is_over: bool) -> Vec<&Snapshot> {
        // Some may be removed again when they were checked.
        let known: BTreeSet<u64> = history.checked().iter().filter_map(|one| one.step).collect();
        let snapshots = &self.run().snapshots;
        let mut last = None::<u64>;
        let steps: BTreeSet<u64> =
            known.iter().copied().chain(snapshots.iter().map(|one| one.step)).collect();
        let far: BTreeSet<u64> = steps
            .into_iter()
            .filter(|&step| {
                let is_far = known.contains(&step) || last.is_none_or(|last| step - last >= self.every);
                last = if is_far { Some(step) } else { last };
                is_far
            })
            .collect();
        let end = snapshots.last().filter(|_| is_over).map(|one| one.step);
        snapshots.iter().filter(|one| far.contains(&one.step) || end == Some(one.step)).collect()
    }
}
