//! What the Rank screen puts on the clipboard.

use std::fmt::Write as _;

use super::ranking::Column;
use crate::app::App;

/// The scores of the head at the cursor.
pub(super) fn row(app: &App) -> Option<String> {
    let rank = &app.rooms.rank;
    let scores = rank.ranking.scores.get(rank.cursor)?;
    let mut line = rank.cursor.to_string();
    for column in Column::all() {
        if let Some(value) = column.value(scores) {
            let _ = write!(line, " {}={value:.6}", column.name());
        }
    }
    Some(line)
}

/// The whole ranking, as a table.
pub(super) fn table(app: &App) -> Option<String> {
    let rank = &app.rooms.rank;
    let order = rank.order();
    let mut table = Column::all().map(Column::name).collect::<Vec<_>>().join("\t");
    for head in &order {
        let scores = rank.ranking.scores.get(*head)?;
        let _ = write!(table, "\n{head}");
        for value in Column::all().filter_map(|column| column.value(scores)) {
            let _ = write!(table, "\t{value:.6}");
        }
    }
    (!order.is_empty()).then(|| table + "\n")
}
