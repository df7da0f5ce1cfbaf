//! The Explore screen: one prompt and one head.

mod commands;
mod copy;
mod cursor;
mod prompt;
mod state;
mod table;

pub(crate) use self::{
    cursor::under_cursor,
    state::{Explore, Focus, Source},
    table::Action,
};
use crate::{
    app::{
        App, Effect, Options,
        motion::Motion,
        room::Room,
        screens::{rank, training},
        session::Change,
        table::{Command, Context, Entry, Hint},
    },
    engine::protocol::{Event, Look},
};

/// Tokens that a page key moves by.
const PAGE: usize = 16;

impl Room for Explore {
    type Action = Action;

    const ENTRIES: &'static [Entry<Action>] = table::ENTRIES;
    const CONTEXTS: &'static [&'static [Context]] = &table::CONTEXTS;
    const HINTS: &'static [Hint<Action>] = table::HINTS;
    const COMMANDS: &'static [Command] = commands::COMMANDS;

    fn new(_options: &Options) -> Self {
        Self::default()
    }

    fn contexts(&self) -> &'static [Context] {
        let [elsewhere, heads, next] = table::CONTEXTS;
        match self.focus {
            Focus::Heads => heads,
            Focus::Next => next,
            Focus::Pattern | Focus::Prompt | Focus::Sentence => elsewhere,
        }
    }

    fn perform(app: &mut App, action: Action) -> Vec<Effect> {
        use Action as A;
        let explore = &mut app.rooms.explore;
        match action {
            A::Move(motion) => {
                let last = app.session.len().saturating_sub(1);
                app.select_query(motion.lead(app.selection.query, last, PAGE));
            }
            A::Head(by) => app.step_head(0, by),
            A::Layer(by) => app.step_head(by, 0),
            A::Induction(by) => cursor::step_induction(app, by),
            A::Key(by) => cursor::move_key(app, by),
            A::StrongestKey => app.selection.key = None,
            A::ToggleText => {
                explore.text = !explore.text;
                app.selection.key = None;
            }
            A::Turn => {
                explore.turn();
                app.selection.key = None;
            }
            A::Pool => explore.switch_pool(),
            A::Scale => explore.sqrt = !explore.sqrt,
            A::Score(by) => explore.step_score(by),
            A::GridSource => explore.switch_source(),
            A::Ablate => prompt::ablate(app),
            A::RestoreAll => prompt::restore(app),
            A::Generate => return app.change(Change::Append(None)),
            A::AppendCandidate => return prompt::append_candidate(app),
            A::Choose(motion) => choose(app, motion),
            A::StepBack => return prompt::step_back(app),
            A::EditPrompt => prompt::edit(app),
            A::ToggleBos => return prompt::toggle_bos(app),
            A::Focus(by) => explore.move_focus(by),
            A::Zoom => explore.zoom = !explore.zoom,
            A::Copy => return app.copy(copy::value(app)),
            A::CopyAll => return app.copy(copy::row(app)),
            A::Snapshot(by) => return training::open_beside(app, by),
        }
        Vec::new()
    }

    fn offers(app: &App, action: Action) -> bool {
        !matches!(action, Action::Snapshot(_)) || app.rooms.training.run.is_some()
    }

    fn accept(app: &mut App, text: &str) -> Result<Vec<Effect>, String> {
        prompt::accept(app, text)
    }

    fn leave(&mut self) -> bool {
        std::mem::take(&mut self.zoom)
    }

    fn hear(app: &mut App, event: Event) -> Option<Event> {
        let before = app.session.shown.clone();
        if let Some(event) = app.session.answer(event) {
            return Some(event);
        }
        if let Some(shown) = app.session.shown.clone()
            && before.as_ref().is_none_or(|before| before.epoch != shown.epoch)
        {
            if before.is_none_or(|before| before.tokens != shown.tokens) {
                app.selection.query = shown.tokens.len().saturating_sub(1);
                app.selection.candidate = 0;
            }
            app.selection.key = None;
        }
        rank::choose_first(app);
        None
    }

    fn wishes(app: &mut App) -> Vec<Effect> {
        let look = Look {
            head: app.selection.head,
            query: app.selection.query,
            fits: app.layout.map,
            pool: app.rooms.explore.pool,
        };
        app.session.look(look).map(Effect::Send).into_iter().collect()
    }
}

/// Chooses another of the next tokens.
fn choose(app: &mut App, motion: Motion) {
    let top = app.session.candidates.as_ref().map_or(0, |answer| answer.value.top.len());
    app.selection.candidate = motion.lead(app.selection.candidate, top.saturating_sub(1), 1);
}
