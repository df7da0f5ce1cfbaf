//! The views: pure functions from the state to a buffer of cells.
//!
//! Nothing is remembered here and nothing is asked of the world; the sizes that the state needs go back as a
//! [`Layout`].

mod canvas;
mod circuits;
mod color;
mod heads;
mod loading;
mod next;
mod overlay;
mod pattern;
mod rank;
mod sentence;
mod status;
pub mod theme;
mod tokens;
mod tour;
mod training;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    canvas::{Canvas, shorten, wrap},
    theme::{Part, Theme},
    tokens::Shaded,
};
pub use crate::app::Layout;
use crate::{
    app::{App, Focus, Screen, Stage, label::quoted, overlay::Overlay},
    engine::protocol::ModelInfo,
};

/// The smallest screen that shows anything, in columns and rows.
pub const SMALLEST: (u16, u16) = (60, 16);
/// The smallest screen that shows how a model is opened: what is asked meanwhile must not be hidden.
const SMALLEST_LOADING: (u16, u16) = (30, 8);

/// Draws the whole screen into `area` and reports the sizes that it found room for.
pub fn view(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) -> Layout {
    let area = area.intersection(buf.area);
    let mut canvas = Canvas { buf, theme };
    canvas.clear(area);
    let mut layout = Layout::default();
    let smallest = if matches!(app.stage, Stage::Loading(_)) { SMALLEST_LOADING } else { SMALLEST };
    if area.width < smallest.0 || area.height < smallest.1 {
        draw_too_small(&mut canvas, area);
        return layout;
    }
    let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
    let body = tour::draw(app, &mut canvas, body);
    let panels = Panels::arrange(app, body);
    layout.map = pattern::room(panels.pattern, theme.is_graded());
    layout.page = rank::page(body);
    status::draw_title(app, &mut canvas, area);
    match (&app.stage, app.screen) {
        (Stage::Loading(loading), _) => loading::draw(app, loading, &mut canvas, body),
        (Stage::Fatal(message), _) => status::draw_fatal(message, &mut canvas, body),
        (Stage::Open(info), Screen::Rank) => rank::draw(app, info, &mut canvas, body),
        (Stage::Open(info), Screen::Circuits) => {
            layout.page = circuits::draw(app, info, &mut canvas, body);
        }
        (Stage::Open(info), Screen::Training) => training::draw(app, info, &mut canvas, body),
        (Stage::Open(info), Screen::Explore) => draw_explore(app, info, &mut canvas, &panels),
    }
    for overlay in &app.overlays {
        layout.cursor = None;
        match overlay {
            Overlay::Help(help) => overlay::draw_help(app, help, &mut canvas, body, &mut layout),
            Overlay::Palette(palette) => overlay::draw_palette(app, palette, &mut canvas, body, &mut layout),
            Overlay::Prompt(editor) => {
                layout.cursor = draw_prompt_editor(&mut canvas, panels.prompt, editor);
            }
            Overlay::Token(editor) => {
                layout.cursor = circuits::draw_editor(app, &mut canvas, body, editor);
            }
        }
    }
    status::draw_footer(app, &mut canvas, area);
    layout
}

fn draw_too_small(canvas: &mut Canvas, area: Rect) {
    let text = format!(
        "The terminal is too small: {}x{}, and attnscope needs {}x{}.",
        area.width, area.height, SMALLEST.0, SMALLEST.1
    );
    let lines = wrap(&text, usize::from(area.width));
    let top = usize::from(area.height).saturating_sub(lines.len()) / 2;
    for (row, line) in lines.iter().enumerate() {
        canvas.text(area, 0, top + row, line, Part::Text);
    }
}

/// Where the panels of the Explore screen stand.
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
        let labels = app.session.run.as_ref().map_or(&[][..], |run| &run.labels);
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
        let editing = app.overlays.iter().any(|overlay| matches!(overlay, Overlay::Prompt(_)));
        let zoomed = Some(app.explore.focus).filter(|_| app.explore.zoom && !editing);
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

fn draw_explore(app: &App, info: &ModelInfo, canvas: &mut Canvas, panels: &Panels) {
    let focus = app.explore.focus;
    let shows = |panel| panels.zoomed.is_none_or(|zoomed| zoomed == panel);
    if shows(Focus::Heads) {
        heads::draw(app, info, canvas, panels.heads, focus == Focus::Heads);
    }
    if shows(Focus::Pattern) {
        pattern::draw(app, info, canvas, panels.pattern, focus == Focus::Pattern);
    }
    if shows(Focus::Prompt) {
        draw_prompt(app, canvas, panels.prompt, focus == Focus::Prompt);
    }
    if shows(Focus::Next) {
        next::draw(app, canvas, panels.next, focus == Focus::Next);
    }
    if shows(Focus::Sentence) {
        sentence::draw(app, info, canvas, panels.sentence, focus == Focus::Sentence);
    }
}

/// The prompt, shaded by what the selected head attends to from the query token.
fn draw_prompt(app: &App, canvas: &mut Canvas, rect: Rect, focused: bool) {
    let Some(run) = &app.session.run else {
        canvas.panel(rect, "Prompt …", focused);
        return;
    };
    let query = app.explore.query;
    let last = run.tokens.len().saturating_sub(1);
    let mut title = format!("Prompt · token {query} of 0-{last}");
    if run.tokens.len() > run.prompt {
        title += &format!(" ({} generated)", run.tokens.len() - run.prompt);
    }
    // The last answer still holds where the tokens before its query are the same.
    let answer = app.session.head.as_ref().filter(|answer| {
        let same = answer.run.tokens.iter().zip(run.tokens.iter()).all(|(one, other)| one == other);
        same || app.session.is_current(answer)
    });
    if let Some(answer) = answer {
        let look = answer.value.look;
        let token = answer.run.tokens.get(look.query).map_or(String::new(), quoted);
        title += &format!(" · shaded by what {} attends to in {}", shorten(&token, 16), look.head);
        if look.query != query || look.head != app.explore.head {
            title += " …";
        }
    }
    let inner = canvas.panel(rect, &title, focused);
    let text = Shaded {
        labels: &run.labels,
        weights: answer.map_or(&[], |answer| &answer.value.row),
        from: 0,
        query,
        key: None,
        detailed: false,
    };
    text.draw(canvas, inner, |value| app.scaled(value));
}

fn draw_prompt_editor(
    canvas: &mut Canvas,
    rect: Rect,
    editor: &crate::app::editor::Editor,
) -> Option<(u16, u16)> {
    canvas.clear(rect);
    let inner = canvas.panel(rect, "Prompt · Enter runs it, Esc leaves it as it was", true);
    overlay::draw_editor(canvas, inner, editor)
}
