//! The Circuits screen: what the weights alone say, in views of one list each.

mod copy;
mod list;
mod state;
mod table;
pub(crate) mod waterfall;

pub(crate) use self::{
    list::{answer, ask, cursor},
    state::{Circuits, View},
    table::Action,
};
use crate::{
    app::{
        App, Effect, Options,
        overlay::Field,
        prompt::parse_ids,
        room::{Room, Work},
        screen::Screen,
        table::{Command, Context, Entry, Hint},
    },
    engine::protocol::{Event, ModelInfo, PromptInput, Request, circuits::Facts},
};

impl Room for Circuits {
    type Action = Action;

    const ENTRIES: &'static [Entry<Action>] = table::ENTRIES;
    const CONTEXTS: &'static [&'static [Context]] = table::CONTEXTS;
    const HINTS: &'static [Hint<Action>] = table::HINTS;
    const COMMANDS: &'static [Command] = &[Command {
        name: "view",
        argument: "NAME",
        help: "a view of the circuits: bigram, skip-trigrams, copying, positions, composition, corner, terms",
        run: view,
    }];

    fn new(_options: &Options) -> Self {
        Self::default()
    }

    fn perform(app: &mut App, action: Action) -> Vec<Effect> {
        let page = app.layout.page.max(1);
        match action {
            Action::Head(by) => app.step_head(0, by),
            Action::Layer(by) => app.step_head(by, 0),
            Action::Copy => return app.copy(copy::row(app)),
            Action::CopyAll => return app.copy(copy::all(app)),
            Action::Move(motion) => list::go(app, |at, last| motion.lead(at, last, page)),
            Action::Open => open(app),
            Action::View(by) => {
                app.screen = Screen::Circuits;
                app.rooms.circuits.step_view(by);
            }
            Action::TypeToken => {
                app.screen = Screen::Circuits;
                let circuits = &mut app.rooms.circuits;
                if !matches!(circuits.view, View::Bigram | View::Trigrams) {
                    circuits.view = View::Bigram;
                }
                app.ask(Field::new(Screen::Circuits, String::new()));
            }
            Action::Switch => {
                app.screen = Screen::Circuits;
                if !app.rooms.circuits.switch() {
                    app.say(
                        "skip-trigrams and composition have something to switch; this view does not".into(),
                    );
                }
            }
            Action::GoOn => {
                app.screen = Screen::Circuits;
                if !app.rooms.circuits.go_on() {
                    app.say("nothing was stopped".into());
                }
            }
        }
        Vec::new()
    }

    fn accept(app: &mut App, text: &str) -> Result<Vec<Effect>, String> {
        let ids = app.info().is_some_and(|info| !info.has_tokenizer);
        let token = match text {
            "" => None,
            text if ids => Some(parse_ids(text)?),
            text => Some(PromptInput::Text(text.to_owned())),
        };
        app.rooms.circuits.look_up(token);
        Ok(Vec::new())
    }

    fn hear(app: &mut App, event: Event) -> Option<Event> {
        let Event::Circuits { ask, news } = event else { return Some(event) };
        app.rooms.circuits.hear(ask, news);
        None
    }

    fn wishes(app: &mut App) -> Vec<Effect> {
        // What is asked while another model is opened would be about the one before.
        if app.screen != Screen::Circuits || app.opening {
            return Vec::new();
        }
        let request = list::ask(app).and_then(|ask| app.rooms.circuits.request(ask));
        request.map(Effect::Send).into_iter().collect()
    }

    fn is_busy(&self) -> bool {
        self.is_working()
    }

    fn stop(app: &mut App, work: Work) -> Option<Vec<Effect>> {
        let stops = work == Work::Shown && app.rooms.circuits.is_working();
        stops.then(|| vec![Effect::Send(Request::StopCircuits)])
    }

    fn reopened(app: &mut App, info: &ModelInfo) {
        app.rooms.circuits.forget(info);
    }

    fn kept(&mut self) {
        self.let_go();
    }
}

fn view(app: &mut App, name: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    let view = View::ALL.into_iter().find(|view| view.name().eq_ignore_ascii_case(name));
    app.rooms.circuits.view = view.ok_or_else(|| {
        let names = View::ALL.map(View::name).join(", ");
        format!("no view `{name}`: {names}")
    })?;
    app.screen = Screen::Circuits;
    Ok(Vec::new())
}

/// Opens what the cursor is on: a next token's own next tokens, else the head, of an edge the one that reads.
fn open(app: &mut App) {
    match (list::facts(app), list::cursor(app)) {
        (Some(Facts::Bigram { next, .. }), Some(cursor)) => {
            let token = PromptInput::Ids(vec![next[cursor].token.id]);
            app.rooms.circuits.typed = Some(token);
            app.rooms.circuits.put_cursor(0);
            return;
        }
        (Some(Facts::Composition { edges, .. }), Some(cursor)) => {
            let later = edges[app.rooms.circuits.kind as usize][cursor].later;
            app.select_head(later);
        }
        _ => {}
    }
    if app.info().is_some_and(|info| info.layers > 0) {
        app.screen = Screen::Explore;
    }
}
