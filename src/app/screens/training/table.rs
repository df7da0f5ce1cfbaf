//! The keys of the Training screen.

use crate::app::{
    motion::Motion,
    screen::Screen,
    table::{Context, Entry, GLOBAL, Hint, entries},
    words::{COPY, COPY_ALL, EARLIER_SNAPSHOT, LATER_SNAPSHOT, NEXT_SCORE, PREVIOUS_SCORE},
};

/// What they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Score(isize),
    Copy,
    CopyAll,
    /// Opens the snapshot before the open one, or after it.
    Snapshot(isize),
    /// Sideways over the snapshots, up and down in the list.
    Move(Motion),
    Open,
    MarkBefore,
    BeforeAfter,
    StepScale,
    Measure,
}

const TRAINING: Context = Screen::Training.context();

pub(super) const CONTEXTS: &[&[Context]] = &[&[TRAINING, GLOBAL]];

use Action::{BeforeAfter, CopyAll, MarkBefore, Measure, Move, Open, Score, Snapshot, StepScale};
use Motion::{Down, First, Last, Left, Right, Up};

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    Score(1), NEXT_SCORE [TRAINING "s"];
    Score(-1), PREVIOUS_SCORE [TRAINING "S"];
    Action::Copy, COPY [TRAINING "y"];
    CopyAll, COPY_ALL [TRAINING "Y"];
    Snapshot(-1), EARLIER_SNAPSHOT [TRAINING "<lt> {"];
    Snapshot(1), LATER_SNAPSHOT [TRAINING "> }"];
    Move(Left), ("snapshot-back", "snapshot back", "cursor to the snapshot before") [TRAINING "<Left> h"];
    Move(Right), ("snapshot-on", "snapshot on", "cursor to the snapshot after") [TRAINING "<Right> l"];
    Move(First), ("first-snapshot", "first snapshot", "cursor to the first snapshot") [TRAINING "<Home> 0"];
    Move(Last), ("last-snapshot", "last snapshot", "cursor to the last snapshot") [TRAINING "<End> $"];
    Open, ("open-snapshot", "open snapshot", "open the snapshot under the cursor in Explore, with the same prompt and head") [TRAINING "<Enter>"];
    Move(Up), ("curve-up", "head up", "select the head above in the list, or the token in that of changes") [TRAINING "<Up> k"];
    Move(Down), ("curve-down", "head down", "select the head below in the list, or the token in that of changes") [TRAINING "<Down> j"];
    MarkBefore, ("mark-before", "mark as before", "compare the open snapshot with the one under the cursor on the prompt; again: with the last before the change") [TRAINING "b"];
    BeforeAfter, ("before-after", "before and after", "losses over the steps, or the prompt coloured by its loss before and after the change") [TRAINING "<Tab> <S-Tab>"];
    StepScale, ("step-scale", "step scale", "spread the steps evenly, or by their logarithm") [TRAINING "v"];
    Measure, ("measure-run", "measure", "measure every snapshot, also those that the log tells of; or stop measuring") [TRAINING "m"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (TRAINING, &[Move(Left), Move(Right)], "snapshot"),
    (TRAINING, &[Open], "open"),
    (TRAINING, &[BeforeAfter], "before/after"),
    (TRAINING, &[Move(Up), Move(Down)], "list"),
    (TRAINING, &[Score(1)], "score"),
    (TRAINING, &[MarkBefore], "mark before"),
    (TRAINING, &[StepScale], "log steps"),
    (TRAINING, &[Measure], "measure"),
    (TRAINING, &[CopyAll], "copy"),
];
