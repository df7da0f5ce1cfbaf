//! What the tour says, above the screen that it is about.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, wrap},
    theme::Part,
};
use crate::app::{
    App,
    action::{Action, first_key},
    global,
    table::GLOBAL,
    tour::STOPS,
};

/// Draws the stop at the top of `body`, and returns what is left of it, which is `least` rows high where it can be.
pub fn draw(app: &App, canvas: &mut Canvas, body: Rect, least: u16) -> Rect {
    let Some(tour) = app.tour.filter(|_| app.info().is_some()) else { return body };
    let stop = tour.stop();
    let lines = wrap(stop.text, usize::from(body.width));
    // All of the text where the screen below still has its least height, else as much as it leaves.
    let room = usize::from(body.height.saturating_sub(least)).saturating_sub(1);
    let key = |action| first_key(Action::App(action), GLOBAL);
    let title = format!("Tour {} of {} · {}", tour.at + 1, STOPS.len(), stop.title);
    let keys = [
        (global::Action::Tour(1), "next"),
        (global::Action::Tour(-1), "back"),
        (global::Action::Back, "leave"),
    ];
    let mut x = canvas.text(body, 0, 0, &title, Part::Accent) + 3;
    for (action, word) in keys {
        let (key, word) = (key(action), format!(" {word}   "));
        if x + key.width() + word.trim_end().width() <= usize::from(body.width) {
            x = canvas.pieces(body, x, 0, &[(key, Part::Key), (word, Part::Dim)]);
        }
    }
    let whole = lines.len() <= room;
    let shown = if whole { lines.len() } else { room.saturating_sub(1) };
    for (row, line) in lines.iter().take(shown).enumerate() {
        canvas.text(body, 0, 1 + row, line, Part::Text);
    }
    if !whole {
        canvas.text(body, 0, 1 + shown, "… a larger terminal shows what is said here", Part::Dim);
    }
    let used = (1 + shown + usize::from(!whole)) as u16;
    Rect { y: body.y + used, height: body.height - used, ..body }
}
