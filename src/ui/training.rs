//! The Training screen: the run that the model is a snapshot of.

use ratatui::layout::Rect;

use super::canvas::Canvas;
use crate::{app::App, engine::protocol::ModelInfo};

/// Draws the screen into `rect`.
pub fn draw(_app: &App, _info: &ModelInfo, canvas: &mut Canvas, rect: Rect) {
    canvas.panel(rect, "Training", true);
}
