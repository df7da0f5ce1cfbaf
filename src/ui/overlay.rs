//! What lies over the screens: the help, the palette, and text being typed.

use ratatui::layout::Rect;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, scrolled, shorten, wrap},
    theme::Part,
};
use crate::{
    app::{
        App, Layout,
        editor::Editor,
        help::HelpLine,
        overlay::{Help, Palette},
    },
    text::clean,
};

/// A rectangle in the middle of `area`, no larger than it.
fn middle(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

/// Draws the help over `area` and reports its page and how far it scrolls.
pub fn draw_help(app: &App, help: &Help, canvas: &mut Canvas, area: Rect, layout: &mut Layout) {
    const KEYS: usize = 18;
    let rect = middle(area, 100, area.height.saturating_sub(2));
    canvas.clear(rect);
    let lines = app.help_lines(help.filter.text());
    let filtering = help.typing || !help.filter.text().is_empty();
    let inner = canvas.panel(rect, "Help · / filters, q closes", true);
    let list = if filtering {
        let line = Rect { height: inner.height.min(1), ..inner };
        let used = canvas.text(line, 0, 0, "/ ", Part::Accent) as u16;
        let field = Rect { x: line.x + used.min(line.width), width: line.width.saturating_sub(used), ..line };
        let cursor = draw_editor(canvas, field, &help.filter);
        layout.cursor = cursor.filter(|_| help.typing);
        Rect { y: inner.y + line.height, height: inner.height - line.height, ..inner }
    } else {
        inner
    };
    let text_width = usize::from(list.width).saturating_sub(KEYS + 3);
    let mut rows: Vec<(String, Part, String)> = Vec::new();
    for line in lines {
        match line {
            HelpLine::Heading(title) => rows.push((title.to_owned(), Part::Title, String::new())),
            HelpLine::Entry(mut keys, text) => {
                for text in wrap(&text, text_width) {
                    rows.push((format!("  {}", std::mem::take(&mut keys)), Part::Key, text));
                }
            }
        }
    }
    layout.page = usize::from(list.height).max(1);
    layout.scroll = rows.len().saturating_sub(layout.page);
    let shown = rows.iter().skip(help.scroll.min(layout.scroll)).take(layout.page);
    for (row, (keys, part, text)) in shown.enumerate() {
        let used = canvas.text(list, 0, row, keys, *part);
        canvas.text(list, used.max(KEYS + 2) + 1, row, text, Part::Text);
    }
    if rows.is_empty() {
        canvas.text(list, 0, 0, "nothing contains this", Part::Dim);
    }
}

/// Draws the palette over `area`.
pub fn draw_palette(app: &App, palette: &Palette, canvas: &mut Canvas, area: Rect, layout: &mut Layout) {
    let choices = app.choices(palette.line.text());
    let rect = middle(area, 96, 18);
    canvas.clear(rect);
    let inner = canvas.panel(rect, "Command · Enter runs, Tab completes, Esc leaves", true);
    let line = Rect { height: inner.height.min(1), ..inner };
    let used = canvas.text(line, 0, 0, ": ", Part::Accent) as u16;
    let field = Rect { x: line.x + used.min(line.width), width: line.width.saturating_sub(used), ..line };
    layout.cursor = draw_editor(canvas, field, &palette.line);
    let list = Rect { y: inner.y + line.height, height: inner.height - line.height, ..inner };
    let (width, height) = (usize::from(list.width), usize::from(list.height));
    let chosen = palette.selected.min(choices.len().saturating_sub(1));
    let first = scrolled(chosen, choices.len(), height);
    for (row, (index, choice)) in choices.iter().enumerate().skip(first).take(height).enumerate() {
        let detail = choice.detail();
        let room = width.saturating_sub(detail.width() + 2);
        canvas.text(list, 2, row, choice.name(), Part::Accent);
        canvas.text(list, 23, row, &shorten(choice.help(), room.saturating_sub(23)), Part::Text);
        canvas.text(list, width.saturating_sub(detail.width() + 1), row, &detail, Part::Key);
        if index == chosen {
            canvas.text(list, 0, row, "▸", Part::Mark);
            canvas.tint(list, row, canvas.theme.style(Part::Selection));
        }
    }
    if choices.is_empty() {
        canvas.text(list, 2, 0, "no such command", Part::Dim);
    }
}

/// Draws text being typed, wrapped, with the cursor in sight; returns where the cursor stands.
pub fn draw_editor(canvas: &mut Canvas, rect: Rect, editor: &Editor) -> Option<(u16, u16)> {
    let (width, height) = (usize::from(rect.width), usize::from(rect.height));
    if width == 0 || height == 0 {
        return None;
    }
    let (before, after) = editor.around();
    let (mut line, mut column, mut cursor) = (0, 0, (0, 0));
    let mut placed: Vec<(usize, usize, String)> = Vec::new();
    let halves = [before, after];
    for (index, half) in halves.iter().enumerate() {
        for grapheme in half.graphemes(true) {
            let shown = shorten(&clean(grapheme.as_bytes()), width);
            if column + shown.width() > width {
                (line, column) = (line + 1, 0);
            }
            placed.push((line, column, shown.clone()));
            column += shown.width();
            if grapheme == "\n" {
                (line, column) = (line + 1, 0);
            }
        }
        if index == 0 {
            if column >= width {
                (line, column) = (line + 1, 0);
            }
            cursor = (line, column);
        }
    }
    let first = scrolled(cursor.0, line.max(cursor.0) + 1, height);
    for (line, column, text) in &placed {
        if let Some(row) = line.checked_sub(first).filter(|&row| row < height) {
            canvas.text(rect, *column, row, text, Part::Text);
        }
    }
    let (x, y) = (rect.x + cursor.1 as u16, rect.y + cursor.0.saturating_sub(first) as u16);
    Some((x, y))
}
