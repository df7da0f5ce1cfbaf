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

    /// Whether the folder holds snapshots now.
    pub fn has_any(&self) -> bool {
        self.run().again().is_some()
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::run::Checked;

    /// A folder with these snapshots and a history beside it.
    struct Run {
        folder: tempfile::TempDir,
        history: History,
    }

    impl Run {
        fn of(steps: &[u64]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (history, _) = History::open(&folder.path().join("history.jsonl")).unwrap();
            let run = Self { folder, history };
            steps.iter().for_each(|&step| run.write(step, "whole"));
            run
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("run")
        }

        fn write(&self, step: u64, weights: &str) {
            let snapshot = self.path().join(format!("step-{step}"));
            fs::create_dir_all(&snapshot).unwrap();
            fs::write(snapshot.join("model.safetensors"), weights).unwrap();
        }

        fn next(&self, watched: &mut Watched, is_over: bool) -> Option<(u64, bool)> {
            watched.look(&self.history);
            let next = watched.next(&self.history, is_over)?;
            Some((next.snapshot.step, next.is_last_try))
        }

        /// Checks what is to be checked next.
        fn check(&mut self, watched: &mut Watched) -> Option<u64> {
            watched.look(&self.history);
            let Next { snapshot, .. } = watched.next(&self.history, false)?;
            let (stamp, step) = (stamp(&snapshot), snapshot.step);
            let checked = Checked::new(&snapshot.model, Some(step), stamp, &[]);
            self.history.append(&(serde_json::to_string(&checked).unwrap() + "\n")).unwrap();
            watched.checked(snapshot, stamp);
            Some(step)
        }
    }

    #[test]
    fn a_snapshot_is_finished_when_it_stays_as_it_is_or_the_job_is_over() {
        let run = Run::of(&[5]);
        let mut slow = Watched::new(&run.path(), Duration::from_secs(3600), 1);
        assert_eq!(run.next(&mut slow, false), None, "it was written just now");
        assert_eq!(slow.unfinished(&run.history).len(), 1);
        assert_eq!(run.next(&mut slow, true), Some((5, false)));
        let file = fs::File::open(run.path().join("step-5/model.safetensors")).unwrap();
        let earlier = SystemTime::now() - Duration::from_secs(7200);
        file.set_modified(earlier).unwrap();
        fs::File::open(run.path().join("step-5")).unwrap().set_modified(earlier).unwrap();
        assert_eq!(run.next(&mut slow, false), Some((5, false)), "it was written long ago");
        run.write(5, "and again");
        assert_eq!(run.next(&mut slow, false), None);
    }

    #[test]
    fn what_cannot_be_opened_is_tried_again_when_it_changes_or_the_job_has_gone_on() {
        let mut run = Run::of(&[5]);
        let mut watched = Watched::new(&run.path(), Duration::ZERO, 1);
        let fail = |run: &Run, watched: &mut Watched| {
            watched.look(&run.history);
            let Next { snapshot, .. } = watched.next(&run.history, false).unwrap();
            let stamp = stamp(&snapshot);
            watched.unreadable(snapshot, stamp, "half".into());
        };
        fail(&run, &mut watched);
        assert_eq!(run.next(&mut watched, false), None);
        assert_eq!(watched.unfinished(&run.history)[0].1, Some("half"));
        run.write(5, "longer, and still not whole");
        assert_eq!(run.next(&mut watched, false), Some((5, false)));
        fail(&run, &mut watched);
        assert_eq!(run.next(&mut watched, true), Some((5, true)), "nobody writes to it any more");
        run.write(10, "whole");
        assert_eq!(run.check(&mut watched), Some(10));
        assert_eq!(run.next(&mut watched, false), Some((5, true)), "the job has gone on");
    }

    #[test]
    fn what_the_history_knows_is_not_checked_again_unless_it_was_written_anew() {
        let mut run = Run::of(&[5, 10]);
        let mut watched = Watched::new(&run.path(), Duration::ZERO, 1);
        assert_eq!(
            [run.check(&mut watched), run.check(&mut watched), run.check(&mut watched)],
            [Some(5), Some(10), None]
        );
        let mut again = Watched::new(&run.path(), Duration::ZERO, 1);
        assert_eq!(run.next(&mut again, false), None);
        run.write(5, "written anew");
        assert_eq!([run.next(&mut watched, false), run.next(&mut again, false)], [Some((5, false)); 2]);
    }

    #[test]
    fn of_many_snapshots_those_are_checked_that_are_far_enough_apart() {
        let mut run = Run::of(&[0, 10, 20, 25, 30, 45, 50]);
        let mut watched = Watched::new(&run.path(), Duration::ZERO, 20);
        let mut checked = Vec::new();
        while let Some(step) = run.check(&mut watched) {
            checked.push(step);
        }
        assert_eq!(checked, [0, 20, 45]);
        assert_eq!(run.next(&mut watched, true), Some((50, false)), "of a job that is over the last too");
        // Those that were checked are removed, as many jobs do.
        fs::remove_dir_all(run.path().join("step-45")).unwrap();
        assert_eq!(run.next(&mut watched, false), None);
    }

    #[test]
    fn a_folder_that_comes_and_goes_is_told_once() {
        let run = Run::of(&[]);
        let mut watched = Watched::new(&run.path(), Duration::ZERO, 1);
        let mut look = |run: &Run| watched.look(&run.history);
        assert_eq!([look(&run), look(&run)], [Seen::Gone, Seen::Same]);
        run.write(5, "whole");
        assert_eq!([look(&run), look(&run)], [Seen::Back, Seen::Same]);
        run.write(10, "whole");
        assert_eq!([look(&run), look(&run)], [Seen::New, Seen::Same]);
        fs::remove_dir_all(run.path()).unwrap();
        assert_eq!([look(&run), look(&run)], [Seen::Gone, Seen::Same]);
    }
}
