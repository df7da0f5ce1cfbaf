//! The Rank screen: the benchmark ranking as a table, its order and its cursor.

mod copy;
mod ranking;
mod table;

use std::mem;

pub(crate) use self::{
    ranking::{Column, Ranking},
    table::Action,
};
use crate::{
    analysis::score::Score,
    app::{
        App, Effect, Options,
        phase::Phase,
        room::{Room, Work},
        screen::Screen,
        table::{Command, Context, Entry, Hint},
    },
    engine::protocol::{Event, ModelInfo, Request},
    head::Head,
};

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct Rank {
    /// What has been measured.
    pub ranking: Ranking,
    /// The column the table is sorted by.
    pub sort: Column,
    /// Smallest first.
    pub reverse: bool,
    /// The head that the cursor is on.
    pub cursor: Head,
}

impl Rank {
    /// The heads in the order of the table.
    pub fn order(&self) -> Vec<Head> {
        self.ranking.order(self.sort, self.reverse)
    }
}

impl Room for Rank {
    type Action = Action;

    const ENTRIES: &'static [Entry<Action>] = table::ENTRIES;
    const CONTEXTS: &'static [&'static [Context]] = table::CONTEXTS;
    const HINTS: &'static [Hint<Action>] = table::HINTS;
    const COMMANDS: &'static [Command] =
        &[Command { name: "sort", argument: "COLUMN", help: "sort the ranking by a column", run: sort }];

    fn new(options: &Options) -> Self {
        Self {
            ranking: Ranking::new(options.rank),
            sort: Column::Score(Score::Induction),
            reverse: false,
            cursor: Head::new(0, 0),
        }
    }

    fn perform(app: &mut App, action: Action) -> Vec<Effect> {
        let page = app.layout.page;
        let rank = &mut app.rooms.rank;
        match action {
            Action::Copy => return app.copy(copy::row(app)),
            Action::CopyAll => return app.copy(copy::table(app)),
            Action::Rank if rank.ranking.phase.is_running() => {
                return vec![Effect::Send(Request::StopRanking)];
            }
            Action::Rank => return start(app),
            Action::Open => {
                app.select_head(app.rooms.rank.cursor);
                app.screen = Screen::Explore;
            }
            Action::Sort(by) => rank.sort = rank.sort.step(by),
            Action::Reverse => rank.reverse = !rank.reverse,
            Action::Move(motion) => {
                let order = rank.order();
                let at = order.iter().position(|&head| head == rank.cursor).unwrap_or(0);
                let to = motion.lead(at, order.len().saturating_sub(1), page);
                rank.cursor = order.get(to).copied().unwrap_or(rank.cursor);
            }
        }
        Vec::new()
    }

    fn offers(app: &App, action: Action) -> bool {
        // Little can be done before the model is open.
        action != Action::Rank || app.info().is_some()
    }

    fn hear(app: &mut App, event: Event) -> Option<Event> {
        let ranking = &mut app.rooms.rank.ranking;
        match event {
            Event::Ranking { settings, done, total, scores, doubts } => {
                ranking.settings = settings;
                (ranking.scores, ranking.doubts) = (scores, doubts);
                ranking.phase = if done < total { Phase::Running(done, total) } else { Phase::Done };
                choose_first(app);
            }
            Event::RankingStopped => {
                ranking.phase = match ranking.phase {
                    Phase::Running(done, total) if done > 0 => Phase::Stopped(done, total),
                    Phase::Running(..) => ranking.before,
                    phase => phase,
                };
            }
            event => return Some(event),
        }
        None
    }

    fn is_busy(&self) -> bool {
        self.ranking.phase.is_running()
    }

    fn stop(app: &mut App, work: Work) -> Option<Vec<Effect>> {
        let stops = work == Work::Behind && app.rooms.rank.ranking.phase.is_running();
        stops.then(|| vec![Effect::Send(Request::StopRanking)])
    }

    fn reopened(app: &mut App, _info: &ModelInfo) {
        app.rooms.rank.ranking.clear();
    }

    fn opened(app: &mut App) -> Vec<Effect> {
        if app.info().is_some_and(|info| info.layers > 0) { start(app) } else { Vec::new() }
    }

    fn failed(&mut self) {
        if self.ranking.phase == Phase::Running(0, 0) {
            self.ranking.phase = self.ranking.before;
        }
    }
}

fn start(app: &mut App) -> Vec<Effect> {
    if app.info().is_some_and(|info| info.layers == 0) {
        app.say("a model without layers has no heads to rank".into());
        return Vec::new();
    }
    let ranking = &mut app.rooms.rank.ranking;
    ranking.before = mem::replace(&mut ranking.phase, Phase::Running(0, 0));
    vec![Effect::Send(Request::Rank(app.options.rank))]
}

fn sort(app: &mut App, name: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    let column = Column::all().find(|column| column.name() == name);
    app.rooms.rank.sort = column.ok_or_else(|| {
        let names: Vec<&str> = Column::all().map(Column::name).collect();
        format!("no column `{name}`: {}", names.join(", "))
    })?;
    app.screen = Screen::Rank;
    Ok(Vec::new())
}

/// Until a head has been chosen by hand, an induction head is shown: of those that score at least half as much as the
/// best, the one that does most of it at this token.
pub(crate) fn choose_first(app: &mut App) {
    if app.selection.chosen {
        return;
    }
    let ranking = &app.rooms.rank.ranking;
    let score = |head: Head| ranking.scores.get(head)?.measured(Score::Induction);
    let order = ranking.order(Column::Score(Score::Induction), false);
    let Some(best) = order.first().and_then(|&head| score(head)) else { return };
    let here = |head: Head| {
        let answer = app.session.at_query.as_ref()?;
        let scores = answer.value.scores.get(head)?;
        scores.measured(Score::Induction).filter(|_| answer.value.query == app.selection.query)
    };
    let strong =
        order.iter().copied().take_while(|&head| score(head).is_some_and(|score| score >= best / 2.0));
    // Of heads that do equally much here, the first of the ranking.
    let chosen = strong.reduce(|one, other| if here(other) > here(one) { other } else { one });
    let Some(chosen) = chosen else { return };
    if app.rooms.rank.cursor == app.selection.head {
        app.rooms.rank.cursor = chosen;
    }
    app.selection.head = chosen;
}
