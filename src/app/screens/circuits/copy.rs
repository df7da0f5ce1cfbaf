//! What the Circuits screen puts on the clipboard: the row at the cursor, or the list of the view.

use super::{list, waterfall};
use crate::{
    app::{
        App,
        label::{plain, quoted},
    },
    engine::protocol::{
        Candidate, Token,
        circuits::{Bug, Edge, Facts, Point, Trigram},
    },
    head::Head,
};

/// A list with the names of its columns.
struct Table {
    columns: &'static [&'static str],
    rows: Vec<Vec<String>>,
    /// Rows of the view above its first.
    skipped: usize,
}

/// The row at the cursor, its fields named.
pub(super) fn row(app: &App) -> Option<String> {
    let table = table(app, quoted)?;
    let row = table.rows.get(list::cursor(app)? - table.skipped)?;
    let fields = table.columns.iter().zip(row).map(|(name, value)| format!("{name}={value}"));
    Some(fields.collect::<Vec<_>>().join(" "))
}

/// The whole list, columns separated by tabs.
pub(super) fn all(app: &App) -> Option<String> {
    let table = table(app, plain)?;
    let mut text = table.columns.join("\t") + "\n";
    for row in &table.rows {
        text += &(row.join("\t") + "\n");
    }
    (!table.rows.is_empty()).then_some(text)
}

fn table(app: &App, word: fn(&Token) -> String) -> Option<Table> {
    let number = |value: f64| format!("{value:.6}");
    let mut skipped = 0;
    let (columns, rows): (&'static [&'static str], Vec<Vec<String>>) = match list::facts(app)? {
        Facts::Bigram { token, next } => {
            let row = |next: &Candidate| {
                vec![
                    word(token),
                    word(&next.token),
                    number(next.logit.into()),
                    number(next.probability.into()),
                ]
            };
            (&["token", "next", "logit", "probability"], next.iter().map(row).collect())
        }
        // Below the skip-trigrams the cursor is among their bugs.
        Facts::Trigrams { rows, bugs: Some(bugs), .. }
            if list::cursor(app).is_some_and(|cursor| cursor >= rows.len()) =>
        {
            let row = |bug: &Bug| {
                let [b, b2] = [&bug.destinations[0], &bug.destinations[1]].map(word);
                let [c, c2] = [&bug.outs[0], &bug.outs[1]].map(word);
                vec![word(&bug.source), b, c, b2, c2, number(bug.margin.into())]
            };
            skipped = rows.len();
            (
                &["source", "destination", "out", "destination2", "out2", "margin"],
                bugs.iter().map(row).collect(),
            )
        }
        Facts::Trigrams { rows, .. } => {
            let row = |row: &Trigram| {
                vec![
                    app.selection.head.to_string(),
                    word(&row.source),
                    word(&row.destination),
                    number(row.attention.into()),
                    word(&row.out),
                    number(row.logit.into()),
                ]
            };
            (&["head", "source", "destination", "attention", "out", "logit"], rows.iter().map(row).collect())
        }
        Facts::Copying { spectra, order } => {
            let score = |head: &Head| spectra[*head].positivity();
            let row = |head| vec![format!("{head}"), number(score(head))];
            (&["head", "copying"], order.iter().map(row).collect())
        }
        Facts::Positions { peaks, .. } => {
            let row = |&(head, distance, share): &(Head, usize, f32)| {
                vec![head.to_string(), distance.to_string(), number(share.into())]
            };
            (&["head", "distance", "attention"], peaks.iter().map(row).collect())
        }
        Facts::Composition { scores, edges } => {
            let kind = app.rooms.circuits.kind;
            let baseline = scores.baseline[kind as usize];
            let row = |edge: &Edge| {
                vec![
                    kind.letter().to_owned(),
                    edge.earlier.to_string(),
                    edge.later.to_string(),
                    number((edge.score - baseline).into()),
                    number(edge.score.into()),
                ]
            };
            (
                &["kind", "earlier", "later", "above_random", "score"],
                edges[kind as usize].iter().map(row).collect(),
            )
        }
        Facts::Corner { points } => {
            let row = |point: &Point| {
                vec![
                    point.head.to_string(),
                    point.through.to_string(),
                    number(point.matching),
                    number(point.copying),
                    number(point.trace),
                ]
            };
            (&["head", "through", "matching", "copying", "trace"], points.iter().map(row).collect())
        }
        Facts::Terms { terms, .. } => {
            let row =
                |step: &waterfall::Step| vec![step.name.clone(), number(step.before), number(step.after)];
            (&["terms", "before", "after"], waterfall::steps(terms).iter().map(row).collect())
        }
    };
    Some(Table { columns, rows, skipped })
}
