//! What the Circuits screen shows, what it asks the engine for, and where its cursors are.

mod table;
pub(crate) mod waterfall;

use std::sync::Arc;

use super::{App, Effect, Screen, action::Action, command::parse_ids, editor::Editor, overlay::Overlay};
use crate::{
    engine::protocol::{
        ModelInfo, PromptInput, Request,
        circuits::{Ask, Circuit, Edge, Facts, Kind, News, Role, Steps},
    },
    head::Head,
};

/// Answers about single tokens and prompts that are kept; those about the whole model all are.
const KEPT: usize = 32;

/// The views of the screen, in the order of the Tab key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum View {
    #[default]
    Bigram,
    Trigrams,
    Copying,
    Positions,
    Composition,
    Corner,
    Terms,
}

impl View {
    pub const ALL: [Self; 7] = [
        Self::Bigram,
        Self::Trigrams,
        Self::Copying,
        Self::Positions,
        Self::Composition,
        Self::Corner,
        Self::Terms,
    ];

    /// Its name on the screen.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bigram => "Bigram",
            Self::Trigrams => "Skip-trigrams",
            Self::Copying => "Copying",
            Self::Positions => "Positions",
            Self::Composition => "Composition",
            Self::Corner => "Corner",
            Self::Terms => "Terms",
        }
    }

    /// Why a model has nothing to show in this view, where it has nothing.
    pub fn undefined(self, info: &ModelInfo) -> Option<&'static str> {
        match self {
            Self::Bigram => None,
            _ if info.layers == 0 => {
                Some("This model has no layers and so no heads: the bigram view is the whole of it.")
            }
            Self::Composition | Self::Corner if info.layers == 1 => Some(
                "Not defined for one layer: a head composes with heads of earlier layers, and there are none.",
            ),
            _ => None,
        }
    }
}

/// An answer, or why there is none.
pub(crate) type Answer = Result<Arc<Circuit>, String>;

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    pub view: View,
    /// The token that was typed; without one it is the query token.
    pub typed: Option<PromptInput>,
    /// The token's role in skip-trigrams; without one, the strongest of all tokens are shown.
    pub role: Option<Role>,
    /// The composition shown.
    pub kind: Kind,
    /// The row of each view's list that was moved to.
    cursors: [usize; View::ALL.len()],
    /// What the engine is at.
    asked: Option<Ask>,
    /// How far it is, or was when it was stopped.
    pub steps: Steps,
    /// What was stopped.
    stopped: Option<Ask>,
    answers: Vec<(Ask, Answer)>,
}

impl Circuits {
    /// Whether the engine is at work for the screen.
    pub fn is_working(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether what a view needs was stopped.
    pub fn is_stopped(&self, ask: &Ask) -> bool {
        self.stopped.as_ref() == Some(ask)
    }

    /// Whether the engine is at this.
    pub fn is_at(&self, ask: &Ask) -> bool {
        self.asked.as_ref() == Some(ask)
    }

    /// The answer to an ask.
    pub fn answer(&self, ask: &Ask) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.0 == *ask).map(|answer| &answer.1)
    }

    /// The request for `ask`, unless it is answered, under way, or was stopped.
    fn request(&mut self, ask: Ask) -> Option<Request> {
        let done = self.answer(&ask).is_some_and(is_whole);
        if done || self.is_at(&ask) || self.is_stopped(&ask) {
            return None;
        }
        self.steps = Steps::default();
        self.stopped = None;
        self.asked = Some(ask.clone());
        Some(Request::Circuits(ask))
    }

    /// Takes what the engine tells.
    pub fn hear(&mut self, ask: Ask, news: News) {
        match news {
            News::Working(steps) if self.is_at(&ask) => self.steps = steps,
            News::Stopped if self.is_at(&ask) => {
                self.asked = None;
                self.stopped = Some(ask);
            }
            News::Working(_) | News::Stopped => {}
            News::Answer(answer) => {
                if is_whole(&answer) && self.is_at(&ask) {
                    self.asked = None;
                }
                self.answers.retain(|kept| kept.0 != ask);
                let passing = |kept: &(Ask, Answer)| !kept.0.is_whole();
                if self.answers.iter().filter(|&kept| passing(kept)).count() >= KEPT
                    && let Some(oldest) = self.answers.iter().position(passing)
                {
                    drop(self.answers.remove(oldest));
                }
                self.answers.push((ask, answer));
            }
        }
    }

    /// What the engine was at is forgotten there; it is asked for again when it is looked at.
    pub fn let_go(&mut self) {
        self.asked = None;
    }

    /// Forgets the answers, which are another model's, and a token that it may not have.
    pub fn reopened(&mut self, info: &ModelInfo) {
        let view = if self.view.undefined(info).is_some() { View::Bigram } else { self.view };
        let typed = self.typed.take().filter(|_| info.has_tokenizer);
        let typed = typed.filter(|input| matches!(input, PromptInput::Text(_)));
        *self = Self { view, typed, role: self.role, kind: self.kind, ..Self::default() };
    }
}

/// Whether nothing is to follow: of skip-trigrams the bugs come later.
fn is_whole(answer: &Answer) -> bool {
    !matches!(answer, Ok(circuit) if matches!(circuit.facts, Facts::Trigrams { bugs: None, .. }))
}

/// What the cursor of a view goes through.
enum List<'a> {
    /// Heads; the cursor is on the selected one.
    Heads(Vec<Head>),
    /// Edges; the cursor has a place of its own.
    Edges(&'a [Edge]),
    /// So many other rows.
    Rows(usize),
}

impl App {
    /// What the view on the screen needs, where it can be asked for.
    pub(crate) fn circuits_ask(&self) -> Option<Ask> {
        let info = self.info()?;
        let circuits = &self.circuits;
        if circuits.view.undefined(info).is_some() {
            return None;
        }
        let head = self.explore.head;
        Some(match circuits.view {
            View::Bigram => Ask::Bigram { token: self.circuits_token()? },
            View::Trigrams => {
                let token = match circuits.role {
                    Some(role) => Some((self.circuits_token()?, role)),
                    None => None,
                };
                Ask::Trigrams { head, token }
            }
            View::Copying => Ask::Copying,
            View::Positions => Ask::Positions,
            View::Composition => Ask::Composition,
            View::Corner => Ask::Corner,
            View::Terms if self.session.is_running() => return None,
            View::Terms => {
                let run = self.session.run.as_ref()?;
                Ask::Terms { epoch: run.epoch, query: self.explore.query }
            }
        })
    }

    /// The token typed, or the query token.
    fn circuits_token(&self) -> Option<PromptInput> {
        let query = || {
            let run = self.session.run.as_ref()?;
            run.tokens.get(self.explore.query).map(|token| PromptInput::Ids(vec![token.id]))
        };
        self.circuits.typed.clone().or_else(query)
    }

    /// The request that the screen calls for.
    pub(crate) fn circuits_request(&mut self) -> Option<Request> {
        // What is asked while another model is opened would be about the one before.
        if self.screen != Screen::Circuits || self.opening {
            return None;
        }
        let ask = self.circuits_ask()?;
        self.circuits.request(ask)
    }

    /// The answer that the screen shows.
    pub(crate) fn circuit(&self) -> Option<&Answer> {
        self.circuits.answer(&self.circuits_ask()?)
    }

    fn facts(&self) -> Option<&Facts> {
        self.circuit()?.as_ref().ok().map(|circuit| &circuit.facts)
    }

    fn list(&self) -> List<'_> {
        match self.facts() {
            Some(Facts::Copying { order, .. }) => List::Heads(order.clone()),
            Some(Facts::Positions { peaks, .. }) => List::Heads(peaks.iter().map(|peak| peak.0).collect()),
            Some(Facts::Corner { points }) => List::Heads(points.iter().map(|point| point.head).collect()),
            Some(Facts::Composition { edges, .. }) => List::Edges(&edges[self.circuits.kind as usize]),
            Some(Facts::Bigram { next, .. }) => List::Rows(next.len()),
            Some(Facts::Trigrams { rows, bugs, .. }) => {
                List::Rows(rows.len() + bugs.as_ref().map_or(0, Vec::len))
            }
            Some(Facts::Terms { terms, .. }) => List::Rows(waterfall::steps(terms).len()),
            None => List::Rows(0),
        }
    }

    /// The row of the view's list that the cursor is on, where it is on one.
    pub(crate) fn circuits_cursor(&self) -> Option<usize> {
        let length = match self.list() {
            List::Heads(heads) => return heads.iter().position(|&head| head == self.explore.head),
            List::Edges(edges) => edges.len(),
            List::Rows(rows) => rows,
        };
        let last = length.checked_sub(1)?;
        Some(self.circuits.cursors[self.circuits.view as usize].min(last))
    }

    /// Does what the keys of the screen ask for.
    pub(crate) fn on_circuits(&mut self, action: Action) -> Vec<Effect> {
        use Action as A;
        let page = self.layout.page.max(1) as isize;
        match action {
            A::CircuitsDown => self.move_circuits(1),
            A::CircuitsUp => self.move_circuits(-1),
            A::CircuitsPageDown => self.move_circuits(page),
            A::CircuitsPageUp => self.move_circuits(-page),
            A::CircuitsTop => self.move_circuits(isize::MIN / 2),
            A::CircuitsBottom => self.move_circuits(isize::MAX / 2),
            A::CircuitsOpen => self.open_circuits_row(),
            _ => {
                self.screen = Screen::Circuits;
                self.change_circuits(action);
            }
        }
        Vec::new()
    }

    fn change_circuits(&mut self, action: Action) {
        let circuits = &mut self.circuits;
        let step = |by: usize| View::ALL[(circuits.view as usize + by) % View::ALL.len()];
        match (action, circuits.view) {
            (Action::NextView, _) => circuits.view = step(1),
            (Action::PreviousView, _) => circuits.view = step(View::ALL.len() - 1),
            (Action::TypeToken, _) => {
                if !matches!(circuits.view, View::Bigram | View::Trigrams) {
                    circuits.view = View::Bigram;
                }
                self.overlays.push(Overlay::Token(Editor::new(String::new())));
            }
            (Action::SwitchCircuits, View::Trigrams) => {
                let next = circuits.role.map_or(0, |role| role as usize + 1);
                circuits.role = Role::ALL.get(next).copied();
                circuits.cursors[View::Trigrams as usize] = 0;
            }
            (Action::SwitchCircuits, View::Composition) => {
                circuits.kind = Kind::ALL[(circuits.kind as usize + 1) % Kind::ALL.len()];
                circuits.cursors[View::Composition as usize] = 0;
            }
            (Action::SwitchCircuits, _) => {
                self.say("skip-trigrams and composition have something to switch; this view does not".into());
            }
            (Action::GoOn, _) if circuits.stopped.take().is_none() => self.say("nothing was stopped".into()),
            _ => {}
        }
    }

    /// Looks up the token that was typed; nothing typed is the query token.
    pub(crate) fn look_up_token(&mut self, text: &str) -> Result<(), String> {
        let ids = self.info().is_some_and(|info| !info.has_tokenizer);
        let circuits = &mut self.circuits;
        circuits.typed = match text {
            "" => None,
            text if ids => Some(parse_ids(text)?),
            text => Some(PromptInput::Text(text.to_owned())),
        };
        if circuits.view == View::Trigrams {
            // A token that is typed has a role.
            circuits.role = circuits.role.or(Some(Role::Source));
        }
        circuits.cursors = Default::default();
        Ok(())
    }

    fn move_circuits(&mut self, by: isize) {
        let at = self.circuits_cursor();
        let to = |length: usize| {
            // From no row, the first step is on the first.
            let to = at.map_or(0, |at| (at as isize).saturating_add(by));
            to.clamp(0, length.saturating_sub(1) as isize).unsigned_abs()
        };
        match self.list() {
            List::Heads(heads) => {
                if let Some(&head) = heads.get(to(heads.len())) {
                    self.select_head(head);
                }
            }
            List::Edges(edges) => {
                let row = to(edges.len());
                self.circuits.cursors[self.circuits.view as usize] = row;
            }
            List::Rows(length) => {
                let row = to(length);
                self.circuits.cursors[self.circuits.view as usize] = row;
            }
        }
    }

    /// Opens what the cursor is on: a next token's own next tokens, else the head, of an edge the one that reads.
    fn open_circuits_row(&mut self) {
        let cursor = self.circuits_cursor();
        match (self.facts(), cursor) {
            (Some(Facts::Bigram { next, .. }), Some(cursor)) => {
                let token = PromptInput::Ids(vec![next[cursor].token.id]);
                self.circuits.typed = Some(token);
                self.circuits.cursors[View::Bigram as usize] = 0;
                return;
            }
            (Some(Facts::Composition { edges, .. }), Some(cursor)) => {
                let later = edges[self.circuits.kind as usize][cursor].later;
                self.select_head(later);
            }
            _ => {}
        }
        if self.info().is_some_and(|info| info.layers > 0) {
            self.screen = Screen::Explore;
        }
    }
}
