//! The explorer's state machine: a message goes in, effects come out. No tensors, no terminal, no clocks.

pub mod action;
pub(crate) mod circuits;
mod command;
pub(crate) mod compare;
mod copy;
pub mod editor;
pub mod key;
pub(crate) mod label;
pub(crate) mod loading;
pub(crate) mod overlay;
mod perform;
pub(crate) mod ranking;
pub(crate) mod session;
mod state;
pub mod tour;
pub(crate) mod training;

use std::{mem, sync::Arc};

pub(crate) use self::state::{Direction, Explore, Focus, Message, Screen, Source, Stage};
use self::{
    action::{Action, Context, Resolved},
    circuits::Circuits,
    editor::Editor,
    key::Key,
    loading::Loading,
    overlay::Overlay,
    ranking::{Ranking, Stage as RankStage},
    session::{Change, Session},
    tour::Tour,
    training::Training,
};
use crate::{
    analysis::score::Score,
    engine::protocol::{Bos, Event, Look, ModelInfo, PromptInput, RankSettings, Request},
    head::Head,
};

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

/// The state of the explorer.
#[derive(Debug)]
pub struct App {
    pub(crate) options: Options,
    pub(crate) stage: Stage,
    pub(crate) session: Session,
    pub(crate) explore: Explore,
    pub(crate) ranking: Ranking,
    pub(crate) screen: Screen,
    pub(crate) circuits: Circuits,
    pub(crate) training: Training,
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
            explore: Explore::default(),
            ranking: Ranking::new(options.rank),
            screen: Screen::default(),
            circuits: Circuits::default(),
            training: Training::default(),
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
            Msg::Paste(text) => self.paste(&text),
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
            || self.ranking.is_running()
            || self.circuits.is_working()
            || self.training.is_measuring()
    }

    /// Why the engine cannot go on, where it cannot; to be printed after the screen has been left.
    pub fn fatal(&self) -> Option<&str> {
        match &self.stage {
            Stage::Fatal(message) => Some(message),
            _ => None,
        }
    }

    /// The model, where it is open.
    pub(crate) fn info(&self) -> Option<&Arc<ModelInfo>> {
        match &self.stage {
            Stage::Open(info) => Some(info),
            _ => None,
        }
    }

    /// The contexts that are active, innermost first.
    pub(crate) fn contexts(&self) -> &'static [Context] {
        use Context as C;
        match (self.overlays.last(), self.info(), self.screen, self.explore.focus) {
            (Some(Overlay::Help(help)), ..) if help.typing => &[C::Edit],
            (Some(Overlay::Help(_)), ..) => &[C::Help, C::Global],
            (Some(Overlay::Palette(_)), ..) => &[C::Palette, C::Edit],
            (Some(Overlay::Prompt(_) | Overlay::Token(_)), ..) => &[C::Edit],
            (None, None, ..) if self.is_asked() => &[C::Question, C::Global],
            (None, None, ..) => &[C::Global],
            (None, _, Screen::Rank, _) => &[C::Rank, C::Global],
            (None, _, Screen::Circuits, _) => &[C::Circuits, C::Global],
            (None, _, Screen::Training, _) => &[C::Training, C::Global],
            (None, _, Screen::Explore, Focus::Heads) => &[C::Heads, C::Explore, C::Global],
            (None, _, Screen::Explore, Focus::Next) => &[C::Next, C::Explore, C::Global],
            (None, _, Screen::Explore, _) => &[C::Explore, C::Global],
        }
    }

    /// The text field that keys are typed into, if one is in front.
    pub(crate) fn editor(&mut self) -> Option<&mut Editor> {
        match self.overlays.last_mut()? {
            Overlay::Help(help) => help.typing.then_some(&mut help.filter),
            Overlay::Palette(palette) => Some(&mut palette.line),
            Overlay::Prompt(line) | Overlay::Token(line) => Some(line),
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
            resolved = action::resolve(&[Context::Global], &self.pending);
        }
        if resolved == Resolved::Prefix {
            return Vec::new();
        }
        let started = self.pending.len() > 1;
        self.pending.clear();
        match resolved {
            Resolved::Action(Action::Interrupt) => self.interrupt(armed),
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

    fn paste(&mut self, text: &str) -> Vec<Effect> {
        self.dirty = true;
        let prompt = matches!(self.overlays.last(), Some(Overlay::Prompt(_)));
        let text = if prompt { text.to_owned() } else { text.replace(['\n', '\r'], " ") };
        match self.editor() {
            Some(editor) => {
                editor.insert(&text);
                self.typed();
            }
            None => self.say("pasted text goes into a prompt: i edits it".into()),
        }
        Vec::new()
    }

    /// The text of a filter or of the palette has changed: its list begins at the top again.
    fn typed(&mut self) {
        match self.overlays.last_mut() {
            Some(Overlay::Help(help)) => help.scroll = 0,
            Some(Overlay::Palette(palette)) => palette.selected = 0,
            _ => {}
        }
    }

    /// Ctrl-C stops what computes circuits, then a comparison of snapshots, then the ranking, then the measuring of snapshots; where nothing runs, the second
    /// in a row quits, and before the model is open the first.
    fn interrupt(&mut self, armed: bool) -> Vec<Effect> {
        if self.circuits.is_working() {
            return vec![Effect::Send(Request::StopCircuits)];
        }
        if self.training.comparing.is_working() {
            self.training.comparing.shown = false;
            return Vec::new();
        }
        if self.ranking.is_running() {
            return vec![Effect::Send(Request::StopRanking)];
        }
        if self.training.is_measuring() {
            return vec![Effect::Send(Request::Measure(false))];
        }
        if armed || matches!(self.stage, Stage::Loading(_)) {
            return vec![Effect::Quit(130)];
        }
        self.quit_armed = true;
        self.say("press Ctrl-c again to quit".into());
        Vec::new()
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
            Event::Ranking { settings, done, total, scores, doubts } => {
                self.ranking.settings = settings;
                (self.ranking.scores, self.ranking.doubts) = (scores, doubts);
                self.ranking.stage =
                    if done < total { RankStage::Running(done, total) } else { RankStage::Done };
                self.choose_first();
            }
            Event::Run(run) => self.take_run(run),
            Event::Compared { pair, result } => self.take_comparison(pair, result),
            Event::RankingStopped => {
                self.ranking.stage = match self.ranking.stage {
                    RankStage::Running(done, total) if done > 0 => RankStage::Stopped(done, total),
                    RankStage::Running(..) => self.ranking.before,
                    stage => stage,
                };
            }
            Event::Circuits { ask, news } => self.circuits.hear(ask, news),
            Event::Failed { message } => {
                if mem::take(&mut self.opening) {
                    self.circuits.let_go();
                }
                if let Some(prompt) = self.other_prompt() {
                    return self
                        .session
                        .change(Change::Prompt(prompt))
                        .map(Effect::Send)
                        .into_iter()
                        .collect();
                }
                self.session.failed();
                if self.ranking.stage == RankStage::Running(0, 0) {
                    self.ranking.stage = self.ranking.before;
                }
                self.message = Some(Message { text: message, error: true });
            }
            Event::Fatal { message } => {
                self.stage = Stage::Fatal(message);
                self.overlays.clear();
            }
            event => {
                let before = self.session.run.clone();
                if !self.session.answer(event) {
                    return Vec::new();
                }
                if let Some(run) = self.session.run.clone()
                    && before.as_ref().is_none_or(|before| before.epoch != run.epoch)
                {
                    if before.is_none_or(|before| before.tokens != run.tokens) {
                        self.explore.query = run.tokens.len().saturating_sub(1);
                        self.explore.candidate = 0;
                    }
                    self.explore.key = None;
                    self.choose_first();
                    self.dirty = true;
                    return self.arrange_stop();
                }
                self.choose_first();
            }
        }
        self.dirty = true;
        Vec::new()
    }

    /// Opens another model in the place of this one; prompt, head and screen stay as far as it has them.
    pub(crate) fn open(&mut self, model: Option<String>) -> Vec<Effect> {
        self.opening = true;
        self.training.asked = None;
        vec![Effect::Send(Request::Open { model })]
    }

    /// A model is open: its prompt and its ranking are due.
    fn opened(&mut self, info: Arc<ModelInfo>) -> Vec<Effect> {
        let prompt = self.session.with_generated().filter(|prompt| fits(prompt, &info));
        let given = || self.options.prompt.clone().filter(|prompt| fits(prompt, &info));
        let prompt = prompt.or_else(given).unwrap_or_else(|| default_prompt(&info));
        if matches!(self.options.prompt, Some(PromptInput::Text(_))) && !info.has_tokenizer {
            self.say("give token ids for a prompt (i): the model has no tokenizer to read text with".into());
        }
        self.opening = false;
        self.options.rank.length = info.block;
        match self.info().cloned() {
            None => self.keep_notes(),
            Some(before) => {
                let heads = (info.layers, info.heads) == (before.layers, before.heads);
                self.session.reopened(info.vocabulary == before.vocabulary, heads);
                self.ranking.clear();
                self.circuits.reopened(&info);
                let has = |head: Head| head.layer < info.layers && head.head < info.heads;
                self.session.ablated.retain(|&head| has(head));
                if !has(self.explore.head) {
                    self.explore.head = Head::new(0, 0);
                    self.explore.chosen = false;
                }
            }
        }
        let has_heads = info.layers > 0;
        self.stage = Stage::Open(info);
        let prompt = self.session.change(Change::Prompt(prompt)).map(Effect::Send);
        let ranking = if has_heads { self.start_ranking() } else { Vec::new() };
        prompt.into_iter().chain(ranking).collect()
    }

    /// What to run instead of a default prompt that was refused: a context may be too short for it.
    fn other_prompt(&self) -> Option<PromptInput> {
        let info = self.info()?;
        let default = default_prompt(info);
        let refused = self.options.prompt.is_none()
            && self.session.run.is_none()
            && self.session.is_running()
            && self.session.input.as_ref() == Some(&default);
        Some(repeated_ids(info)).filter(|ids| refused && *ids != default)
    }

    fn start_ranking(&mut self) -> Vec<Effect> {
        if self.info().is_some_and(|info| info.layers == 0) {
            self.say("a model without layers has no heads to rank".into());
            return Vec::new();
        }
        self.ranking.before = mem::replace(&mut self.ranking.stage, RankStage::Running(0, 0));
        vec![Effect::Send(Request::Rank(self.options.rank))]
    }

    /// Until a head has been chosen by hand, an induction head is shown: of those that score at least half as much as the
    /// best, the one that does most of it at this token.
    fn choose_first(&mut self) {
        if self.explore.chosen {
            return;
        }
        let Some(info) = self.info() else { return };
        let score = |head: Head| self.ranking.get(info, head)?.measured(Score::Induction);
        let order = self.ranking.order(info, ranking::Column::Score(Score::Induction), false);
        let Some(best) = order.first().and_then(|&head| score(head)) else { return };
        let here = |head: Head| {
            let answer = self.session.at_query.as_ref()?;
            let scores = answer.value.scores.get(head.layer * info.heads + head.head)?;
            scores.measured(Score::Induction).filter(|_| answer.value.query == self.explore.query)
        };
        let strong =
            order.iter().copied().take_while(|&head| score(head).is_some_and(|score| score >= best / 2.0));
        // Of heads that do equally much here, the first of the ranking.
        let chosen = strong.reduce(|one, other| if here(other) > here(one) { other } else { one });
        let Some(chosen) = chosen else { return };
        if self.ranking.cursor == self.explore.head {
            self.ranking.cursor = chosen;
        }
        self.explore.head = chosen;
    }

    /// What the state calls for after any message: the change that waited, or a look at what is selected now.
    fn follow_up(&mut self) -> Vec<Effect> {
        let change = self.session.next_change();
        let look = Look {
            head: self.explore.head,
            query: self.explore.query,
            fits: self.layout.map,
            pool: self.explore.pool,
        };
        let asked = change.or_else(|| self.session.look(look));
        let circuits = self.circuits_request();
        let of_run = self.follow_run().into_iter().chain(self.follow_comparison());
        asked.into_iter().chain(circuits).map(Effect::Send).chain(of_run).collect()
    }

    pub(crate) fn say(&mut self, text: String) {
        self.message = Some(Message { text, error: false });
    }

    /// The shade, 0 to 1, of an attention value.
    pub(crate) fn scaled(&self, value: f32) -> f32 {
        if self.explore.sqrt { value.max(0.0).sqrt() } else { value }
    }

    /// The key cursor and the attention there: `(position, A)`.
    pub(crate) fn under_cursor(&self) -> Option<(usize, f32)> {
        let view = &self.session.head.as_ref()?.value;
        let (values, from) = match self.explore.direction {
            Direction::AttendedBy if self.explore.text => (&view.column, view.look.query),
            _ => (&view.row, 0),
        };
        let strongest = || values.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1));
        let at = match self.explore.key {
            Some(key) => key.saturating_sub(from).min(values.len().saturating_sub(1)),
            None => strongest()?.0,
        };
        values.get(at).map(|&value| (at + from, value))
    }
}

/// Whether a prompt of one model can be run on another.
fn fits(prompt: &PromptInput, info: &ModelInfo) -> bool {
    match prompt {
        PromptInput::Text(_) => info.has_tokenizer,
        PromptInput::Ids(ids) => ids.iter().all(|&id| (id as usize) < info.vocabulary),
    }
}

/// The first prompt where none is given; without a tokenizer, ids of which the first ones come again.
fn default_prompt(info: &ModelInfo) -> PromptInput {
    if info.has_tokenizer {
        return PromptInput::Text(DEFAULT_PROMPT.to_owned());
    }
    repeated_ids(info)
}

/// Ids of which the first ones come again.
fn repeated_ids(info: &ModelInfo) -> PromptInput {
    let vocabulary = info.vocabulary.max(1) as u32;
    let block = (1..=5).map(|index| (index * (vocabulary / 7).max(1)) % vocabulary);
    PromptInput::Ids(info.bos.into_iter().chain(block.clone()).chain(block.take(3)).collect())
}
