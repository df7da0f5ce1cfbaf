//! The Circuits screen: what the weights alone say, in seven views.

mod bigram;
mod composition;
mod copying;
mod corner;
mod parts;
mod plot;
mod positions;
mod terms;
mod trigrams;

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use self::parts::draw_lines;
use crate::{
    app::{
        App, Layout,
        action::{Action, first_key},
        editor::Editor,
        screen::Screen,
        screens::{
            self,
            circuits::{self, Circuits},
        },
    },
    engine::protocol::{
        ModelInfo,
        circuits::{Circuit, Facts},
    },
    text::clean,
    ui::{
        canvas::{Canvas, bar, wrap},
        overlay,
        theme::Part,
        view::View,
    },
};

impl View for Circuits {
    fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, layout: &mut Layout) {
        layout.page = draw(app, info, canvas, rect);
    }

    /// A token, at the foot.
    fn draw_field(app: &App, canvas: &mut Canvas, rect: Rect, line: &Editor) -> Option<(u16, u16)> {
        let height = 3.min(rect.height);
        let rect = Rect { y: rect.bottom() - height, height, ..rect };
        canvas.clear(rect);
        let ids = app.info().is_some_and(|info| !info.has_tokenizer);
        let what = if ids { "Token id" } else { "Token, its space included" };
        let title = format!("{what} · Enter looks up (empty: query token), Esc leaves");
        let inner = canvas.panel(rect, &title, true);
        overlay::draw_editor(canvas, inner, line)
    }
}

/// Draws the screen into `rect`; returns the rows of its list that have room.
fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect) -> usize {
    let view = app.rooms.circuits.view;
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
    match circuits::answer(app) {
        Some(Ok(circuit)) => draw_circuit(app, info, canvas, body, circuit),
        Some(Err(problem)) => {
            draw_lines(canvas, body, &clean(problem.as_bytes()), Part::Warning);
            1
        }
        None => {
            draw_progress(app, canvas, body);
            1
        }
    }
}

fn title(app: &App, info: &ModelInfo) -> String {
    match app.rooms.circuits.view {
        circuits::View::Bigram => "Circuits · the direct path".to_owned(),
        circuits::View::Terms => "Circuits · one prediction taken apart".to_owned(),
        _ if info.layers == 0 => "Circuits".to_owned(),
        _ => format!("Circuits · head {}", app.selection.head),
    }
}

/// What a view shows and what its numbers are.
fn note(view: circuits::View, info: &ModelInfo) -> &'static str {
    match view {
        circuits::View::Bigram if info.layers == 0 => {
            "W_U W_E, the whole of this model: logit and probability of next tokens"
        }
        circuits::View::Bigram => "W_U W_E, what a token says of the next without any head: logit and P",
        circuits::View::Trigrams => "source ... destination -> out; QK score and OV logit above their means",
        circuits::View::Copying => "copying: Re(sum λ) / sum |λ| of W_U W_O W_V W_E; 1 copies, 0 is random",
        circuits::View::Positions => "attention by distance that positions alone give, for the average token",
        circuits::View::Composition => {
            "Frobenius norm of the product / product of norms, above random matrices"
        }
        circuits::View::Corner => "Re(sum λ) / sum |λ|, -1 to 1: QK looks for its token, OV copies it",
        circuits::View::Terms => "loss in nats as terms of the path expansion are added, patterns frozen",
    }
}

fn draw_tabs(canvas: &mut Canvas, rect: Rect, chosen: circuits::View) {
    let wide: usize = circuits::View::ALL.iter().map(|&view| view.name().width() + 2).sum();
    let room = usize::from(rect.width);
    let gap = if wide <= room { 2 } else { 1 };
    let mut x = 0;
    for view in circuits::View::ALL {
        // Where there is little room, trigrams are known to be skip-trigrams.
        let name = if gap == 1 && view == circuits::View::Trigrams { "Trigrams" } else { view.name() };
        let part = if view == chosen { Part::Selection } else { Part::Dim };
        x += canvas.text(rect, x, 0, name, part) + gap;
    }
}

/// What the engine is at, or was at when it was stopped.
fn draw_progress(app: &App, canvas: &mut Canvas, rect: Rect) {
    let steps = app.rooms.circuits.steps;
    let Some(ask) = circuits::ask(app) else {
        canvas.text(rect, 0, 0, "waiting for the prompt …", Part::Dim);
        return;
    };
    let how_far = match steps.total {
        0 => String::new(),
        total => format!("{}: {} of {total} {}", steps.stage, steps.done, steps.unit),
    };
    if app.rooms.circuits.is_stopped(&ask) {
        let key = first_key(
            Action::Room(screens::Action::Circuits(circuits::Action::GoOn)),
            Screen::Circuits.context(),
        );
        let text = format!("stopped · {how_far} · {key} goes on").replace("·  ·", "·");
        canvas.text(rect, 0, 0, &text, Part::Warning);
    } else if app.rooms.circuits.is_at(&ask) && steps.total > 0 {
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
        Facts::Copying { spectra, order } => copying::draw(app, canvas, body, spectra, order),
        Facts::Positions { profiles, peaks } => positions::draw(app, canvas, body, profiles, peaks),
        Facts::Composition { scores, edges } => composition::draw(app, info, canvas, body, scores, edges),
        Facts::Corner { points } => corner::draw(app, canvas, body, points),
        Facts::Terms { token, target, terms } => terms::draw(app, canvas, body, (token, target), terms),
    }
}
