//! The views: pure functions from the state to a buffer of cells.
//!
//! Nothing is remembered here and nothing is asked of the world; the sizes that the state needs go back as a
//! [`Layout`].

mod canvas;
mod color;
mod loading;
mod overlay;
mod screens;
mod status;
pub mod theme;
mod tokens;
mod tour;
mod view;

use ratatui::{buffer::Buffer, layout::Rect};

use self::{
    canvas::{Canvas, wrap},
    theme::{Part, Theme},
};
pub use crate::app::Layout;
use crate::app::{App, Stage, overlay::Overlay};

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
    let body = tour::draw(app, &mut canvas, body, SMALLEST.1 - 2);
    // A list in a panel, below a line of headings.
    layout.page = usize::from(body.height).saturating_sub(3);
    screens::measure(app, theme, body, &mut layout);
    status::draw_title(app, &mut canvas, area);
    match &app.stage {
        Stage::Loading(loading) => loading::draw(app, loading, &mut canvas, body),
        Stage::Fatal(message) => status::draw_fatal(message, &mut canvas, body),
        Stage::Open(info) => screens::draw(app, info, &mut canvas, body, &mut layout),
    }
    for overlay in &app.overlays {
        layout.cursor = None;
        match overlay {
            Overlay::Help(help) => overlay::draw_help(app, help, &mut canvas, body, &mut layout),
            Overlay::Palette(palette) => overlay::draw_palette(app, palette, &mut canvas, body, &mut layout),
            Overlay::Field(field) => layout.cursor = screens::draw_field(app, field, &mut canvas, body),
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
