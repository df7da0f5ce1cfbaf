//! The skip-trigrams of the selected head, and below them the bugs that they force.

use ratatui::layout::Rect;

use super::parts::{draw_lines, fit, mark, rows};
use crate::{
    app::{App, label::quoted, screens::circuits::cursor},
    engine::protocol::{
        Token,
        circuits::{Bug, Trigram},
    },
    ui::{
        canvas::{Canvas, scrolled, wrap},
        theme::Part,
    },
};

pub(super) fn draw(
    app: &App,
    canvas: &mut Canvas,
    rect: Rect,
    token: Option<&Token>,
    trigrams: &[Trigram],
    bugs: Option<&[Bug]>,
) -> usize {
    let what = match (app.rooms.circuits.role, token) {
        (Some(role), Some(token)) => format!("{} as {}", quoted(token), role.name()),
        _ => "the strongest sources of all tokens".to_owned(),
    };
    let (head, body) = rows(rect, 1);
    let width = usize::from(rect.width);
    let at = cursor(app).unwrap_or(0);
    let (above, below) = rows(body, usize::from(body.height) * 3 / 5);
    let word = (width.saturating_sub(30) / 3).clamp(8, 24);
    let numbers = 2 + 3 * word + 9;
    let what = format!("{} · {what}", app.selection.head);
    canvas.text(head, 0, 0, &fit(&what, numbers), Part::Accent);
    canvas.text(head, numbers, 0, &format!("{:>8} {:>8}", "QK", "OV"), Part::Dim);

    let height = usize::from(above.height);
    let first = scrolled(at.min(trigrams.len().saturating_sub(1)), trigrams.len(), height);
    for (row, (index, trigram)) in trigrams.iter().enumerate().skip(first).take(height).enumerate() {
        let words =
            [&trigram.source, &trigram.destination, &trigram.out].map(|token| fit(&quoted(token), word));
        let [source, destination, out] = words;
        let pieces = [
            (source, Part::Text),
            (" ... ".into(), Part::Dim),
            (destination, Part::Text),
            (" -> ".into(), Part::Dim),
            (out, Part::Text),
        ];
        canvas.pieces(above, 2, row, &pieces);
        let values = format!("{:>8.3} {:>8.3}", trigram.attention, trigram.logit);
        canvas.text(above, numbers, row, &values, Part::Text);
        if index == at {
            mark(canvas, above, row);
        }
    }

    let (title, list) = rows(below, 1);
    let Some(bugs) = bugs else {
        let steps = app.rooms.circuits.steps;
        let text = format!("Bugs · {}: {} of {} {}", steps.stage, steps.done, steps.total, steps.unit);
        canvas.text(title, 0, 0, if steps.total > 0 { &text } else { "Bugs …" }, Part::Dim);
        return height;
    };
    let note = "Bugs: pairs that fit by W_U W_E, by nats; their crossed pairs rise as much";
    let lines = wrap(note, width).len().min(usize::from(below.height));
    let (title, list) = if lines > 1 { rows(below, lines) } else { (title, list) };
    draw_lines(canvas, title, note, Part::Dim);
    if bugs.is_empty() {
        canvas.text(list, 2, 0, "none: no two destinations here fit different outs", Part::Dim);
    }
    let height_below = usize::from(list.height);
    let chosen = at.checked_sub(trigrams.len());
    let first = scrolled(chosen.unwrap_or(0), bugs.len(), height_below);
    let word = (width.saturating_sub(24) / 5).clamp(6, 18);
    for (row, (index, bug)) in bugs.iter().enumerate().skip(first).take(height_below).enumerate() {
        let text = |token: &Token| (fit(&quoted(token), word), Part::Text);
        let [b, b2] = [&bug.destinations[0], &bug.destinations[1]].map(text);
        let [c, c2] = [&bug.outs[0], &bug.outs[1]].map(text);
        let dim = |text: &str| (text.to_owned(), Part::Dim);
        let pieces = [text(&bug.source), dim(" ... "), b, dim("->"), c, dim(" and "), b2, dim("->"), c2];
        let end = canvas.pieces(list, 2, row, &pieces);
        canvas.text(list, end + 1, row, &format!("{:>6.2}", bug.margin), Part::Text);
        if chosen == Some(index) {
            mark(canvas, list, row);
        }
    }
    height
}
