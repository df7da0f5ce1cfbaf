//! The views of the screens, under the names of their rooms.

use ratatui::layout::Rect;

use super::{canvas::Canvas, theme::Theme, view::View};
use crate::{
    app::{
        App, Layout,
        overlay::Field,
        screen::{Screen, screens},
        screens as rooms,
    },
    engine::protocol::ModelInfo,
};

macro_rules! views {
    ($($module:ident $Room:ident $key:literal $name:literal $help:literal;)*) => {
        $(mod $module;)*

        /// Notes the sizes that the app needs whatever screen is shown.
        pub(super) fn measure(app: &App, theme: &Theme, rect: Rect, layout: &mut Layout) {
            $(<rooms::$module::$Room as View>::measure(app, theme, rect, layout);)*
        }

        /// Draws the screen that is shown.
        pub(super) fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, layout: &mut Layout) {
            match app.screen {
                $(Screen::$Room => <rooms::$module::$Room as View>::draw(app, info, canvas, rect, layout),)*
            }
        }

        /// Draws the field that a screen has put up; returns where the cursor stands.
        pub(super) fn draw_field(app: &App, field: &Field, canvas: &mut Canvas, rect: Rect) -> Option<(u16, u16)> {
            match field.screen {
                $(Screen::$Room => <rooms::$module::$Room as View>::draw_field(app, canvas, rect, &field.line),)*
            }
        }

        /// What the engine is at for the screens, the first of it.
        pub(super) fn activity(app: &App) -> Option<String> {
            None$(.or_else(|| app.rooms.$module.activity()))*
        }
    };
}
screens!(views);
