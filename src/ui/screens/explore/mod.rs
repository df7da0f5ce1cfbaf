//! The Explore screen: the grid of heads, the pattern of one, the prompt, the next tokens, and what the head does.

mod heads;
mod next;
mod pattern;
mod prompt;
mod sentence;

use ratatui::layout::Rect;

use crate::{
    app::{
        App, Layout,
        editor::Editor,
        overlay::Overlay,
        screen::Screen,
        screens::explore::{Explore, Focus},
    },
    engine::protocol::ModelInfo,
    ui::{canvas::Canvas, theme::Theme, tokens, view::View},
};

impl View for Explore {
    fn measure(app: &App, theme: &Theme, rect: Rect, layout: &mut Layout) {
        layout.map = pattern::room(Panels::arrange(app, rect).pattern, theme.is_graded());
    }

    fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, _layout: &mut Layout) {
        draw(app, info, canvas, &Panels::arrange(app, rect));
    }

    fn draw_field(app: &App, canvas: &mut Canvas, rect: Rect, line: &Editor) -> Option<(u16, u16)> {
        prompt::draw_editor(canvas, Panels::arrange(app, rect).prompt, line)
    }
}

/// Where the panels stand.
struct Panels {
    heads: Rect,
    pattern: Rect,
    prompt: Rect,
    next: Rect,
    sentence: Rect,
    /// The panel that has the whole body.
    zoomed: Option<Focus>,
}

impl Panels {
    /// Heads and pattern above, the prompt across, next tokens and the sentence below; a zoomed panel has it all.
    fn arrange(app: &App, body: Rect) -> Self {
        let labels = app.session.shown.as_ref().map_or(&[][..], |shown| &shown.labels);
        let lines = tokens::lines(labels, usize::from(body.width).saturating_sub(2)).clamp(2, 5) as u16;
        let (prompt_height, low_height) = match body.height {
            30.. => (lines + 2, 8),
            20.. => (4, 6),
            17.. => (3, 6),
            _ => (3, 4),
        };
        let most = usize::from(body.width) * 2 / 5;
        let wanted = app.info().map_or(0, |info| heads::wanted_width(info, most));
        let left = (wanted.max(if body.width < 80 { 24 } else { 32 }) as u16).min(body.width);
        let columns = |y, height| {
            let one = Rect { y, height, width: left, ..body };
            (one, Rect { x: body.x + left, width: body.width - left, ..one })
        };
        let top_height = body.height.saturating_sub(prompt_height + low_height);
        let (heads, pattern) = columns(body.y, top_height);
        let prompt = Rect { y: body.y + top_height, height: prompt_height, ..body };
        let (next, sentence) = columns(prompt.bottom(), low_height);
        let editing = app
            .overlays
            .iter()
            .any(|overlay| matches!(overlay, Overlay::Field(field) if field.screen == Screen::Explore));
        let zoomed = Some(app.rooms.explore.focus).filter(|_| app.rooms.explore.zoom && !editing);
        let mut panels = Self { heads, pattern, prompt, next, sentence, zoomed };
        if let Some(panel) = zoomed {
            *panels.of(panel) = body;
        }
        panels
    }

    fn of(&mut self, focus: Focus) -> &mut Rect {
        match focus {
            Focus::Heads => &mut self.heads,
            Focus::Pattern => &mut self.pattern,
            Focus::Prompt => &mut self.prompt,
            Focus::Next => &mut self.next,
            Focus::Sentence => &mut self.sentence,
        }
    }
}

fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, panels: &Panels) {
    let focus = app.rooms.explore.focus;
    let shows = |panel| panels.zoomed.is_none_or(|zoomed| zoomed == panel);
    if shows(Focus::Heads) {
        heads::draw(app, info, canvas, panels.heads, focus == Focus::Heads);
    }
    if shows(Focus::Pattern) {
        pattern::draw(app, info, canvas, panels.pattern, focus == Focus::Pattern);
    }
    if shows(Focus::Prompt) {
        prompt::draw(app, canvas, panels.prompt, focus == Focus::Prompt);
    }
    if shows(Focus::Next) {
        next::draw(app, canvas, panels.next, focus == Focus::Next);
    }
    if shows(Focus::Sentence) {
        sentence::draw(app, info, canvas, panels.sentence, focus == Focus::Sentence);
    }
}
