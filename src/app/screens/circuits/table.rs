//! The keys of the Circuits screen.

use crate::app::{
    motion::Motion,
    screen::Screen,
    table::{Context, Entry, GLOBAL, Hint, entries},
    words::{COPY, COPY_ALL, NEXT_HEAD, NEXT_LAYER, PREVIOUS_HEAD, PREVIOUS_LAYER},
};

/// What they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Head(isize),
    Layer(isize),
    Copy,
    CopyAll,
    View(isize),
    /// In the list.
    Move(Motion),
    Open,
    TypeToken,
    Switch,
    GoOn,
}

const CIRCUITS: Context = Screen::Circuits.context();

pub(super) const CONTEXTS: &[&[Context]] = &[&[CIRCUITS, GLOBAL]];

use Action::{CopyAll, GoOn, Head, Layer, Move, Open, Switch, TypeToken, View};
use Motion::{Down, First, Last, PageDown, PageUp, Up};

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    Head(-1), PREVIOUS_HEAD [CIRCUITS "<Left> h [h"];
    Head(1), NEXT_HEAD [CIRCUITS "<Right> l ]h"];
    Layer(-1), PREVIOUS_LAYER [CIRCUITS "[l"];
    Layer(1), NEXT_LAYER [CIRCUITS "]l"];
    Action::Copy, COPY [CIRCUITS "y"];
    CopyAll, COPY_ALL [CIRCUITS "Y"];
    View(1), ("next-view", "next view", "the next view of the circuits") [CIRCUITS "<Tab> ]v"];
    View(-1), ("previous-view", "previous view", "the previous view of the circuits") [CIRCUITS "<S-Tab> [v"];
    Move(Down), ("circuits-down", "down", "next row of the list; in a list of heads, that head") [CIRCUITS "<Down> j"];
    Move(Up), ("circuits-up", "up", "previous row of the list; in a list of heads, that head") [CIRCUITS "<Up> k"];
    Move(PageDown), ("circuits-page-down", "page down", "a page down the list") [CIRCUITS "<PageDown> <C-d>"];
    Move(PageUp), ("circuits-page-up", "page up", "a page up the list") [CIRCUITS "<PageUp> <C-u>"];
    Move(First), ("circuits-top", "top", "first row of the list") [CIRCUITS "gg <Home>"];
    Move(Last), ("circuits-bottom", "bottom", "last row of the list") [CIRCUITS "G <End>"];
    Open, ("circuits-open", "open", "show the head in Explore, of an edge the one that reads; of a bigram, look up the next token") [CIRCUITS "<Enter>"];
    TypeToken, ("type-token", "type a token", "look up a token that is typed; nothing typed is the query token") [CIRCUITS "i /"];
    Switch, ("switch", "switch", "skip-trigrams: strongest, or by source, destination, output; composition: Q, K or V") [CIRCUITS "s"];
    GoOn, ("go-on", "go on", "go on with what was stopped") [CIRCUITS "c"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (CIRCUITS, &[View(1)], "view"),
    (CIRCUITS, &[Move(Up), Move(Down)], "move"),
    (CIRCUITS, &[Head(-1), Head(1)], "head"),
    (CIRCUITS, &[Open], "open"),
    (CIRCUITS, &[TypeToken], "token"),
    (CIRCUITS, &[Switch], "switch"),
    (CIRCUITS, &[CopyAll], "copy table"),
];
