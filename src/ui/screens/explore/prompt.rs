//! The prompt: its tokens, or the text that is being edited.

use ratatui::layout::Rect;

use crate::{
    app::{App, editor::Editor, label::quoted},
    ui::{
        canvas::{Canvas, shorten},
        overlay,
        tokens::Shaded,
    },
};

/// The prompt, shaded by what the selected head attends to from the query token.
pub(super) fn draw(app: &App, canvas: &mut Canvas, rect: Rect, focused: bool) {
    let Some(shown) = &app.session.shown else {
        canvas.panel(rect, "Prompt …", focused);
        return;
    };
    let query = app.selection.query;
    let last = shown.tokens.len().saturating_sub(1);
    let mut title = format!("Prompt · token {query} of 0-{last}");
    if shown.tokens.len() > shown.prompt {
        title += &format!(" ({} generated)", shown.tokens.len() - shown.prompt);
    }
    // The last answer still holds where the tokens before its query are the same.
    let answer = app.session.head.as_ref().filter(|answer| {
        let same = answer.about.tokens.iter().zip(shown.tokens.iter()).all(|(one, other)| one == other);
        same || app.session.is_current(answer)
    });
    if let Some(answer) = answer {
        let look = answer.value.look;
        let token = answer.about.tokens.get(look.query).map_or(String::new(), quoted);
        title += &format!(" · shaded by what {} attends to in {}", shorten(&token, 16), look.head);
        if look.query != query || look.head != app.selection.head {
            title += " …";
        }
    }
    let inner = canvas.panel(rect, &title, focused);
    let text = Shaded {
        labels: &shown.labels,
        weights: answer.map_or(&[], |answer| &answer.value.row),
        from: 0,
        query,
        key: None,
        detailed: false,
    };
    text.draw(canvas, inner, |value| app.rooms.explore.scaled(value));
}

/// Draws the text that is being edited; returns where the cursor stands.
pub(super) fn draw_editor(canvas: &mut Canvas, rect: Rect, line: &Editor) -> Option<(u16, u16)> {
    canvas.clear(rect);
    let inner = canvas.panel(rect, "Prompt · Enter runs it, Esc leaves it as it was", true);
    overlay::draw_editor(canvas, inner, line)
}
