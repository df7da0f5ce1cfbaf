//! A model that is being opened: what the engine tells of it, and the question it may ask.

use super::{App, Effect, Message, Stage};
use crate::engine::protocol::{Download, Event, Progress, Request};

/// Notes that are kept.
const NOTES: usize = 4;

/// What is known of a model that is being opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loading {
    /// What the engine is at.
    pub work: Option<Work>,
    /// What it has said, the newest last.
    pub notes: Vec<String>,
    /// How many of them were about a download that has gone on since.
    past: usize,
    /// What it waits to be told.
    pub question: Option<String>,
}

/// What the engine is at while it opens a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    Stage(Progress),
    Download(Download),
}

impl Loading {
    /// Takes what the engine tells. False: it is nothing new.
    fn hear(&mut self, event: Event) -> bool {
        match event {
            Event::Progress(progress) => renew(&mut self.work, Work::Stage(progress)),
            Event::Download(download) => {
                self.past = self.notes.len();
                renew(&mut self.work, Work::Download(download))
            }
            Event::Question(question) => renew(&mut self.question, question),
            Event::Note(note) if self.notes.last() != Some(&note) => {
                self.notes.push(note);
                let old = self.notes.len().saturating_sub(NOTES);
                self.notes.drain(..old);
                self.past = self.past.saturating_sub(old);
                true
            }
            _ => false,
        }
    }

    /// The notes in one line for the opened model; the newest first, since a line may be cut at its end. What a download
    /// needed is no news after it.
    fn said(&self) -> Option<Message> {
        let notes: Vec<&str> = self.notes[self.past..].iter().rev().map(String::as_str).collect();
        (!notes.is_empty()).then(|| Message { text: notes.join(" · "), error: false })
    }
}

/// Puts `value` in its place. False: it was there already.
fn renew<T: PartialEq>(place: &mut Option<T>, value: T) -> bool {
    let value = Some(value);
    let new = *place != value;
    *place = value;
    new
}

impl App {
    /// Takes what the engine tells of a model that it opens; of one that is open a note is all that is left to say.
    pub(super) fn hear(&mut self, event: Event) {
        match (&mut self.stage, event) {
            (Stage::Loading(loading), event) => self.dirty |= loading.hear(event),
            (Stage::Open(_), Event::Note(note)) => {
                self.say(note);
                self.dirty = true;
            }
            _ => {}
        }
    }

    /// The model is open: what was said meanwhile stays to be read.
    pub(super) fn keep_notes(&mut self) {
        if let Stage::Loading(loading) = &self.stage
            && let Some(message) = loading.said()
        {
            self.message = Some(message);
        }
    }

    /// The model that is being opened.
    fn loading(&self) -> Option<&Loading> {
        match &self.stage {
            Stage::Loading(loading) => Some(loading),
            _ => None,
        }
    }

    /// Whether the engine waits for a yes or no.
    pub(crate) fn is_asked(&self) -> bool {
        self.loading().is_some_and(|loading| loading.question.is_some())
    }

    /// Whether a model is being downloaded.
    pub(crate) fn is_downloading(&self) -> bool {
        self.loading().is_some_and(|loading| matches!(loading.work, Some(Work::Download(_))))
    }

    /// Answers the engine's question.
    pub(super) fn answer(&mut self, yes: bool) -> Vec<Effect> {
        let question = match &mut self.stage {
            Stage::Loading(loading) => loading.question.take(),
            _ => None,
        };
        question.map(|_| Effect::Send(Request::Answer(yes))).into_iter().collect()
    }
}
