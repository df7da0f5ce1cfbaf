//! QK positivity against OV positivity of every head: induction heads stand in the upper right corner.

use std::collections::BTreeMap;

use ratatui::layout::Rect;

use super::{
    parts::{draw_lines, mark, number, rows, split},
    plot::Plane,
};
use crate::{
    app::{App, screens::circuits::cursor},
    engine::protocol::circuits::Point,
    ui::{
        canvas::{Canvas, scrolled, wrap},
        theme::Part,
    },
};

/// Columns of the list.
const LIST: usize = 34;
/// Where the corner begins, in both directions.
const CORNER: f64 = 0.5;

pub(super) fn draw(app: &App, canvas: &mut Canvas, rect: Rect, points: &[Point]) -> usize {
    let (list, plot) = split(rect, LIST);
    let (head, list) = rows(list, 1);
    canvas.text(head, 2, 0, &format!("{:<6}{:>7}{:>7}  {:<8}", "head", "QK", "OV", "through"), Part::Dim);
    let height = usize::from(list.height);
    let at = cursor(app);
    let first = scrolled(at.unwrap_or(0), points.len(), height);
    for (row, (index, point)) in points.iter().enumerate().skip(first).take(height).enumerate() {
        let inside = point.matching > CORNER && point.copying > CORNER;
        let [matching, copying] = [point.matching, point.copying].map(|value| number(value, 7));
        let numbers = format!("{:<6}{matching}{copying}  {:<6}", point.head, point.through);
        canvas.text(list, 2, row, &numbers, if inside { Part::Text } else { Part::Dim });
        canvas.text(list, LIST - 5, row, if inside { "◥" } else { "" }, Part::Accent);
        if at == Some(index) {
            mark(canvas, list, row);
        }
    }
    let crowd = points.iter().filter(|point| point.matching > CORNER && point.copying > CORNER).count();
    let text = format!(
        "up: OV copies, right: QK looks for its token; ◥ induction corner, {crowd} heads; ◆ {}",
        app.selection.head
    );
    let (caption, rest) = rows(plot, wrap(&text, usize::from(plot.width)).len());
    draw_lines(canvas, caption, &text, Part::Dim);
    draw_plane(app, canvas, rest, points);
    height
}

fn draw_plane(app: &App, canvas: &mut Canvas, rect: Rect, points: &[Point]) {
    let mut plane = Plane::square(rect);
    for (from, to, gap) in [
        ((-1.0, -1.0), (1.0, -1.0), 1),
        ((1.0, -1.0), (1.0, 1.0), 1),
        ((1.0, 1.0), (-1.0, 1.0), 1),
        ((-1.0, 1.0), (-1.0, -1.0), 1),
        ((-1.0, 0.0), (1.0, 0.0), 3),
        ((0.0, -1.0), (0.0, 1.0), 3),
        ((CORNER, CORNER), (1.0, CORNER), 2),
        ((CORNER, CORNER), (CORNER, 1.0), 2),
    ] {
        plane.line(from, to, gap);
    }
    plane.draw(canvas);
    let place = |point: &Point| (point.matching.clamp(-0.999, 0.999), point.copying.clamp(-0.999, 0.999));
    let mut crowds: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for point in points {
        let Some(cell) = plane.cell(place(point)) else { continue };
        let crowd = crowds.entry(cell).or_default();
        *crowd += 1;
        let glyph = match *crowd {
            1 => "●".to_owned(),
            count @ 2..=9 => count.to_string(),
            _ => "+".to_owned(),
        };
        plane.point(canvas, place(point), &glyph, Part::Bar);
    }
    if let Some(point) = points.iter().find(|point| point.head == app.selection.head) {
        plane.point(canvas, place(point), "◆", Part::Mark);
    }
}
