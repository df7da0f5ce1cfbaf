//! What `y` and `Y` put on the clipboard: plain text with full numbers, columns separated by tabs.

use std::fmt::Write as _;

use super::{
    App, Direction, Screen,
    label::{plain, quoted},
    ranking::Column,
};
use crate::head::Head;

impl App {
    /// The value at the key cursor, or the scores of the head at the table's cursor.
    pub(crate) fn copy_one(&self) -> Option<String> {
        if self.screen == Screen::Circuits {
            return self.copy_circuits_row();
        }
        if self.screen == Screen::Rank {
            let info = self.info()?;
            let scores = self.ranking.get(info, self.ranking.cursor)?;
            let mut line = self.ranking.cursor.to_string();
            for column in Column::all() {
                if let Some(value) = column.value(scores) {
                    let _ = write!(line, " {}={value:.6}", column.name());
                }
            }
            return Some(line);
        }
        if self.screen == Screen::Training {
            return self.copy_snapshot();
        }
        let answer = self.session.head.as_ref()?;
        let (key, value) = self.under_cursor()?;
        let look = answer.value.look;
        let (query, key) = if self.is_attended_by() { (key, look.query) } else { (look.query, key) };
        let word = |position: usize| answer.run.tokens.get(position).map_or(String::new(), quoted);
        Some(format!("{} query {query} {} key {key} {} {value:.6}", look.head, word(query), word(key)))
    }

    /// The head's row (or column) at the query token, or the whole ranking, as a table.
    pub(crate) fn copy_all(&self) -> Option<String> {
        if self.screen == Screen::Circuits {
            return self.copy_circuits();
        }
        if self.screen == Screen::Rank {
            return self.copy_ranking();
        }
        if self.screen == Screen::Training {
            return if self.training.comparing.shown { self.copy_changes() } else { self.copy_curves() };
        }
        let answer = self.session.head.as_ref()?;
        let view = &answer.value;
        let (values, from) =
            if self.is_attended_by() { (&view.column, view.look.query) } else { (&view.row, 0) };
        let mut table = String::from("position\ttoken\tattention\n");
        for (index, value) in values.iter().enumerate() {
            let token = answer.run.tokens.get(from + index).map_or(String::new(), plain);
            let _ = writeln!(table, "{}\t{token}\t{value:.6}", from + index);
        }
        if let (Some(share), false) = (view.sink, self.is_attended_by()) {
            let _ = writeln!(table, "sink\t\t{share:.6}");
        }
        Some(table)
    }

    /// What is known of the snapshot under the cursor.
    fn copy_snapshot(&self) -> Option<String> {
        let (snapshot, head) = (self.training.snapshot()?, self.explore.head);
        let mut line = format!("{} step={}", snapshot.model, snapshot.step);
        let Some(point) = self.training.point(snapshot.step) else { return Some(line) };
        let scores = point.scores.get(head.layer * self.info()?.heads + head.head);
        let values = [
            ("held_out_loss", point.held_out),
            ("repeat_gain", point.gain),
            ("icl", point.icl.map(|icl| icl.score as f32)),
            (self.training.score.name(), scores.and_then(|scores| scores.measured(self.training.score))),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                let of = if name == self.training.score.name() { format!("{head} ") } else { String::new() };
                let _ = write!(line, " {of}{name}={value:.6}");
            }
        }
        Some(line)
    }

    /// Losses and the score of every head, a row a step; what is not known is empty.
    fn copy_curves(&self) -> Option<String> {
        let (heads, points) = (self.info()?.heads.max(1), self.training.points());
        let count = points.iter().map(|point| point.scores.len()).max()?;
        let mut table = String::from("step\theld_out_loss\trepeat_gain\ticl");
        for at in 0..count {
            let _ = write!(table, "\t{}", Head::new(at / heads, at % heads));
        }
        for point in points {
            let _ = write!(table, "\n{}", point.step);
            let losses = [point.held_out, point.gain, point.icl.map(|icl| icl.score as f32)];
            let score = |at: usize| point.scores.get(at)?.measured(self.training.score);
            for value in losses.into_iter().chain((0..count).map(score)) {
                table.push('\t');
                if let Some(value) = value {
                    let _ = write!(table, "{value:.6}");
                }
            }
        }
        Some(table + "\n")
    }

    /// The loss on every token before and after, a row a token.
    fn copy_changes(&self) -> Option<String> {
        let answer = self.training.comparing.comparison()?;
        let mut table = String::from("position\ttoken\tbefore\tafter\tdifference\n");
        for (at, change) in answer.value.changes.iter().enumerate() {
            let token = answer.run.tokens.get(at + 1).map_or(String::new(), plain);
            let (before, after) = (change.before, change.after);
            let _ =
                writeln!(table, "{}\t{token}\t{before:.6}\t{after:.6}\t{:.6}", at + 1, change.difference());
        }
        Some(table)
    }

    fn copy_ranking(&self) -> Option<String> {
        let info = self.info()?;
        let order = self.ranking.order(info, self.ranking.sort, self.ranking.reverse);
        let mut table = Column::all().map(Column::name).collect::<Vec<_>>().join("\t");
        for head in &order {
            let scores = self.ranking.get(info, *head)?;
            let _ = write!(table, "\n{head}");
            for value in Column::all().filter_map(|column| column.value(scores)) {
                let _ = write!(table, "\t{value:.6}");
            }
        }
        (!order.is_empty()).then(|| table + "\n")
    }

    /// Whether the shaded text shows what attends to the query token.
    pub(crate) fn is_attended_by(&self) -> bool {
        self.explore.text && self.explore.direction == Direction::AttendedBy
    }
}
