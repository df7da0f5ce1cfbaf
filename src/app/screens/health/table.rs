//! The keys of the Health screen.

use crate::app::{
    motion::Motion,
    screen::Screen,
    table::{Context, Entry, GLOBAL, Hint, entries},
    words::{COPY, COPY_ALL},
};

/// What they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Copy,
    CopyAll,
    Move(Motion),
    Open,
    All,
    Check,
}

const HEALTH: Context = Screen::Health.context();

pub(super) const CONTEXTS: &[&[Context]] = &[&[HEALTH, GLOBAL]];

use Action::{All, Check, CopyAll, Move, Open};
use Motion::{Down, First, Last, PageDown, PageUp, Up};

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    Action::Copy, COPY [HEALTH "y"];
    CopyAll, COPY_ALL [HEALTH "Y"];
    Move(Down), ("finding-down", "finding down", "next finding") [HEALTH "<Down> j"];
    Move(Up), ("finding-up", "finding up", "previous finding") [HEALTH "<Up> k"];
    Open, ("open-finding", "open its head", "show the head, or the layer, that the finding is about in Explore") [HEALTH "<Enter>"];
    All, ("all-findings", "all findings", "show also what is as it should be, or only the rest") [HEALTH "v"];
    Move(PageDown), ("findings-page-down", "page down", "a page down the findings") [HEALTH "<PageDown> <C-d>"];
    Move(PageUp), ("findings-page-up", "page up", "a page up the findings") [HEALTH "<PageUp> <C-u>"];
    Move(First), ("first-finding", "first finding", "the first finding, the gravest") [HEALTH "gg <Home>"];
    Move(Last), ("last-finding", "last finding", "the last finding") [HEALTH "G <End>"];
    Check, ("check", "check", "check the model again, or stop doing so") [HEALTH "c"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (HEALTH, &[Move(Up), Move(Down)], "move"),
    (HEALTH, &[Open], "open head"),
    (HEALTH, &[All], "all"),
    (HEALTH, &[Check], "check"),
    (HEALTH, &[CopyAll], "copy report"),
];
