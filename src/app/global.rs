//! The keys that belong to no screen: everywhere, on a question, in the help, in the palette, where text is typed.

use super::{
    motion::Motion,
    table::{Context, Entry, GLOBAL, Hint, entries},
};

/// What they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Answer(bool),
    /// So many stops on.
    Tour(isize),
    Palette,
    Help,
    Back,
    Close,
    Quit,
    Interrupt,
    Suspend,
    Repaint,
    /// In the help.
    Scroll(Motion),
    Filter,
    /// In the palette.
    Choose(Motion),
    Complete,
    Accept,
    Newline,
    /// In what is typed.
    Cursor(Motion),
    Backspace,
    Delete,
    KillWord,
    KillToStart,
    KillToEnd,
}

/// A question is on the loading screen.
pub(crate) const QUESTION: Context = Context("Question");
/// The help is in front.
pub(super) const HELP: Context = Context("Help");
/// The command palette is.
pub(super) const PALETTE: Context = Context("Palette");
/// Text is typed.
pub(super) const EDIT: Context = Context("Typing text");

/// The contexts, in the order of the help.
pub(super) const CONTEXTS: [Context; 5] = [QUESTION, GLOBAL, HELP, PALETTE, EDIT];

use Action as A;
use Motion as M;

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    A::Answer(true), ("answer-yes", "yes", "answer yes to what is asked while a model is opened") [QUESTION "y"];
    A::Answer(false), ("answer-no", "no", "answer no") [QUESTION "n <Esc>"];
    A::Tour(1), ("next-stop", "next stop", "the next stop of the tour, while one is on") [GLOBAL "."];
    A::Tour(-1), ("previous-stop", "previous stop", "the stop of the tour before") [GLOBAL ","];
    A::Palette, ("palette", "palette", "run any action or command by name") [GLOBAL ": <C-p>"];
    A::Help, ("help", "help", "this help; / filters it") [GLOBAL "? <F1>"];
    A::Back, ("back", "back", "leave the top layer; never quits") [GLOBAL "<Esc>"];
    A::Close, ("close", "close", "close the top layer, or quit where there is none") [GLOBAL "q"];
    A::Quit, ("quit", "quit", "quit at once") [GLOBAL "Q"];
    A::Interrupt, ("interrupt", "cancel", "stop what is computed: circuits, the ranking, the measuring of snapshots; where nothing runs, pressed twice, quit; while a model is opened, quit at once") [GLOBAL "<C-c>"];
    A::Suspend, ("suspend", "suspend", "stop the program and return to the shell") [GLOBAL "<C-z>"];
    A::Repaint, ("repaint", "repaint", "draw the whole screen again") [GLOBAL "<C-l>"];
    A::Scroll(M::Down), ("help-down", "down", "scroll down") [HELP "<Down> j"];
    A::Scroll(M::Up), ("help-up", "up", "scroll up") [HELP "<Up> k"];
    A::Scroll(M::PageDown), ("help-page-down", "page down", "scroll a page down") [HELP "<PageDown> <C-d> <Space>"];
    A::Scroll(M::PageUp), ("help-page-up", "page up", "scroll a page up") [HELP "<PageUp> <C-u>"];
    A::Scroll(M::First), ("help-top", "top", "to the top") [HELP "gg <Home>"];
    A::Scroll(M::Last), ("help-bottom", "bottom", "to the bottom") [HELP "G <End>"];
    A::Filter, ("help-filter", "filter", "show only the lines that contain what is typed") [HELP "/"];
    A::Choose(M::Down), ("palette-down", "down", "next entry") [PALETTE "<Down> <C-n>"];
    A::Choose(M::Up), ("palette-up", "up", "previous entry") [PALETTE "<Up> <C-p>"];
    A::Complete, ("complete", "complete", "complete the name of the chosen entry") [PALETTE "<Tab>"];
    A::Accept, ("accept", "run", "run what has been typed") [EDIT "<Enter>"];
    A::Newline, ("newline", "newline", "a line break, in a prompt") [EDIT "<C-j>"];
    A::Cursor(M::Left), ("cursor-left", "left", "one character left") [EDIT "<Left> <C-b>"];
    A::Cursor(M::Right), ("cursor-right", "right", "one character right") [EDIT "<Right> <C-f>"];
    A::Cursor(M::First), ("cursor-home", "start", "to the start") [EDIT "<Home> <C-a>"];
    A::Cursor(M::Last), ("cursor-end", "end", "to the end") [EDIT "<End> <C-e>"];
    A::Backspace, ("backspace", "delete back", "delete the character before the cursor") [EDIT "<Backspace> <C-h>"];
    A::Delete, ("delete", "delete", "delete the character at the cursor") [EDIT "<Delete> <C-d>"];
    A::KillWord, ("kill-word", "delete word", "delete the word before the cursor") [EDIT "<C-w>"];
    A::KillToStart, ("kill-to-start", "delete to start", "delete everything before the cursor") [EDIT "<C-u>"];
    A::KillToEnd, ("kill-to-end", "delete to end", "delete everything after the cursor") [EDIT "<C-k>"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (QUESTION, &[A::Answer(true)], "yes"),
    (QUESTION, &[A::Answer(false)], "no"),
    (GLOBAL, &[A::Palette], "commands"),
    (GLOBAL, &[A::Close], "quit"),
    (HELP, &[A::Filter], "filter"),
    (HELP, &[A::Scroll(M::Up), A::Scroll(M::Down)], "scroll"),
    (PALETTE, &[A::Choose(M::Up), A::Choose(M::Down)], "choose"),
    (PALETTE, &[A::Complete], "complete"),
    (EDIT, &[A::Accept], "run"),
    (EDIT, &[A::KillWord], "delete word"),
    (EDIT, &[A::KillToStart], "delete to start"),
];
