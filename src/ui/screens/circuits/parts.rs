//! What the views of the screen are put together from.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use crate::ui::{
    canvas::{Canvas, shorten, wrap},
    theme::Part,
};

/// Cuts `rect` into a left part of `width` columns and the rest, a column between them.
pub(super) fn split(rect: Rect, width: usize) -> (Rect, Rect) {
    let width = (width as u16).min(rect.width);
    let rest = rect.width.saturating_sub(width + 1);
    (Rect { width, ..rect }, Rect { x: rect.right() - rest, width: rest, ..rect })
}

/// The same with the rows: `height` of them above, the rest below.
pub(super) fn rows(rect: Rect, height: usize) -> (Rect, Rect) {
    let height = (height as u16).min(rect.height);
    (Rect { height, ..rect }, Rect { y: rect.y + height, height: rect.height - height, ..rect })
}

/// Marks the row of a list that the cursor is on.
pub(super) fn mark(canvas: &mut Canvas, rect: Rect, row: usize) {
    canvas.text(rect, 0, row, "▸", Part::Mark);
    canvas.tint(rect, row, canvas.theme.style(Part::Selection));
}

/// A number in `width` columns; what is no number is a dash.
pub(super) fn number(value: f64, width: usize) -> String {
    if value.is_nan() { format!("{:>width$}", "-") } else { format!("{value:>width$.3}") }
}

/// `text` in exactly `width` columns.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = shorten(text, width);
    let space = width - text.width().min(width);
    text + &" ".repeat(space)
}

/// Writes text into lines.
pub(super) fn draw_lines(canvas: &mut Canvas, rect: Rect, text: &str, part: Part) {
    for (row, line) in wrap(text, usize::from(rect.width)).iter().enumerate() {
        canvas.text(rect, 0, row, line, part);
    }
}
