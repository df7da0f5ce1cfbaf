//! Heads by copying score, the eigenvalues of the selected one, and how the scores are spread.

use ratatui::layout::Rect;

use super::{
    parts::{draw_lines, mark, number, rows, split},
    plot::Plane,
};
use crate::{
    app::{App, screens::circuits::cursor},
    engine::protocol::circuits::{Eigenvalue, Spectrum},
    head::{Head, PerHead},
    ui::{
        canvas::{Canvas, bar, scrolled, wrap},
        theme::Part,
    },
};

/// Columns of the list.
const LIST: usize = 25;
/// Bins of the histogram, from -1 to 1.
const BINS: usize = 8;
/// Powers of ten from the middle of the disc to its edge.
const DECADES: f64 = 3.0;

pub(super) fn draw(
    app: &App,
    canvas: &mut Canvas,
    rect: Rect,
    spectra: &PerHead<Spectrum>,
    order: &[Head],
) -> usize {
    let (list, rest) = split(rect, LIST);
    let height = usize::from(list.height);
    let at = cursor(app).unwrap_or(0);
    let first = scrolled(at, order.len(), height);
    for (row, (index, &head)) in order.iter().enumerate().skip(first).take(height).enumerate() {
        let Some(score) = spectra.get(head).map(Spectrum::positivity) else { continue };
        canvas.text(list, 2, row, &format!("{head:<6}{}", number(score, 6)), Part::Text);
        canvas.text(list, 16, row, &bar(score as f32, LIST - 16), Part::Bar);
        if index == at {
            mark(canvas, Rect { width: 15, ..list }.intersection(list), row);
        }
    }
    if let Some(spectrum) = spectra.get(app.selection.head) {
        let edge = spectrum.0.first().map_or(0.0, size);
        let text = format!(
            "{} eigenvalues of {}, radius log |λ|, edge {edge:.3}; ● Re λ > 0, ○ Re λ < 0",
            spectrum.0.len(),
            app.selection.head
        );
        let (caption, rest) = rows(rest, wrap(&text, usize::from(rest.width)).len());
        draw_lines(canvas, caption, &text, Part::Dim);
        let used = draw_disc(canvas, rest, spectrum, edge);
        let (_, right) = split(rest, used + 1);
        draw_histogram(canvas, right, spectra);
    }
    height
}

fn size(value: &Eigenvalue) -> f64 {
    value.re.hypot(value.im)
}

/// Draws the eigenvalues in a disc whose edge is at `edge`; returns the columns it takes.
fn draw_disc(canvas: &mut Canvas, rect: Rect, spectrum: &Spectrum, edge: f64) -> usize {
    let mut plane = Plane::square(rect);
    plane.circle(0.99);
    plane.line((-1.0, 0.0), (1.0, 0.0), 2);
    plane.line((0.0, -1.0), (0.0, 1.0), 2);
    plane.draw(canvas);
    for value in spectrum.0.iter().rev() {
        let size = size(value);
        // What is smaller than the disc resolves is in the middle.
        let radius = if size > 0.0 { (1.0 + (size / edge).log10() / DECADES).max(0.0) } else { 0.0 };
        let scale = if size > 0.0 { 0.97 * radius / size } else { 0.0 };
        let (glyph, part) = if value.re >= 0.0 { ("●", Part::Bar) } else { ("○", Part::Warning) };
        plane.point(canvas, (value.re * scale, value.im * scale), glyph, part);
    }
    plane.width()
}

/// How many heads have scores in each eighth of -1 to 1.
fn draw_histogram(canvas: &mut Canvas, rect: Rect, spectra: &PerHead<Spectrum>) {
    let mut counts = [0usize; BINS];
    for score in spectra.values().iter().map(Spectrum::positivity).filter(|score| !score.is_nan()) {
        let bin = ((score + 1.0) / 2.0 * BINS as f64) as usize;
        counts[bin.min(BINS - 1)] += 1;
    }
    let width = usize::from(rect.width);
    if width < 16 || usize::from(rect.height) < BINS + 1 {
        return;
    }
    canvas.text(rect, 0, 0, "copying   heads", Part::Dim);
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for (row, (bin, &count)) in counts.iter().enumerate().rev().enumerate() {
        let from = bin as f64 * 2.0 / BINS as f64 - 1.0;
        let label = format!("{from:>5.2} to {count:>4} ");
        canvas.text(rect, 0, row + 1, &label, if count > 0 { Part::Text } else { Part::Dim });
        let bar = bar(count as f32 / most as f32, width.saturating_sub(label.len()).min(30));
        canvas.text(rect, label.len(), row + 1, &bar, Part::Bar);
    }
}
