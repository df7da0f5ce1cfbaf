//! The Health screen: what a check of the model has found, the gravest first, and what each finding means.

mod copy;
mod table;

use std::collections::BTreeSet;

pub(crate) use self::table::Action;
use crate::{
    analysis::check::{Finding, Verdict, catalogue, gravest_first, verdict},
    app::{
        App, Effect, Options,
        phase::Phase,
        room::{Room, Work},
        screen::Screen,
        table::{Command, Context, Entry, Hint},
    },
    engine::protocol::{CheckView, Event, ModelInfo, Request},
    head::Head,
};

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// How far the check is, in hundredths.
    pub phase: Phase,
    /// What it does next.
    pub doing: &'static str,
    /// What was found so far, the gravest first.
    pub findings: Vec<Finding>,
    /// Whether also findings of what is as it should be are shown.
    pub all: bool,
    /// The row that the cursor is on.
    cursor: usize,
    /// Whether the model was checked, or is to be: it is when the screen is first shown.
    begun: bool,
}

impl Health {
    /// The findings that are shown.
    pub fn shown(&self) -> impl Iterator<Item = &Finding> {
        // Where all is well there is nothing else to show.
        let worst = verdict(&self.findings);
        self.findings
            .iter()
            .filter(move |finding| self.all || worst == Verdict::Ok || finding.verdict > Verdict::Ok)
    }

    /// The row that the cursor is on.
    pub fn at(&self) -> usize {
        self.cursor.min(self.shown().count().saturating_sub(1))
    }

    /// The finding at the cursor.
    pub fn chosen(&self) -> Option<&Finding> {
        self.shown().nth(self.at())
    }

    /// The row of a finding; the first where it is not shown.
    fn row_of(&self, wanted: &Finding) -> usize {
        self.shown().position(|finding| finding == wanted).unwrap_or(0)
    }

    fn take(&mut self, view: &CheckView) {
        // The cursor stays with its finding while others come in before it.
        let chosen = self.chosen().cloned().filter(|_| self.cursor > 0);
        self.findings = view.found.to_vec();
        gravest_first(&mut self.findings);
        if let Some(chosen) = chosen {
            self.cursor = self.row_of(&chosen);
        }
        self.phase = match view.doing {
            None => Phase::Done,
            Some((_, done)) if view.stopped => Phase::Stopped(done, 100),
            Some((doing, done)) => {
                self.doing = doing;
                Phase::Running(done, 100)
            }
        };
    }
}

impl Room for Health {
    type Action = Action;

    const ENTRIES: &'static [Entry<Action>] = table::ENTRIES;
    const CONTEXTS: &'static [&'static [Context]] = table::CONTEXTS;
    const HINTS: &'static [Hint<Action>] = table::HINTS;
    const COMMANDS: &'static [Command] = &[Command {
        name: "checks",
        argument: "NAMES",
        help: "check the model for these alone, by name or group: weights probe.rotary_base",
        run: checks,
    }];

    fn new(_options: &Options) -> Self {
        Self::default()
    }

    fn perform(app: &mut App, action: Action) -> Vec<Effect> {
        let page = app.layout.page;
        let health = &mut app.rooms.health;
        match action {
            Action::Copy => return app.copy(copy::finding(app)),
            Action::CopyAll => return app.copy(copy::report(app)),
            Action::Check if health.phase.is_running() => return vec![Effect::Send(Request::StopChecking)],
            Action::Check => return start(app, catalogue::ids()),
            Action::All => {
                let chosen = health.chosen().cloned();
                health.all = !health.all;
                health.cursor = chosen.map_or(0, |chosen| health.row_of(&chosen));
            }
            Action::Open => open(app),
            Action::Move(motion) => {
                let last = health.shown().count().saturating_sub(1);
                health.cursor = motion.lead(health.at(), last, page);
            }
        }
        Vec::new()
    }

    fn hear(app: &mut App, event: Event) -> Option<Event> {
        let Event::Check(view) = event else { return Some(event) };
        app.rooms.health.take(&view);
        None
    }

    fn wishes(app: &mut App) -> Vec<Effect> {
        let due = app.screen == Screen::Health && app.info().is_some() && !app.rooms.health.begun;
        if due { start(app, catalogue::ids()) } else { Vec::new() }
    }

    fn is_busy(&self) -> bool {
        self.phase.is_running()
    }

    fn stop(app: &mut App, work: Work) -> Option<Vec<Effect>> {
        let stops = work == Work::Behind && app.rooms.health.is_busy();
        stops.then(|| vec![Effect::Send(Request::StopChecking)])
    }

    fn reopened(app: &mut App, _info: &ModelInfo) {
        let health = &mut app.rooms.health;
        *health = Self { all: health.all, ..Self::default() };
    }
}

fn start(app: &mut App, only: BTreeSet<&'static str>) -> Vec<Effect> {
    let health = &mut app.rooms.health;
    *health = Health { all: health.all, begun: true, phase: Phase::Running(0, 0), ..Health::default() };
    vec![Effect::Send(Request::Check(only))]
}

fn checks(app: &mut App, names: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    let names: Vec<&str> = names.split([' ', ',']).filter(|name| !name.is_empty()).collect();
    let only = if names.is_empty() { catalogue::ids() } else { catalogue::chosen(&names)? };
    if only.iter().all(|id| id.starts_with("against.")) {
        return Err(
            "what the explorer opens is compared with nothing: attnscope check MODEL --against OTHER".into(),
        );
    }
    app.screen = Screen::Health;
    Ok(start(app, only))
}

/// Goes to the head that the finding at the cursor is about, or to the same head of the layer that it is about.
fn open(app: &mut App) {
    let place = app.rooms.health.chosen().and_then(|finding| finding.place.as_deref());
    let head = place.and_then(|place| head(place, app.selection.head.head));
    let Some(head) = head.filter(|head| app.info().is_some_and(|info| info.has(*head))) else {
        app.say("this finding is about no head and no layer".into());
        return;
    };
    app.select_head(head);
    app.screen = Screen::Explore;
}

/// The head that a place names: `head 5.1`, or head `beside` of `layer 5`.
fn head(place: &str, beside: usize) -> Option<Head> {
    if let Some(head) = place.strip_prefix("head ") {
        return head.parse().ok();
    }
    let layer = place.strip_prefix("layer ").or_else(|| place.strip_prefix("before layer "))?;
    layer.parse().ok().map(|layer| Head::new(layer, beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_heads_where_they_name_one() {
        assert_eq!(head("head 5.1", 7), Some(Head::new(5, 1)));
        assert_eq!(head("layer 3", 7), Some(Head::new(3, 7)));
        assert_eq!(head("before layer 3", 7), Some(Head::new(3, 7)));
        assert_eq!(
            ["layers.3.weight", "after the last layer", "head"].map(|place| head(place, 0)),
            [None; 3]
        );
    }
}
