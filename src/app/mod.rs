//! The explorer's state machine: a message goes in, effects come out. No tensors, no terminal, no clocks.

pub mod action;
mod command;
pub mod editor;
pub(crate) mod global;
pub(crate) mod help;
pub mod key;
pub(crate) mod label;
pub(crate) mod loading;
mod motion;
mod opening;
pub(crate) mod overlay;
mod palette;
mod perform;
pub(crate) mod phase;
mod prompt;
mod room;
pub(crate) mod screen;
pub(crate) mod screens;
pub(crate) mod selection;
pub(crate) mod session;
pub(crate) mod table;
pub mod tour;
mod words;

use std::{mem, sync::Arc};

use self::{
    action::{Action, Resolved},
    key::Key,
    loading::Loading,
    overlay::Overlay,
    screen::Screen,
    screens::Rooms,
    selection::Selection,
    session::Session,
    table::{Context, GLOBAL},
    tour::Tour,
};
use crate::engine::protocol::{Bos, Event, ModelInfo, PromptInput, RankSettings, Request};

/// The prompt that is run when none is given: the second ` Doctor` calls for ` Gig`, which only an induction head sees.
/// It begins with a space, so that both are the same token whatever the tokenizer does with a first word.
pub const DEFAULT_PROMPT: &str = " Doctor Gigamuru went to the store because Doctor";

/// Themes that `:theme` takes.
pub const THEMES: [&str; 4] = ["default-dark", "default-light", "high-contrast", "mono"];

/// What the explorer is started with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// The model as it was asked for, shown until it is open.
    pub title: String,
    /// The first prompt; [`DEFAULT_PROMPT`] where none is given.
    pub prompt: Option<PromptInput>,
    /// Whether BOS goes before it.
    pub bos: Bos,
    /// How the ranking is measured.
    pub rank: RankSettings,
    /// Whether the tour begins at once, on the model of its first stop.
    pub tour: bool,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Msg {
    /// A key was pressed.
    Key(Key),
    /// Text was pasted.
    Paste(String),
    /// The terminal has this many columns and rows now.
    Resize(u16, u16),
    /// The engine answered.
    Engine(Event),
    /// A tenth of a second has passed while the app was busy.
    Tick,
}

/// Something to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send this to the engine.
    Send(Request),
    /// Put this on the clipboard.
    Copy(String),
    /// Stop the program, as Ctrl-Z does.
    Suspend,
    /// Draw the whole screen again.
    Repaint,
    /// Draw with this theme from now on, one of [`THEMES`].
    Theme(&'static str),
    /// Leave with this exit code.
    Quit(i32),
}

/// Sizes that the view found room for, which the next update needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns and rows of attention values that the map has room for.
    pub map: (usize, usize),
    /// Lines of a page of the list or text in front.
    pub page: usize,
    /// The furthest that the help can be scrolled.
    pub scroll: usize,
    /// Where the terminal's cursor stands, while text is typed.
    pub cursor: Option<(u16, u16)>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { map: (48, 32), page: 10, scroll: 0, cursor: None }
    }
}

/// Whether there is a model yet.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It is being opened.
    Loading(Loading),
    /// It is open.
    Open(Arc<ModelInfo>),
    /// It could not be opened, or the engine broke down.
    Fatal(String),
}

/// A line for the user, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub text: String,
    pub error: bool,
}

/// The state of the explorer.
#[derive(Debug)]
pub struct App {
    pub(crate) options: Options,
    pub(crate) stage: Stage,
    pub(crate) session: Session,
    pub(crate) selection: Selection,
    pub(crate) screen: Screen,
    pub(crate) rooms: Rooms,
    /// The tour, while one is on.
    pub(crate) tour: Option<Tour>,
    /// Another model is being opened in the place of this one.
    pub(crate) opening: bool,
    pub(crate) overlays: Vec<Overlay>,
    /// Keys of a sequence that is not complete.
    pub(crate) pending: Vec<Key>,
    pub(crate) message: Option<Message>,
    layout: Layout,
    dirty: bool,
    /// Ctrl-C was the last key and found nothing to cancel.
    quit_armed: bool,
}

impl App {
    /// The state before anything has happened.
    pub fn new(options: Options) -> Self {
        Self {
            stage: Stage::Loading(Loading::default()),
            session: Session::new(options.bos),
            selection: Selection::default(),
            screen: Screen::Explore,
            rooms: Rooms::new(&options),
            tour: options.tour.then(|| Tour::at(0)),
            opening: false,
            overlays: Vec::new(),
            pending: Vec::new(),
            message: None,
            layout: Layout::default(),
            dirty: true,
            quit_armed: false,
            options,
        }
    }

    /// What is to be done first: nothing, until the engine says that the model is open.
    pub fn start(&mut self) -> Vec<Effect> {
        self.dirty = true;
        Vec::new()
    }

    /// Takes a message and says what follows from it.
    pub fn update(&mut self, msg: Msg) -> Vec<Effect> {
        let mut effects = match msg {
            Msg::Key(key) => self.key(key),
            Msg::Paste(text) => {
                self.dirty = true;
                self.paste(&text);
                Vec::new()
            }
            Msg::Resize(..) => {
                self.dirty = true;
                Vec::new()
            }
            Msg::Engine(event) => self.engine(event),
            Msg::Tick => Vec::new(),
        };
        effects.extend(self.follow_up());
        effects
    }

    /// Takes the sizes that the view reported; a map of another size is another look.
    pub fn set_layout(&mut self, layout: Layout) -> Vec<Effect> {
        self.layout = layout;
        if let Some(Overlay::Help(help)) = self.overlays.last_mut() {
            help.scroll = help.scroll.min(layout.scroll);
        }
        self.follow_up()
    }

    /// Whether anything visible has changed since this was last asked.
    pub fn take_dirty(&mut self) -> bool {
        mem::take(&mut self.dirty)
    }

    /// Whether the engine is at something whose progress is shown.
    pub fn busy(&self) -> bool {
        matches!(self.stage, Stage::Loading(_))
            || self.opening
            || self.session.is_running()
            || self.rooms.are_busy()
    }

    /// Why the engine cannot go on, where it cannot; to be printed after the screen has been left.
    pub fn fatal(&self) -> Option<&str> {
        match &self.stage {
            Stage::Fatal(message) => Some(message),
            _ => None,
        }
    }

    /// The contexts that are active, innermost first.
    pub(crate) fn contexts(&self) -> &'static [Context] {
        use global::{EDIT, HELP, PALETTE, QUESTION};
        match (self.overlays.last(), &self.stage) {
            (Some(Overlay::Help(help)), _) if help.typing => &[EDIT],
            (Some(Overlay::Help(_)), _) => &[HELP, GLOBAL],
            (Some(Overlay::Palette(_)), _) => &[PALETTE, EDIT],
            (Some(Overlay::Field(_)), _) => &[EDIT],
            (None, Stage::Open(_)) => self.rooms.contexts(self.screen),
            (None, _) if self.is_asked() => &[QUESTION, GLOBAL],
            (None, _) => &[GLOBAL],
        }
    }

    fn key(&mut self, key: Key) -> Vec<Effect> {
        self.dirty = true;
        self.message = None;
        if matches!(self.stage, Stage::Fatal(_)) {
            return vec![Effect::Quit(2)];
        }
        let armed = mem::take(&mut self.quit_armed);
        let typing = self.editor().is_some();
        self.pending.push(key);
        let mut resolved = action::resolve(self.contexts(), &self.pending);
        if typing && resolved == Resolved::Nothing && key.typed().is_none() {
            resolved = action::resolve(&[GLOBAL], &self.pending);
        }
        if resolved == Resolved::Prefix {
            return Vec::new();
        }
        let started = self.pending.len() > 1;
        self.pending.clear();
        match resolved {
            Resolved::Action(Action::App(global::Action::Interrupt)) => self.interrupt(armed),
            Resolved::Action(action) => self.perform(action),
            _ => {
                if let (Some(char), Some(editor)) = (key.typed(), self.editor()) {
                    editor.insert(char.encode_utf8(&mut [0; 4]));
                    self.typed();
                } else if started && key.code != key::KeyCode::Esc {
                    self.say("nothing is bound to these keys; Esc ends a sequence".into());
                }
                Vec::new()
            }
        }
    }

    fn engine(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Progress(progress) if !matches!(self.stage, Stage::Loading(_)) => {
                self.session.progress = Some(progress);
            }
            Event::Progress(_) | Event::Download(_) | Event::Note(_) | Event::Question(_) => {
                self.hear(event);
                return Vec::new();
            }
            Event::Opened(info) => {
                self.dirty = true;
                return self.opened(info);
            }
            Event::Failed { message } => return self.failed(message),
            Event::Fatal { message } => {
                self.stage = Stage::Fatal(message);
                self.overlays.clear();
            }
            event => return self.answered(event),
        }
        self.dirty = true;
        Vec::new()
    }

    /// An answer for one of the rooms; once a prompt has been run, the tour goes on.
    fn answered(&mut self, event: Event) -> Vec<Effect> {
        let epoch = |session: &Session| session.shown.as_ref().map(|shown| shown.epoch);
        let before = epoch(&self.session);
        if screens::hear(self, event).is_some() {
            return Vec::new();
        }
        self.dirty = true;
        if epoch(&self.session) == before { Vec::new() } else { self.arrange_stop() }
    }

    /// What the state calls for after any message: the change that waited, and what the rooms want.
    fn follow_up(&mut self) -> Vec<Effect> {
        let change = self.session.next_change().map(Effect::Send);
        change.into_iter().chain(screens::wishes(self)).collect()
    }

    pub(crate) fn say(&mut self, text: String) {
        self.message = Some(Message { text, error: false });
    }

    pub(crate) fn complain(&mut self, text: String) {
        self.message = Some(Message { text, error: true });
    }

    /// Puts text on the clipboard, where there is any.
    fn copy(&mut self, text: Option<String>) -> Vec<Effect> {
        let Some(text) = text else {
            self.say("nothing to copy yet".into());
            return Vec::new();
        };
        self.say(format!("copied {} characters", text.chars().count()));
        vec![Effect::Copy(text)]
    }
}
