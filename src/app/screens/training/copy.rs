//! What the Training screen puts on the clipboard.

use std::fmt::Write as _;

use crate::{
    app::{App, label::plain},
    head::Head,
};

/// What is known of the snapshot under the cursor.
pub(super) fn snapshot(app: &App) -> Option<String> {
    let training = &app.rooms.training;
    let (snapshot, head) = (training.snapshot()?, app.selection.head);
    let mut line = format!("{} step={}", snapshot.model, snapshot.step);
    let Some(point) = training.point(snapshot.step) else { return Some(line) };
    let scores = point.scores.get(head);
    let values = [
        ("held_out_loss", point.held_out),
        ("repeat_gain", point.gain),
        ("icl", point.icl.map(|icl| icl.score as f32)),
        (training.score.name(), scores.and_then(|scores| scores.measured(training.score))),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            let of = if name == training.score.name() { format!("{head} ") } else { String::new() };
            let _ = write!(line, " {of}{name}={value:.6}");
        }
    }
    Some(line)
}

/// Losses and the score of every head, a row a step; what is not known is empty.
pub(super) fn curves(app: &App) -> Option<String> {
    let training = &app.rooms.training;
    let (heads, points) = (training.heads(), training.points());
    points.first()?;
    let mut table = String::from("step\theld_out_loss\trepeat_gain\ticl");
    for head in &heads {
        let _ = write!(table, "\t{head}");
    }
    for point in points {
        let _ = write!(table, "\n{}", point.step);
        let losses = [point.held_out, point.gain, point.icl.map(|icl| icl.score as f32)];
        let score = |&head: &Head| point.scores.get(head)?.measured(training.score);
        for value in losses.into_iter().chain(heads.iter().map(score)) {
            table.push('\t');
            if let Some(value) = value {
                let _ = write!(table, "{value:.6}");
            }
        }
    }
    Some(table + "\n")
}

/// The loss on every token before and after, a row a token.
pub(super) fn changes(app: &App) -> Option<String> {
    let answer = app.rooms.training.comparing.comparison()?;
    let mut table = String::from("position\ttoken\tbefore\tafter\tdifference\n");
    for (at, change) in answer.value.changes.iter().enumerate() {
        let token = answer.about.tokens.get(at + 1).map_or(String::new(), plain);
        let (before, after) = (change.before, change.after);
        let _ = writeln!(table, "{}\t{token}\t{before:.6}\t{after:.6}\t{:.6}", at + 1, change.difference());
    }
    Some(table)
}
