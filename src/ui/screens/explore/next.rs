//! The next tokens: probability, a bar, and what it was before heads were ablated.

use ratatui::{layout::Rect, style::Modifier};
use unicode_width::UnicodeWidthStr;

use crate::{
    app::{App, label::quoted},
    ui::{
        canvas::{Canvas, bar, scrolled, shorten, wrap},
        theme::Part,
    },
};

/// Draws the panel into `rect`.
pub fn draw(app: &App, canvas: &mut Canvas, rect: Rect, focused: bool) {
    let Some(answer) = &app.session.candidates else {
        canvas.panel(rect, "Next token …", focused);
        return;
    };
    let shown = &answer.value;
    let fresh = app.session.is_current(answer) && shown.query == app.selection.query;
    let token = answer.about.tokens.get(shown.query).map_or(String::new(), quoted);
    let title = format!("Next token after {}{}", shorten(&token, 16), if fresh { "" } else { " …" });
    let inner = canvas.panel(rect, &title, focused);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    if shown.top.is_empty() {
        for (row, line) in
            wrap("The model has no output head: nothing tells next tokens.", width).iter().enumerate()
        {
            canvas.text(inner, 0, row, line, Part::Dim);
        }
        return;
    }
    let name_width = (width / 3).clamp(8, 18);
    let before_width = if shown.unablated.is_some() { 10 } else { 0 };
    let chosen = app.selection.candidate.min(shown.top.len().saturating_sub(1));
    let first = scrolled(chosen, shown.top.len(), height);
    for (row, (index, candidate)) in shown.top.iter().enumerate().skip(first).take(height).enumerate() {
        let mark = if index == chosen { "▸" } else { " " };
        let style = canvas.theme.style(if index == chosen { Part::Mark } else { Part::Text });
        let name = shorten(&quoted(&candidate.token), name_width);
        canvas.put(inner, 0, row, mark, style);
        canvas.put(inner, 1, row, &name, style);
        let number = format!("{:.2}", candidate.probability);
        canvas.text(inner, name_width + 2, row, &number, Part::Text);
        let start = name_width + 3 + number.width();
        let room = width.saturating_sub(start + before_width);
        canvas.text(inner, start, row, &bar(candidate.probability, room), Part::Bar);
        if let Some(before) = &shown.unablated {
            let same = |other: &&crate::engine::protocol::Candidate| other.token.id == candidate.token.id;
            let was = match before.iter().find(same) {
                Some(other) => format!("was {:.2}", other.probability),
                None => "was lower".to_owned(),
            };
            let style = canvas.theme.style(Part::Warning).remove_modifier(Modifier::BOLD);
            canvas.put(inner, width.saturating_sub(was.width()), row, &was, style);
        }
    }
}
