//! The next tokens of one token along the direct path.

use ratatui::layout::Rect;

use super::parts::{fit, mark, rows};
use crate::{
    app::{App, label::quoted, screens::circuits::cursor},
    engine::protocol::{Candidate, Token},
    ui::{
        canvas::{Canvas, bar, scrolled},
        theme::Part,
    },
};

pub(super) fn draw(app: &App, canvas: &mut Canvas, rect: Rect, token: &Token, next: &[Candidate]) -> usize {
    let (head, list) = rows(rect, 2);
    let which = if app.rooms.circuits.typed.is_none() { ", the query token" } else { "" };
    let width = usize::from(list.width);
    let name = (width / 3).clamp(10, 24);
    canvas.text(head, 0, 0, &fit(&format!("after {}{which}", quoted(token)), width), Part::Accent);
    canvas.text(head, name + 2, 1, &format!("{:>8}  {:>6}", "logit", "P"), Part::Dim);
    let height = usize::from(list.height);
    let at = cursor(app).unwrap_or(0);
    let first = scrolled(at, next.len(), height);
    for (row, (index, next)) in next.iter().enumerate().skip(first).take(height).enumerate() {
        canvas.text(list, 2, row, &fit(&quoted(&next.token), name), Part::Text);
        let numbers = format!("{:>8.3}  {:>6.4}", next.logit, next.probability);
        canvas.text(list, name + 2, row, &numbers, Part::Text);
        let room = width.saturating_sub(name + 20).min(60);
        canvas.text(list, name + 20, row, &bar(next.probability, room), Part::Bar);
        if index == at {
            mark(canvas, Rect { width: (name + 18) as u16, ..list }.intersection(list), row);
        }
    }
    height
}
