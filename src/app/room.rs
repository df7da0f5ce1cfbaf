//! What a screen is to the app.

use super::{
    App, Effect, Options,
    table::{Command, Context, Entry, Hint},
};
use crate::engine::protocol::{Event, ModelInfo};

/// Work of the engine, in the order that Ctrl-C stops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// What a screen waits for.
    Shown,
    /// What goes on behind the screens.
    Behind,
}

/// A screen: its state, its keys, and what it wants from the engine. What one does not need it leaves out.
pub(crate) trait Room: Sized {
    /// What its keys can do.
    type Action: Copy + 'static;

    /// Its table; within a context the order is that of the help.
    const ENTRIES: &'static [Entry<Self::Action>];

    /// Contexts that can be active together, innermost first; the first row is the usual one.
    const CONTEXTS: &'static [&'static [Context]];

    /// What the footer offers, the most useful first.
    const HINTS: &'static [Hint<Self::Action>] = &[];

    /// Its commands.
    const COMMANDS: &'static [Command] = &[];

    /// Its state before anything has happened.
    fn new(options: &Options) -> Self;

    /// The contexts that are active while it is on the screen.
    fn contexts(&self) -> &'static [Context] {
        Self::CONTEXTS[0]
    }

    /// Does what a key asks for, whatever screen is shown; a model is open.
    fn perform(app: &mut App, action: Self::Action) -> Vec<Effect>;

    /// Whether an action is worth a hint.
    fn offers(_app: &App, _action: Self::Action) -> bool {
        true
    }

    /// Takes the text of the field that it has put up, or says what is wrong with it.
    fn accept(_app: &mut App, _text: &str) -> Result<Vec<Effect>, String> {
        Ok(Vec::new())
    }

    /// Leaves what lies over the rest of the screen; `false` where nothing does.
    fn leave(&mut self) -> bool {
        false
    }

    /// Takes an event; what is none of its own, or of no use any more, it gives back.
    fn hear(_app: &mut App, event: Event) -> Option<Event> {
        Some(event)
    }

    /// What it wants from the engine after any message.
    fn wishes(_app: &mut App) -> Vec<Effect> {
        Vec::new()
    }

    /// Whether the engine is at something of it whose progress is shown.
    fn is_busy(&self) -> bool {
        false
    }

    /// Stops what the engine does for it; nothing where it does nothing of that kind.
    fn stop(_app: &mut App, _work: Work) -> Option<Vec<Effect>> {
        None
    }

    /// Forgets what is about the model before: another is about to take its place.
    fn reopened(_app: &mut App, _info: &ModelInfo) {}

    /// A model is open: what is due at once.
    fn opened(_app: &mut App) -> Vec<Effect> {
        Vec::new()
    }

    /// Another model could not be opened.
    fn kept(&mut self) {}

    /// A request has failed.
    fn failed(&mut self) {}
}
