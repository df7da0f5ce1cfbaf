//! What the Explore screen puts on the clipboard.

use std::fmt::Write as _;

use super::cursor::under_cursor;
use crate::app::{
    App,
    label::{plain, quoted},
};

/// The value at the key cursor.
pub(super) fn value(app: &App) -> Option<String> {
    let answer = app.session.head.as_ref()?;
    let (key, value) = under_cursor(app)?;
    let look = answer.value.look;
    let attended_by = app.rooms.explore.is_attended_by();
    let (query, key) = if attended_by { (key, look.query) } else { (look.query, key) };
    let word = |position: usize| answer.about.tokens.get(position).map_or(String::new(), quoted);
    Some(format!("{} query {query} {} key {key} {} {value:.6}", look.head, word(query), word(key)))
}

/// The head's row (or column) at the query token, as a table.
pub(super) fn row(app: &App) -> Option<String> {
    let answer = app.session.head.as_ref()?;
    let view = &answer.value;
    let (values, from) = app.rooms.explore.line(view);
    let mut table = String::from("position\ttoken\tattention\n");
    for (index, value) in values.iter().enumerate() {
        let token = answer.about.tokens.get(from + index).map_or(String::new(), plain);
        let _ = writeln!(table, "{}\t{token}\t{value:.6}", from + index);
    }
    if let (Some(share), false) = (view.sink, app.rooms.explore.is_attended_by()) {
        let _ = writeln!(table, "sink\t\t{share:.6}");
    }
    Some(table)
}
