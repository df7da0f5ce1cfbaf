//! What a screen is to those who draw.

use ratatui::layout::Rect;

use super::{canvas::Canvas, theme::Theme};
use crate::{
    app::{App, Layout, editor::Editor},
    engine::protocol::ModelInfo,
};

/// How a room looks.
pub(super) trait View {
    /// Notes sizes that the app needs also while another screen is shown.
    fn measure(_app: &App, _theme: &Theme, _rect: Rect, _layout: &mut Layout) {}

    /// Draws the screen into `rect`, and notes the sizes that it found room for.
    fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, layout: &mut Layout);

    /// Draws the field that it asks for text with; returns where the cursor stands.
    fn draw_field(_app: &App, _canvas: &mut Canvas, _rect: Rect, _line: &Editor) -> Option<(u16, u16)> {
        None
    }

    /// What the engine is at for it, in the title of every screen.
    fn activity(&self) -> Option<String> {
        None
    }
}
