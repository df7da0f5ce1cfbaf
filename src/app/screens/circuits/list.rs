//! What the view on the screen needs of the engine, and its list: heads, edges or rows, with a cursor.

use super::{
    state::{Answer, View},
    waterfall,
};
use crate::{
    app::App,
    engine::protocol::{
        PromptInput,
        circuits::{Ask, Edge, Facts},
    },
    head::Head,
};

/// What the view needs, where it can be asked for.
pub(crate) fn ask(app: &App) -> Option<Ask> {
    let info = app.info()?;
    let circuits = &app.rooms.circuits;
    if circuits.view.undefined(info).is_some() {
        return None;
    }
    let head = app.selection.head;
    Some(match circuits.view {
        View::Bigram => Ask::Bigram { token: token(app)? },
        View::Trigrams => {
            let token = match circuits.role {
                Some(role) => Some((token(app)?, role)),
                None => None,
            };
            Ask::Trigrams { head, token }
        }
        View::Copying => Ask::Copying,
        View::Positions => Ask::Positions,
        View::Composition => Ask::Composition,
        View::Corner => Ask::Corner,
        View::Terms if app.session.is_running() => return None,
        View::Terms => {
            let epoch = app.session.shown.as_ref()?.epoch;
            Ask::Terms { epoch, query: app.selection.query }
        }
    })
}

/// The token typed, or the query token.
fn token(app: &App) -> Option<PromptInput> {
    let query = || {
        let token = app.session.shown.as_ref()?.tokens.get(app.selection.query)?;
        Some(PromptInput::Ids(vec![token.id]))
    };
    app.rooms.circuits.typed.clone().or_else(query)
}

/// The answer that the screen shows.
pub(crate) fn answer(app: &App) -> Option<&Answer> {
    app.rooms.circuits.answer(&ask(app)?)
}

/// Its numbers.
pub(super) fn facts(app: &App) -> Option<&Facts> {
    answer(app)?.as_ref().ok().map(|circuit| &circuit.facts)
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

fn list(app: &App) -> List<'_> {
    match facts(app) {
        Some(Facts::Copying { order, .. }) => List::Heads(order.clone()),
        Some(Facts::Positions { peaks, .. }) => List::Heads(peaks.iter().map(|peak| peak.0).collect()),
        Some(Facts::Corner { points }) => List::Heads(points.iter().map(|point| point.head).collect()),
        Some(Facts::Composition { edges, .. }) => List::Edges(&edges[app.rooms.circuits.kind as usize]),
        Some(Facts::Bigram { next, .. }) => List::Rows(next.len()),
        Some(Facts::Trigrams { rows, bugs, .. }) => {
            List::Rows(rows.len() + bugs.as_ref().map_or(0, Vec::len))
        }
        Some(Facts::Terms { terms, .. }) => List::Rows(waterfall::steps(terms).len()),
        None => List::Rows(0),
    }
}

/// The row of the view's list that the cursor is on, where it is on one.
pub(crate) fn cursor(app: &App) -> Option<usize> {
    let length = match list(app) {
        List::Heads(heads) => return heads.iter().position(|&head| head == app.selection.head),
        List::Edges(edges) => edges.len(),
        List::Rows(rows) => rows,
    };
    let last = length.checked_sub(1)?;
    Some(app.rooms.circuits.cursor().min(last))
}

/// Moves the cursor; `to` says where it goes from a row to, and which row is the last.
pub(super) fn go(app: &mut App, to: impl Fn(usize, usize) -> usize) {
    // From no row, the first step is on the first.
    let at = cursor(app);
    let to = |length: usize| at.map_or(0, |at| to(at, length.saturating_sub(1)));
    let row = match list(app) {
        List::Heads(heads) => {
            if let Some(&head) = heads.get(to(heads.len())) {
                app.select_head(head);
            }
            return;
        }
        List::Edges(edges) => to(edges.len()),
        List::Rows(length) => to(length),
    };
    app.rooms.circuits.put_cursor(row);
}
