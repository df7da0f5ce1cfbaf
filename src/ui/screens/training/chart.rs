//! Curves over training steps: braille dots, or one character a column where there are no colours to tell curves apart.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use crate::{
    analysis::timeline::Window,
    ui::{
        canvas::Canvas,
        theme::{Depth, Part},
    },
};

/// Columns of the numbers left of the plot.
const GUTTER: u16 = 6;
/// Columns between two markers of a curve.
const MARKERS: usize = 18;

/// How curves are told apart: a style, a marker, and a character where there is no colour.
pub const STYLES: [(Part, &str, &str); 5] = [
    (Part::Curve1, "●", "*"),
    (Part::Curve2, "◆", "o"),
    (Part::Curve3, "▲", "+"),
    (Part::Curve4, "■", "x"),
    (Part::Curve5, "✚", "#"),
];

/// How steps are spread over the columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steps {
    pub first: u64,
    pub last: u64,
    /// By the logarithm of the step plus one.
    pub log: bool,
}

impl Steps {
    /// Where a step stands in `0..=last`, which is the last place of the axis.
    pub fn place(self, step: u64, last: usize) -> usize {
        let scale = |step: u64| if self.log { ((step + 1) as f64).ln() } else { step as f64 };
        let (low, high) = (scale(self.first), scale(self.last));
        if high <= low {
            return 0;
        }
        (((scale(step) - low) / (high - low)).clamp(0.0, 1.0) * last as f64).round() as usize
    }

    /// Steps to be named on an axis of that many columns, about one every twelve.
    fn ticks(self, columns: usize) -> Vec<u64> {
        let most = (columns / 12).max(1) as u64;
        if self.log {
            let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
            let inside = powers.take_while(|&power| power <= self.last).filter(|&power| power >= self.first);
            return std::iter::once(self.first).chain(inside).collect();
        }
        let span = (self.last - self.first).max(1);
        let nice = (0..19).flat_map(|power| [1, 2, 5].map(|digit| digit * 10_u64.pow(power)));
        let apart = nice.into_iter().find(|&apart| span / apart <= most).unwrap_or(span);
        (self.first.div_ceil(apart)..=self.last / apart).map(|tick| tick * apart).collect()
    }
}

/// A curve.
pub struct Curve {
    /// Steps and values, in the order of the steps.
    pub points: Vec<(u64, f32)>,
    /// The values at the bottom and the top of the plot.
    pub range: (f32, f32),
    /// Its place in [`STYLES`].
    pub style: usize,
}

/// Curves over the same steps; the first lies over the others.
pub struct Chart<'a> {
    pub steps: Steps,
    pub curves: &'a [Curve],
    /// What stands at the bottom and the top of the plot.
    pub labels: [String; 2],
    /// The window of the change, which is shaded.
    pub window: Option<Window>,
    /// The step that the cursor is on.
    pub cursor: Option<u64>,
}

impl Chart<'_> {
    /// Draws the plot and, in the last row, the steps.
    pub fn draw(&self, canvas: &mut Canvas, rect: Rect) {
        if rect.width <= GUTTER + 2 || rect.height < 2 {
            return;
        }
        let plot =
            Rect { x: rect.x + GUTTER, y: rect.y, width: rect.width - GUTTER, height: rect.height - 1 };
        let (width, height) = (usize::from(plot.width), usize::from(plot.height));
        for (label, row) in self.labels.iter().rev().zip([0, height - 1]) {
            canvas.text(rect, 0, row, &format!("{label:>5}"), Part::Dim);
        }
        if let Some(window) = self.window {
            let [from, to] = [window.from, window.to].map(|step| self.steps.place(step, width - 1));
            for row in 0..height {
                canvas.text(plot, from, row, &"░".repeat(to - from + 1), Part::Border);
            }
        }
        let cursor = self.cursor.map(|step| self.steps.place(step, width - 1));
        for row in cursor.iter().flat_map(|_| 0..height) {
            canvas.text(plot, cursor.unwrap_or(0), row, "│", Part::Mark);
        }
        if canvas.theme.depth() == Depth::Mono {
            self.draw_plain(canvas, plot);
        } else {
            self.draw_dots(canvas, plot);
        }
        self.draw_steps(canvas, Rect { y: plot.bottom(), height: 1, ..plot });
    }

    /// Lines of braille dots, two columns and four rows of them in a cell, with markers on them.
    fn draw_dots(&self, canvas: &mut Canvas, plot: Rect) {
        const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
        let (width, height) = (usize::from(plot.width), usize::from(plot.height));
        let mut cells = vec![(0_u8, 0); width * height];
        for curve in self.curves.iter().rev() {
            for (x, y) in curve.line(self.steps, 2 * width, 4 * height) {
                let cell = &mut cells[y / 4 * width + x / 2];
                *cell = (cell.0 | BITS[x % 2][y % 4], curve.style);
            }
        }
        for (at, (dots, style)) in cells.into_iter().enumerate().filter(|(_, cell)| cell.0 > 0) {
            let dots = char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' ').to_string();
            canvas.text(plot, at % width, at / width, &dots, STYLES[style % STYLES.len()].0);
        }
        for curve in self.curves.iter().rev() {
            let (part, marker, _) = STYLES[curve.style % STYLES.len()];
            let line: Vec<_> = curve.line(self.steps, width, height).collect();
            let last = line.last().copied();
            // Not all at the same columns, where the curves may lie on each other.
            let there = |place: &(usize, usize)| place.0 % MARKERS == curve.style * 3 % MARKERS;
            let mut marked = usize::MAX;
            for (x, y) in line.into_iter().filter(there).chain(last) {
                if std::mem::replace(&mut marked, x) != x {
                    canvas.text(plot, x, y, marker, part);
                }
            }
        }
    }

    /// A character in every column.
    fn draw_plain(&self, canvas: &mut Canvas, plot: Rect) {
        let (width, height) = (usize::from(plot.width), usize::from(plot.height));
        for curve in self.curves.iter().rev() {
            let (part, _, character) = STYLES[curve.style % STYLES.len()];
            for (x, y) in curve.line(self.steps, width, height) {
                canvas.text(plot, x, y, character, part);
            }
        }
    }

    /// Steps under the plot; that of the cursor before all others.
    fn draw_steps(&self, canvas: &mut Canvas, row: Rect) {
        let width = usize::from(row.width);
        let mut taken: Vec<(usize, usize)> = Vec::new();
        let cursor = self.cursor.map(|step| (step, format!("▲{step}"), Part::Mark));
        let ticks = self.steps.ticks(width).into_iter().map(|step| (step, step.to_string(), Part::Dim));
        for (step, text, part) in cursor.into_iter().chain(ticks) {
            let start = self.steps.place(step, width - 1).min(width.saturating_sub(text.width()));
            let end = start + text.width();
            if taken.iter().all(|&(from, to)| end < from || start > to) {
                taken.push((start, end));
                canvas.text(row, start, 0, &text, part);
            }
        }
    }
}

impl Curve {
    /// The places `(x, y)` that a line through the points takes on a grid, from left to right; y runs down.
    fn line(&self, steps: Steps, width: usize, height: usize) -> impl Iterator<Item = (usize, usize)> {
        let (low, high) = self.range;
        let place = |&(step, value): &(u64, f32)| {
            let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.0 };
            let y = ((1.0 - share) * (height - 1) as f32).round();
            (steps.place(step, width - 1), y as usize)
        };
        let places: Vec<(usize, usize)> = self.points.iter().map(place).collect();
        let first = places.first().copied();
        let lines: Vec<(usize, usize)> = places
            .windows(2)
            .flat_map(|pair| {
                let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
                let far = x0.abs_diff(x1).max(y0.abs_diff(y1)).max(1);
                (1..=far).map(move |at| {
                    let between = |from: usize, to: usize| {
                        let share = at as f64 / far as f64;
                        (from as f64 + (to as f64 - from as f64) * share).round() as usize
                    };
                    (between(x0, x1), between(y0, y1))
                })
            })
            .collect();
        first.into_iter().chain(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_stand_where_they_belong() {
        let even = Steps { first: 0, last: 1000, log: false };
        assert_eq!([0, 250, 1000, 5000].map(|step| even.place(step, 100)), [0, 25, 100, 100]);
        assert_eq!(even.ticks(60), [0, 200, 400, 600, 800, 1000]);
        let log = Steps { log: true, ..even };
        assert_eq!([0, 1000].map(|step| log.place(step, 100)), [0, 100]);
        assert!(log.place(30, 100).abs_diff(50) < 2);
        assert_eq!(log.ticks(60), [0, 1, 10, 100, 1000]);
        let one = Steps { first: 7, last: 7, log: false };
        assert_eq!((one.place(7, 100), one.ticks(60)), (0, vec![7]));
        let huge = Steps { first: 0, last: u64::MAX - 1, log: false };
        assert!(huge.ticks(60).len() < 10);
    }

    #[test]
    fn a_line_goes_through_its_points_without_gaps() {
        let points = vec![(0, 0.0), (10, 1.0), (1000, 0.5), (1000, f32::NAN)];
        let curve = Curve { points, range: (0.0, 1.0), style: 0 };
        let line: Vec<_> = curve.line(Steps { first: 0, last: 1000, log: false }, 101, 21).collect();
        assert!(line.contains(&(0, 20)) && line.contains(&(1, 0)) && line.contains(&(100, 10)));
        let near =
            |pair: &[(usize, usize)]| pair[0].0.abs_diff(pair[1].0) < 2 && pair[0].1.abs_diff(pair[1].1) < 2;
        assert!(line.windows(2).all(near));
        assert!(line.iter().all(|&(x, y)| x < 101 && y < 21));
    }
}
