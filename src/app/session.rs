//! What has been asked of the engine and what it has answered: epochs, the prompt, the ablated heads, the views.
//!
//! One change of the prompt or of the ablated heads is in flight at a time; at most one more step waits behind it, so
//! a held key goes at the engine's pace. What is shown stays until its successor arrives, and names its own prompt.

use std::{collections::BTreeSet, sync::Arc};

use super::label::label;
use crate::{
    analysis::score::HeadScores,
    engine::protocol::{
        Bos, Candidate, Event, Explanation, HeadView, Look, Progress, PromptInput, Request, Token,
    },
    head::{Head, PerHead},
};

/// A prompt that the engine has run, as it is shown.
#[derive(Debug)]
pub struct Shown {
    /// Its epoch.
    pub epoch: u64,
    /// Every token.
    pub tokens: Arc<[Token]>,
    /// How many of them the prompt had.
    pub prompt: usize,
    /// The tokens as they are written in running text.
    pub labels: Vec<String>,
}

/// An answer of the engine and what it is about.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// The prompt.
    pub about: Arc<Shown>,
    /// The answer.
    pub value: T,
}

/// The most probable next tokens after `query`.
#[derive(Clone, Debug)]
pub struct Candidates {
    /// The query token.
    pub query: usize,
    /// Best first.
    pub top: Arc<[Candidate]>,
    /// The same with no head ablated, where one is.
    pub unablated: Option<Arc<[Candidate]>>,
}

/// What every head does at `query`.
#[derive(Clone, Debug)]
pub struct AtQuery {
    /// The query token.
    pub query: usize,
    /// The scores of its row.
    pub scores: PerHead<HeadScores>,
}

/// A change that begins an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Run a prompt.
    Prompt(PromptInput),
    /// Append a token, or the most probable one.
    Append(Option<u32>),
    /// Take back the last generated token.
    StepBack,
    /// Ablate these heads and no others.
    Ablate(BTreeSet<Head>),
}

/// The conversation with the engine.
#[derive(Debug, Default)]
pub struct Session {
    /// The last epoch asked for.
    epoch: u64,
    /// The change that the engine is at.
    in_flight: Option<Change>,
    /// The step that follows it.
    waiting: Option<Change>,
    /// Heads the engine has ablated.
    applied: BTreeSet<Head>,
    /// The last look sent, and its epoch.
    looked: Option<(u64, Look)>,
    /// The prompt last asked for.
    pub input: Option<PromptInput>,
    /// The prompt that was run.
    ran: Option<PromptInput>,
    /// Whether BOS goes before it.
    pub bos: Bos,
    /// Heads that are to be ablated.
    pub ablated: BTreeSet<Head>,
    /// The prompt the engine has run.
    pub shown: Option<Arc<Shown>>,
    /// How far the engine is with a long one.
    pub progress: Option<Progress>,
    /// The head shown.
    pub head: Option<Answer<Arc<HeadView>>>,
    /// All heads at the query token.
    pub at_query: Option<Answer<AtQuery>>,
    /// The next tokens.
    pub candidates: Option<Answer<Candidates>>,
    /// What the head does.
    pub explanation: Option<Answer<Arc<Explanation>>>,
}

impl Session {
    /// Nothing asked yet; `bos` holds for the prompts to come.
    pub fn new(bos: Bos) -> Self {
        Self { bos, ..Self::default() }
    }

    /// Whether the engine is at a change.
    pub fn is_running(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Number of tokens of the prompt that is shown.
    pub fn len(&self) -> usize {
        self.shown.as_ref().map_or(0, |shown| shown.tokens.len())
    }

    /// The prompt last asked for, with what was generated after it.
    pub fn with_generated(&self) -> Option<PromptInput> {
        // While another prompt is on its way, what is on the screen was not generated after it.
        let shown = self.shown.as_ref().filter(|_| self.input == self.ran);
        let generated = shown.map_or(&[][..], |shown| shown.tokens.get(shown.prompt..).unwrap_or_default());
        Some(match self.input.clone()? {
            PromptInput::Text(text) => {
                let bytes: Vec<u8> = generated.iter().flat_map(|token| token.bytes.iter().copied()).collect();
                PromptInput::Text(text + &String::from_utf8_lossy(&bytes))
            }
            PromptInput::Ids(ids) => {
                PromptInput::Ids(ids.into_iter().chain(generated.iter().map(|token| token.id)).collect())
            }
        })
    }

    /// Whether an answer is about the prompt as it is now.
    pub fn is_current<T>(&self, answer: &Answer<T>) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.epoch == answer.about.epoch)
    }

    /// Asks for a change: a prompt at once, another step after the one in flight.
    pub fn change(&mut self, change: Change) -> Option<Request> {
        if self.in_flight.is_some() && !matches!(change, Change::Prompt(_)) {
            self.waiting = Some(change);
            return None;
        }
        let epoch = self.epoch + 1;
        let request = match &change {
            Change::Prompt(input) => {
                self.waiting = None;
                self.input = Some(input.clone());
                Request::Prompt { epoch, input: input.clone(), bos: self.bos }
            }
            Change::Append(token) => Request::Append { epoch, token: *token },
            Change::StepBack => {
                let shown = self.shown.as_ref().filter(|shown| shown.tokens.len() > shown.prompt)?;
                Request::Truncate { epoch, length: shown.tokens.len() - 1 }
            }
            Change::Ablate(heads) => Request::Ablate { epoch, heads: heads.clone() },
        };
        self.epoch = epoch;
        self.in_flight = Some(change);
        Some(request)
    }

    /// What follows a change that has ended: the step that waits, or the ablation that is due.
    pub fn next_change(&mut self) -> Option<Request> {
        if self.in_flight.is_some() {
            return None;
        }
        if let Some(request) = self.waiting.take().and_then(|step| self.change(step)) {
            return Some(request);
        }
        (self.ablated != self.applied).then(|| self.change(Change::Ablate(self.ablated.clone()))).flatten()
    }

    /// The request for `look`, unless it is the last one sent or a change is in flight, after which it is asked anyway.
    pub fn look(&mut self, look: Look) -> Option<Request> {
        let epoch = self.shown.as_ref().filter(|shown| look.query < shown.tokens.len())?.epoch;
        if self.in_flight.is_some() || self.looked == Some((epoch, look)) {
            return None;
        }
        self.looked = Some((epoch, look));
        Some(Request::Look { epoch, look })
    }

    /// Takes an answer; gives back what is none, and one about an epoch that is over.
    pub fn answer(&mut self, event: Event) -> Option<Event> {
        let epoch = match &event {
            Event::Tokens { epoch, .. }
            | Event::Head { epoch, .. }
            | Event::AtQuery { epoch, .. }
            | Event::Candidates { epoch, .. }
            | Event::Explanation { epoch, .. } => *epoch,
            _ => return Some(event),
        };
        let about = self.shown.clone().filter(|shown| shown.epoch == epoch);
        match (event, about) {
            (Event::Tokens { epoch, tokens, prompt }, _) if epoch == self.epoch => {
                match self.in_flight.take() {
                    Some(Change::Ablate(heads)) => self.applied = heads,
                    Some(Change::Prompt(input)) => self.ran = Some(input),
                    _ => {}
                }
                self.progress = None;
                let labels = tokens.iter().map(label).collect();
                self.shown = Some(Arc::new(Shown { epoch, tokens, prompt, labels }));
            }
            (Event::Head { view, .. }, Some(about)) => self.head = Some(Answer { about, value: view }),
            (Event::AtQuery { query, scores, .. }, Some(about)) => {
                self.at_query = Some(Answer { about, value: AtQuery { query, scores } });
            }
            (Event::Candidates { query, top, unablated, .. }, Some(about)) => {
                self.candidates = Some(Answer { about, value: Candidates { query, top, unablated } });
            }
            (Event::Explanation { explanation, .. }, Some(about)) => {
                self.explanation = Some(Answer { about, value: explanation });
            }
            (event, _) => return Some(event),
        }
        None
    }

    /// Another model is open: whatever was asked of the one before is over. What it answered stays until the next answers,
    /// where that is about the same vocabulary (`tokens`) and the same heads (`heads`).
    pub fn reopened(&mut self, tokens: bool, heads: bool) {
        self.in_flight = None;
        self.waiting = None;
        self.progress = None;
        self.looked = None;
        self.applied.clear();
        if !tokens {
            (self.shown, self.candidates) = (None, None);
        }
        if !(tokens && heads) {
            (self.head, self.at_query, self.explanation) = (None, None, None);
        }
    }

    /// A request failed and changed nothing: what waited behind it is dropped.
    pub fn failed(&mut self) {
        self.in_flight = None;
        self.waiting = None;
        self.progress = None;
        self.ablated = self.applied.clone();
        // What is on the screen is what can be edited; before there is anything, what was refused.
        if self.ran.is_some() {
            self.input = self.ran.clone();
        }
    }
}
