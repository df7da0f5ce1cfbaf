//! What the Circuits screen remembers: the view, what was asked of the engine, and the answers.

use std::sync::Arc;

use crate::engine::protocol::{
    ModelInfo, PromptInput, Request,
    circuits::{Ask, Circuit, Facts, Kind, News, Role, Steps},
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
    pub(super) fn request(&mut self, ask: Ask) -> Option<Request> {
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
    pub(super) fn hear(&mut self, ask: Ask, news: News) {
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
    pub(super) fn let_go(&mut self) {
        self.asked = None;
    }

    /// Goes on with what was stopped; `false` where nothing was.
    pub(super) fn go_on(&mut self) -> bool {
        self.stopped.take().is_some()
    }

    /// The row of the view's list that was moved to.
    pub(super) fn cursor(&self) -> usize {
        self.cursors[self.view as usize]
    }

    /// Moves to a row of the view's list.
    pub(super) fn put_cursor(&mut self, row: usize) {
        self.cursors[self.view as usize] = row;
    }

    /// Shows the view that is `by` further on.
    pub(super) fn step_view(&mut self, by: isize) {
        let count = View::ALL.len() as isize;
        self.view = View::ALL[(self.view as isize + by).rem_euclid(count) as usize];
    }

    /// Looks up a token, or again the query token.
    pub(super) fn look_up(&mut self, token: Option<PromptInput>) {
        self.typed = token;
        if self.view == View::Trigrams {
            // A token that is typed has a role.
            self.role = self.role.or(Some(Role::Source));
        }
        self.cursors = Default::default();
    }

    /// Shows other skip-trigrams or another composition; `false` where a view has no others.
    pub(super) fn switch(&mut self) -> bool {
        match self.view {
            View::Trigrams => {
                let next = self.role.map_or(0, |role| role as usize + 1);
                self.role = Role::ALL.get(next).copied();
            }
            View::Composition => self.kind = Kind::ALL[(self.kind as usize + 1) % Kind::ALL.len()],
            _ => return false,
        }
        self.put_cursor(0);
        true
    }

    /// Forgets the answers, which are another model's, and a token that it may not have.
    pub(super) fn forget(&mut self, info: &ModelInfo) {
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
