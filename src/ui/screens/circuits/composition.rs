//! Which heads read what earlier heads write: a matrix of all pairs, and the strongest edges.

use ratatui::{layout::Rect, style::Modifier};

use super::parts::{mark, rows, split};
use crate::{
    app::{App, screens::circuits::cursor},
    engine::protocol::{
        ModelInfo,
        circuits::{Composition, Edge, Kind},
    },
    head::Head,
    ui::{
        canvas::{Canvas, decimals, scrolled, shorten},
        theme::Part,
    },
};

/// Columns of the list of edges.
const LIST: usize = 31;
/// Columns of the names of later heads.
const GUTTER: usize = 6;

pub(super) fn draw(
    app: &App,
    info: &ModelInfo,
    canvas: &mut Canvas,
    rect: Rect,
    scores: &Composition,
    edges: &[Vec<Edge>; 3],
) -> usize {
    let kind = app.rooms.circuits.kind;
    let baseline = scores.baseline[kind as usize];
    let (head, body) = rows(rect, 1);
    let formula = match kind {
        Kind::Query => "Q-composition, queries: ||W_QK' W_OV|| / (||W_QK|| ||W_OV||)",
        Kind::Key => "K-composition, keys: ||W_QK W_OV|| / (||W_QK|| ||W_OV||)",
        Kind::Value => "V-composition, values: ||W_OV2 W_OV1|| / (||W_OV2|| ||W_OV1||)",
    };
    let text = format!("{formula}, random {baseline:.3}");
    canvas.text(head, 0, 0, &shorten(&text, usize::from(head.width)), Part::Accent);
    let (list, matrix) = split(body, LIST);
    let height = draw_edges(app, canvas, list, &edges[kind as usize], baseline);
    let matrix = Rect { x: matrix.x + 1, width: matrix.width.saturating_sub(1), ..matrix };
    draw_matrix(app, info, canvas, matrix, scores, &edges[kind as usize]);
    height
}

fn draw_edges(app: &App, canvas: &mut Canvas, rect: Rect, edges: &[Edge], baseline: f32) -> usize {
    let (head, list) = rows(rect, 1);
    canvas.text(head, 2, 0, "writes -> reads   above score", Part::Dim);
    let height = usize::from(list.height);
    let at = cursor(app).unwrap_or(0);
    let first = scrolled(at, edges.len(), height);
    for (row, (index, edge)) in edges.iter().enumerate().skip(first).take(height).enumerate() {
        let touches = [edge.earlier, edge.later].contains(&app.selection.head);
        let part = if touches { Part::Accent } else { Part::Text };
        let star = if touches { "*" } else { " " };
        let text = format!(
            "{star}{:>5} -> {:<5} {:>+6.3} {:>6.3}",
            edge.earlier,
            edge.later,
            edge.score - baseline,
            edge.score
        );
        canvas.text(list, 1, row, &text, part);
        if index == at {
            mark(canvas, list, row);
        }
    }
    height
}

/// A row or a column of the matrix: a head, or where there are too many, a layer with the largest score of its heads.
#[derive(Clone, Copy)]
struct Unit {
    whole_layer: bool,
    head: Head,
}

impl Unit {
    fn heads(self, info: &ModelInfo) -> impl Iterator<Item = Head> + use<> {
        let heads = if self.whole_layer { 0..info.heads } else { self.head.head..self.head.head + 1 };
        let layer = self.head.layer;
        heads.map(move |head| Head::new(layer, head))
    }

    fn holds(self, head: Head) -> bool {
        self.head.layer == head.layer && (self.whole_layer || self.head.head == head.head)
    }

    fn label(self) -> String {
        if self.whole_layer { self.head.layer.to_string() } else { self.head.to_string() }
    }
}

/// The units of some layers.
fn units(info: &ModelInfo, layers: std::ops::Range<usize>, whole_layer: bool) -> Vec<Unit> {
    let heads = if whole_layer { 1 } else { info.heads };
    layers
        .flat_map(|layer| (0..heads).map(move |head| Unit { whole_layer, head: Head::new(layer, head) }))
        .collect()
}

/// Readers down, writers to the right, each pair shaded by its score above random as a part of the strongest.
fn draw_matrix(
    app: &App,
    info: &ModelInfo,
    canvas: &mut Canvas,
    rect: Rect,
    scores: &Composition,
    edges: &[Edge],
) {
    let kind = app.rooms.circuits.kind;
    let most = edges.first().map_or(0.0, |edge| edge.score - scores.baseline[kind as usize]).max(1e-6);
    let (head, body) = rows(rect, 2);
    let room = (usize::from(body.width).saturating_sub(GUTTER), usize::from(body.height));
    let pairs = (info.layers - 1) * info.heads;
    let whole_layer = 2 * pairs > room.0 || pairs > room.1;
    let (readers, writers) =
        (units(info, 1..info.layers, whole_layer), units(info, 0..info.layers - 1, whole_layer));
    let cell = (room.0 / writers.len().max(1)).clamp(1, 5);
    let what = if whole_layer { "layers' best" } else { "heads" };
    let text = format!("{what}: reads ↓, writes →, most {most:+.3}");
    canvas.text(head, 0, 0, &shorten(&text, usize::from(head.width)), Part::Dim);
    let selected = app.selection.head;
    let place = |units: &[Unit]| units.iter().position(|unit| unit.holds(selected)).unwrap_or(0);
    let columns = room.0 / cell;
    let (top, left) =
        (scrolled(place(&readers), readers.len(), room.1), scrolled(place(&writers), writers.len(), columns));
    for (column, writer) in writers.iter().skip(left).take(columns).enumerate() {
        let label = if cell >= 4 || whole_layer { writer.label() } else { writer.head.head.to_string() };
        let part = if writer.holds(selected) { Part::Accent } else { Part::Dim };
        let label: String = if cell == 1 { label.chars().last().into_iter().collect() } else { label };
        canvas.text(head, GUTTER + column * cell, 1, &format!("{label:>cell$}"), part);
    }
    for (row, reader) in readers.iter().skip(top).take(room.1).enumerate() {
        let part = if reader.holds(selected) { Part::Accent } else { Part::Dim };
        canvas.text(body, 0, row, &format!("{:>5}", reader.label()), part);
        for (column, writer) in writers.iter().skip(left).take(columns).enumerate() {
            let value = reader
                .heads(info)
                .flat_map(|later| writer.heads(info).map(move |earlier| (earlier, later)))
                .filter_map(|(earlier, later)| scores.above_random(kind, earlier, later))
                .reduce(f32::max);
            // A head composes with earlier layers alone.
            let Some(value) = value else { continue };
            let shade = (value / most).max(0.0);
            let digits = if cell >= 4 { decimals(value) } else { String::new() };
            let (text, style) = if canvas.theme.is_graded() {
                (format!("{digits:>cell$}"), canvas.theme.over(shade))
            } else {
                let (glyph, style) = canvas.theme.shade(shade);
                (glyph.repeat(cell - digits.len()) + &digits, style)
            };
            let chosen = reader.holds(selected) || writer.holds(selected);
            let modifier = if chosen { Modifier::BOLD } else { Modifier::empty() };
            canvas.put(body, GUTTER + column * cell, row, &text, style.add_modifier(modifier));
        }
    }
}
