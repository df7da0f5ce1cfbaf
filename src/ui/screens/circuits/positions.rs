//! Heads by how much they attend to one distance, and the profile of the selected one.

use ratatui::layout::Rect;

use super::parts::{mark, rows, split};
use crate::{
    app::{App, screens::circuits::cursor},
    head::{Head, PerHead},
    ui::{
        canvas::{Canvas, scrolled, shorten},
        theme::Part,
    },
};

/// Columns of the list.
const LIST: usize = 24;
const EIGHTHS: [&str; 9] = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

pub(super) fn draw(
    app: &App,
    canvas: &mut Canvas,
    rect: Rect,
    profiles: &PerHead<Vec<f32>>,
    peaks: &[(Head, usize, f32)],
) -> usize {
    let (list, chart) = split(rect, LIST);
    let (head, list) = rows(list, 1);
    canvas.text(head, 2, 0, "head  attends  back", Part::Dim);
    let height = usize::from(list.height);
    let at = cursor(app).unwrap_or(0);
    let first = scrolled(at, peaks.len(), height);
    for (row, (index, &(head, distance, share))) in
        peaks.iter().enumerate().skip(first).take(height).enumerate()
    {
        canvas.text(list, 2, row, &format!("{head:<6}{share:>7.3}  {distance:>4}"), Part::Text);
        if index == at {
            mark(canvas, Rect { width: LIST as u16 - 2, ..list }.intersection(list), row);
        }
    }
    let head = app.selection.head;
    if let Some(profile) = profiles.get(head) {
        draw_profile(canvas, chart, head, profile);
    }
    height
}

/// A bar for each distance, as high as the attention.
fn draw_profile(canvas: &mut Canvas, rect: Rect, head: Head, profile: &[f32]) {
    let (caption, rest) = rows(rect, 1);
    let (plot, axis) = rows(rest, usize::from(rest.height).saturating_sub(1));
    let (width, height) = (usize::from(plot.width).saturating_sub(5), usize::from(plot.height));
    let across = (width / profile.len().max(1)).clamp(1, 4);
    let shown = profile.len().min(width / across);
    let top = profile.iter().copied().fold(0.01f32, f32::max);
    let seen: f32 = profile.iter().sum();
    let text = format!("{head} by tokens back; {seen:.3} of 1 within {}", profile.len());
    canvas.text(caption, 0, 0, &shorten(&text, usize::from(caption.width)), Part::Accent);
    for (row, value) in [(0, top), (height.saturating_sub(1), 0.0)] {
        canvas.text(plot, 0, row, &format!("{value:>4.2}"), Part::Dim);
    }
    for (distance, &share) in profile.iter().take(shown).enumerate() {
        let eighths = (share / top * 8.0 * height as f32).round() as usize;
        for row in 0..height {
            let filled = eighths.saturating_sub(8 * (height - 1 - row)).min(8);
            let bar = EIGHTHS[filled].repeat(across.saturating_sub(1).max(1));
            canvas.text(plot, 5 + distance * across, row, &bar, Part::Bar);
        }
        if (distance * across).is_multiple_of(8) {
            canvas.text(axis, 5 + distance * across, 0, &distance.to_string(), Part::Dim);
        }
    }
}
