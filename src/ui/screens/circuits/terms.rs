//! One prediction as a waterfall: from a guess down to the model's loss, by the terms that each order adds.

use ratatui::layout::Rect;

use super::parts::{mark, rows};
use crate::{
    app::{
        App,
        label::quoted,
        screens::circuits::{
            cursor,
            waterfall::{self, Step},
        },
    },
    engine::protocol::{Token, circuits::Terms},
    ui::{
        canvas::{Canvas, scrolled, shorten},
        theme::Part,
    },
};

/// Columns before the bars.
const LEFT: usize = 38;

pub(super) fn draw(
    app: &App,
    canvas: &mut Canvas,
    rect: Rect,
    (token, target): (&Token, &Token),
    terms: &Terms,
) -> usize {
    let (head, body) = rows(rect, 2);
    let model = terms.losses.last().copied().unwrap_or(terms.uniform);
    let last = app.session.len() == app.selection.query + 1;
    let which = if last { "the model's choice" } else { "the prompt's next" };
    let text = format!("{} after {}, {which}: P {:.4}", quoted(target), quoted(token), (-model).exp());
    canvas.text(head, 0, 0, &shorten(&text, usize::from(head.width)), Part::Accent);
    canvas.text(head, 2, 1, &format!("{:<18}{:>8}{:>8}", "", "change", "loss"), Part::Dim);
    draw_steps(app, canvas, body, &waterfall::steps(terms))
}

fn draw_steps(app: &App, canvas: &mut Canvas, rect: Rect, steps: &[Step]) -> usize {
    let (width, height) = (usize::from(rect.width).saturating_sub(LEFT), usize::from(rect.height));
    let most = steps.iter().map(|step| step.before.max(step.after)).fold(0.1, f64::max);
    let at = cursor(app).unwrap_or(0);
    let first = scrolled(at, steps.len(), height);
    let column = |loss: f64| (loss.max(0.0) / most * width as f64).round() as usize;
    for (row, (index, step)) in steps.iter().enumerate().skip(first).take(height).enumerate() {
        let change = if step.level { String::new() } else { format!("{:+.3}", step.after - step.before) };
        let text = format!("{:<18}{change:>8}{:>8.3}", step.name, step.after);
        canvas.text(rect, 2, row, &text, Part::Text);
        let (from, to) = (column(step.before.min(step.after)), column(step.before.max(step.after)));
        let part = if step.after > step.before && !step.level { Part::Warning } else { Part::Bar };
        canvas.text(rect, LEFT + from, row, &"█".repeat(to - from), part);
        if index == at {
            mark(canvas, Rect { width: LEFT as u16 - 1, ..rect }.intersection(rect), row);
        }
    }
    height
}
