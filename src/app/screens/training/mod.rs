//! The Training screen: the run that the model is a snapshot of, its curves, and the prompt before and after.

mod compare;
mod copy;
mod state;
mod table;

use std::{mem, sync::Arc};

pub(crate) use self::{state::Training, table::Action};
use crate::{
    analysis::score::Score,
    app::{
        App, Effect, Options,
        motion::Motion,
        room::{Room, Work},
        screen::Screen,
        session::Answer,
        table::{Context, Entry, Hint},
    },
    engine::protocol::{Comparison, Event, Pair, Request, RunView},
};

const NO_RUN: &str = "the model is no snapshot of a run: 5 says what a run is";

impl Room for Training {
    type Action = Action;

    const ENTRIES: &'static [Entry<Action>] = table::ENTRIES;
    const CONTEXTS: &'static [&'static [Context]] = table::CONTEXTS;
    const HINTS: &'static [Hint<Action>] = table::HINTS;

    fn new(_options: &Options) -> Self {
        Self::default()
    }

    fn perform(app: &mut App, action: Action) -> Vec<Effect> {
        use Action as A;
        let training = &mut app.rooms.training;
        match (action, training.run.clone()) {
            (A::Score(by), _) => step_score(app, by),
            (A::Copy, _) => return app.copy(copy::snapshot(app)),
            (A::CopyAll, _) if training.comparing.shown => return app.copy(copy::changes(app)),
            (A::CopyAll, _) => return app.copy(copy::curves(app)),
            (A::Snapshot(by), _) => return open_beside(app, by),
            (_, None) => app.say(NO_RUN.into()),
            (A::Move(motion), Some(run)) => go(app, &run, motion),
            (A::BeforeAfter, Some(_)) => training.comparing.shown = !training.comparing.shown,
            (A::MarkBefore, Some(_)) => mark_before(app),
            (A::StepScale, Some(_)) => training.log_steps = !training.log_steps,
            (A::Measure, Some(_)) => {
                return vec![Effect::Send(Request::Measure(!training.is_measuring()))];
            }
            (A::Open, Some(run)) => {
                let at = training.at().unwrap_or(run.snapshots.len().saturating_sub(1));
                app.screen = Screen::Explore;
                return open(app, &run, at);
            }
        }
        Vec::new()
    }

    fn offers(app: &App, _action: Action) -> bool {
        app.rooms.training.run.is_some()
    }

    fn hear(app: &mut App, event: Event) -> Option<Event> {
        match event {
            Event::Run(run) => app.rooms.training.take(run),
            Event::Compared { pair, result } => take_comparison(app, pair, result),
            event => return Some(event),
        }
        None
    }

    fn wishes(app: &mut App) -> Vec<Effect> {
        let shown = app.screen == Screen::Training && app.info().is_some();
        let epoch = app.session.shown.as_ref().map(|shown| shown.epoch);
        let training = &mut app.rooms.training;
        // What is to be told when the screen is entered or left.
        let told = mem::replace(&mut training.watched, shown);
        let watch = (told != shown).then_some(Request::Watch(shown));
        // And when something else is to be compared, or nothing any more.
        let pair = epoch.zip(training.before()).map(|(epoch, before)| Pair { epoch, before });
        let wanted = pair.filter(|_| shown && training.comparing.shown);
        let told = mem::replace(&mut training.comparing.asked, wanted);
        let compare = (told != wanted).then_some(Request::Compare(wanted));
        watch.into_iter().chain(compare).map(Effect::Send).collect()
    }

    fn is_busy(&self) -> bool {
        self.is_measuring()
    }

    fn stop(app: &mut App, work: Work) -> Option<Vec<Effect>> {
        let training = &mut app.rooms.training;
        match work {
            Work::Shown if training.comparing.is_working() => {
                training.comparing.shown = false;
                Some(Vec::new())
            }
            Work::Behind if training.is_measuring() => Some(vec![Effect::Send(Request::Measure(false))]),
            _ => None,
        }
    }
}

/// Takes a comparison, unless something else is wanted by now.
fn take_comparison(app: &mut App, pair: Pair, result: Result<Arc<Comparison>, String>) {
    let comparing = &mut app.rooms.training.comparing;
    let about = app.session.shown.clone().filter(|shown| shown.epoch == pair.epoch);
    if let Some(about) = about.filter(|_| comparing.asked == Some(pair)) {
        comparing.answer = Some((pair, result.map(|value| Answer { about, value })));
    }
}

/// Moves the cursor over the snapshots, or up and down in the list of heads or of tokens.
fn go(app: &mut App, run: &RunView, motion: Motion) {
    let training = &mut app.rooms.training;
    let last = run.snapshots.len().saturating_sub(1);
    let by = if motion.is_back() { -1 } else { 1 };
    match motion {
        Motion::Up | Motion::Down if training.comparing.shown => training.comparing.step(by),
        Motion::Up | Motion::Down => step_order(app, by),
        _ => training.put_cursor(run, motion.lead(training.at().unwrap_or(last), last, 1)),
    }
}

/// Marks the snapshot under the cursor as before, or takes the mark off it.
fn mark_before(app: &mut App) {
    let training = &mut app.rooms.training;
    let step = training.snapshot().map(|snapshot| snapshot.step);
    if !training.comparing.mark(step) {
        app.say("the mark is off: before is the last snapshot before the change".into());
    }
}

/// Opens the snapshot before the open one, or after it.
pub(crate) fn open_beside(app: &mut App, by: isize) -> Vec<Effect> {
    let training = &mut app.rooms.training;
    let Some(run) = training.run.clone() else {
        app.say(NO_RUN.into());
        return Vec::new();
    };
    let last = run.snapshots.len().saturating_sub(1);
    let to = match training.asked.or(run.open) {
        None => Some(last),
        Some(from) => from.checked_add_signed(by).filter(|&to| to <= last),
    };
    let Some(to) = to else {
        app.say(format!("no snapshot of {} lies further on that side", run.name));
        return Vec::new();
    };
    training.put_cursor(&run, to);
    open(app, &run, to)
}

fn open(app: &mut App, run: &RunView, at: usize) -> Vec<Effect> {
    let Some(snapshot) = run.snapshots.get(at) else { return Vec::new() };
    let effects = app.open(snapshot.model.clone());
    app.rooms.training.asked = Some(at);
    effects
}

/// Selects a head further up or down in the order of the table.
fn step_order(app: &mut App, by: isize) {
    let order = app.rooms.training.order();
    let at = order.iter().position(|&head| head == app.selection.head);
    let to = at.map_or(Some(0), |at| at.checked_add_signed(by));
    if let Some(&head) = to.and_then(|to| order.get(to)) {
        app.select_head(head);
    }
}

/// The next score that is known of the run.
fn step_score(app: &mut App, by: isize) {
    let training = &mut app.rooms.training;
    let scores = training.scores();
    let Some(count) = Some(scores.len() as isize).filter(|&count| count > 0) else { return };
    let at = scores.iter().position(|&score| score == training.score);
    let to = at.map_or(0, |at| (at as isize + by).rem_euclid(count) as usize);
    training.score = scores[to];
    if scores.len() < Score::ALL.len() {
        app.say("the log has no other scores: m measures the snapshots".into());
    }
}
