//! The Circuits screen: what the weights alone say, in seven views.

mod bigram;
mod composition;
mod copying;
mod corner;
mod plot;
mod positions;
mod terms;
mod trigrams;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, bar, shorten, wrap},
    overlay,
    theme::Part,
};
use crate::{
    app::{
        App,
        action::{Action, Context, first_key},
        circuits::View,
        editor::Editor,
    },
    engine::protocol::{
        ModelInfo,
        circuits::{Circuit, Facts},
    },
};

/// Draws the screen into `rect`; returns the rows of its list that have room.
pub fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect) -> usize {
    let view = app.circuits.view;
    let inner = canvas.panel(rect, &title(app, info), true);
    draw_tabs(canvas, inner, view);
    let width = usize::from(inner.width);
    let mut row = 1;
    for line in wrap(note(view, info), width) {
        canvas.text(inner, 0, row, &line, Part::Dim);
        row += 1;
    }
    // An empty line where there is room for one.
    let row = (row + usize::from(inner.height > 16)) as u16;
    let body = Rect { y: inner.y + row.min(inner.height), height: inner.height.saturating_sub(row), ..inner };
    if let Some(reason) = view.undefined(info) {
        draw_lines(canvas, body, reason, Part::Text);
        return 1;
    }
    match app.circuit() {
        Some(Ok(circuit)) => draw_circuit(app, info, canvas, body, circuit),
        Some(Err(problem)) => {
            draw_lines(canvas, body, &crate::text::clean(problem.as_bytes()), Part::Warning);
            1
        }
        None => {
            draw_progress(app, canvas, body);
            1
        }
    }
}

/// The field that a token is typed into, at the foot of `area`; returns where the cursor stands.
pub fn draw_editor(app: &App, canvas: &mut Canvas, area: Rect, editor: &Editor) -> Option<(u16, u16)> {
    let height = 3.min(area.height);
    let rect = Rect { y: area.bottom() - height, height, ..area };
    canvas.clear(rect);
    let ids = app.info().is_some_and(|info| !info.has_tokenizer);
    let what = if ids { "Token id" } else { "Token, its space included" };
    let title = format!("{what} · Enter looks up (empty: query token), Esc leaves");
    let inner = canvas.panel(rect, &title, true);
    overlay::draw_editor(canvas, inner, editor)
}

fn title(app: &App, info: &ModelInfo) -> String {
    match app.circuits.view {
        View::Bigram => "Circuits · the direct path".to_owned(),
        View::Terms => "Circuits · one prediction taken apart".to_owned(),
        _ if info.layers == 0 => "Circuits".to_owned(),
        _ => format!("Circuits · head {}", app.explore.head),
    }
}

/// What a view shows and what its numbers are.
fn note(view: View, info: &ModelInfo) -> &'static str {
    match view {
        View::Bigram if info.layers == 0 => {
            "W_U W_E, the whole of this model: logit and probability of next tokens"
        }
        View::Bigram => "W_U W_E, what a token says of the next without any head: logit and P",
        View::Trigrams => "source ... destination -> out; QK score and OV logit above their means",
        View::Copying => "copying: Re(sum λ) / sum |λ| of W_U W_O W_V W_E; 1 copies, 0 is random",
        View::Positions => "attention by distance that positions alone give, for the average token",
        View::Composition => "Frobenius norm of the product / product of norms, above random matrices",
        View::Corner => "Re(sum λ) / sum |λ|, -1 to 1: QK looks for its token, OV copies it",
        View::Terms => "loss in nats as terms of the path expansion are added, patterns frozen",
    }
}

fn draw_tabs(canvas: &mut Canvas, rect: Rect, chosen: View) {
    let wide: usize = View::ALL.iter().map(|&view| view.name().width() + 2).sum();
    let room = usize::from(rect.width);
    let gap = if wide <= room { 2 } else { 1 };
    let mut x = 0;
    for view in View::ALL {
        // Where there is little room, trigrams are known to be skip-trigrams.
        let name = if gap == 1 && view == View::Trigrams { "Trigrams" } else { view.name() };
        let part = if view == chosen { Part::Selection } else { Part::Dim };
        x += canvas.text(rect, x, 0, name, part) + gap;
    }
}

fn draw_lines(canvas: &mut Canvas, rect: Rect, text: &str, part: Part) {
    for (row, line) in wrap(text, usize::from(rect.width)).iter().enumerate() {
        canvas.text(rect, 0, row, line, part);
    }
}

/// What the engine is at, or was at when it was stopped.
fn draw_progress(app: &App, canvas: &mut Canvas, rect: Rect) {
    let steps = app.circuits.steps;
    let Some(ask) = app.circuits_ask() else {
        canvas.text(rect, 0, 0, "waiting for the prompt …", Part::Dim);
        return;
    };
    let how_far = match steps.total {
        0 => String::new(),
        total => format!("{}: {} of {total} {}", steps.stage, steps.done, steps.unit),
    };
    if app.circuits.is_stopped(&ask) {
        let key = first_key(Action::GoOn, Context::Circuits);
        let text = format!("stopped · {how_far} · {key} goes on").replace("·  ·", "·");
        canvas.text(rect, 0, 0, &text, Part::Warning);
    } else if app.circuits.is_at(&ask) && steps.total > 0 {
        canvas.text(rect, 0, 0, &how_far, Part::Text);
        let share = steps.done as f32 / steps.total as f32;
        canvas.text(rect, 0, 1, &bar(share, usize::from(rect.width).min(40)), Part::Bar);
    } else {
        canvas.text(rect, 0, 0, "computing …", Part::Dim);
    }
}

fn draw_circuit(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, circuit: &Circuit) -> usize {
    let mut body = rect;
    let effective =
        circuit.effective.then(|| "Tokens stand for W_E + MLP_0(W_E), in layer 0 for W_E. ".to_owned());
    let left_out =
        Some(format!("Left out: {}", circuit.left_out.join(", "))).filter(|_| !circuit.left_out.is_empty());
    if effective.is_some() || left_out.is_some() {
        let text = effective.unwrap_or_default() + &left_out.unwrap_or_default();
        let lines = wrap(&text, usize::from(rect.width));
        let height = (lines.len() as u16).min(rect.height / 3);
        body.height -= height;
        let foot = Rect { y: body.bottom(), height, ..rect };
        draw_lines(canvas, foot, &text, Part::Dim);
    }
    match &circuit.facts {
        Facts::Bigram { token, next } => bigram::draw(app, canvas, body, token, next),
        Facts::Trigrams { token, rows, bugs } => {
            trigrams::draw(app, canvas, body, token.as_ref(), rows, bugs.as_deref())
        }
        Facts::Copying { spectra, order } => copying::draw(app, info, canvas, body, spectra, order),
        Facts::Positions { profiles, peaks } => positions::draw(app, info, canvas, body, profiles, peaks),
        Facts::Composition { scores, edges } => composition::draw(app, info, canvas, body, scores, edges),
        Facts::Corner { points } => corner::draw(app, canvas, body, points),
        Facts::Terms { token, target, terms } => terms::draw(app, canvas, body, (token, target), terms),
    }
}

/// Cuts `rect` into a left part of `width` columns and the rest, a column between them.
fn split(rect: Rect, width: usize) -> (Rect, Rect) {
    let width = (width as u16).min(rect.width);
    let rest = rect.width.saturating_sub(width + 1);
    (Rect { width, ..rect }, Rect { x: rect.right() - rest, width: rest, ..rect })
}

/// The same with the rows: `height` of them above, the rest below.
fn rows(rect: Rect, height: usize) -> (Rect, Rect) {
    let height = (height as u16).min(rect.height);
    (Rect { height, ..rect }, Rect { y: rect.y + height, height: rect.height - height, ..rect })
}

/// Marks the row of a list that the cursor is on.
fn mark(canvas: &mut Canvas, rect: Rect, row: usize) {
    canvas.text(rect, 0, row, "▸", Part::Mark);
    canvas.tint(rect, row, canvas.theme.style(Part::Selection));
}

/// A number in `width` columns; what is no number is a dash.
fn number(value: f64, width: usize) -> String {
    if value.is_nan() { format!("{:>width$}", "-") } else { format!("{value:>width$.3}") }
}

/// `text` in exactly `width` columns.
fn fit(text: &str, width: usize) -> String {
    let text = shorten(text, width);
    let space = width - text.width().min(width);
    text + &" ".repeat(space)
}
