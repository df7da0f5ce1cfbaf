//! The keys of the Rank screen.

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
    Sort(isize),
    Reverse,
    Rank,
}

const RANK: Context = Screen::Rank.context();

pub(super) const CONTEXTS: &[&[Context]] = &[&[RANK, GLOBAL]];

use Action::{CopyAll, Move, Open, Rank, Reverse, Sort};
use Motion::{Down, First, Last, PageDown, PageUp, Up};

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    Action::Copy, COPY [RANK "y"];
    CopyAll, COPY_ALL [RANK "Y"];
    Move(Down), ("rank-down", "down", "next head of the table") [RANK "<Down> j"];
    Move(Up), ("rank-up", "up", "previous head of the table") [RANK "<Up> k"];
    Open, ("open-head", "open head", "show this head in Explore") [RANK "<Enter>"];
    Sort(1), ("sort-next", "sort column", "sort by the column to the right") [RANK "o <Right> l"];
    Sort(-1), ("sort-previous", "sort column left", "sort by the column to the left") [RANK "<Left> h"];
    Reverse, ("sort-reverse", "reverse", "reverse the order") [RANK "O"];
    Move(PageDown), ("rank-page-down", "page down", "a page down the table") [RANK "<PageDown> <C-d>"];
    Move(PageUp), ("rank-page-up", "page up", "a page up the table") [RANK "<PageUp> <C-u>"];
    Move(First), ("rank-top", "top", "first head of the table") [RANK "gg <Home>"];
    Move(Last), ("rank-bottom", "bottom", "last head of the table") [RANK "G <End>"];
    Rank, ("rank", "rank", "score every head on benchmark sequences, or stop doing so") [GLOBAL "r"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (RANK, &[Move(Up), Move(Down)], "move"),
    (RANK, &[Open], "open"),
    (RANK, &[Sort(1)], "sort column"),
    (RANK, &[Reverse], "reverse"),
    (RANK, &[CopyAll], "copy table"),
    (GLOBAL, &[Rank], "rank"),
];
