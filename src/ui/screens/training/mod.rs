//! The Training screen: the run that the model is a snapshot of.

mod changes;
mod chart;
mod curves;
mod here;

use ratatui::layout::Rect;

use crate::{
    app::{App, Layout, screens::training::Training},
    engine::protocol::ModelInfo,
    text::clean,
    ui::{
        canvas::{Canvas, wrap},
        theme::Part,
        view::View,
    },
};

/// Columns of the list of heads.
const LIST: u16 = 30;

/// Columns of the list of tokens.
const TOKENS: u16 = 39;

impl View for Training {
    fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, _layout: &mut Layout) {
        draw(app, info, canvas, rect);
    }

    fn activity(&self) -> Option<String> {
        let (done, total) = self.run.as_ref()?.measuring.filter(|_| self.is_measuring())?;
        Some(format!("measuring {done}/{total}"))
    }
}

/// Draws the screen into `rect`: the scores of heads above, losses below them, and what is known of the snapshot under
/// the cursor at the bottom, beside the list of heads; or, in the place of losses and heads, the prompt before and after.
fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect) {
    let Some(run) = &app.rooms.training.run else { return draw_none(info, canvas, rect) };
    let (losses, bottom) = match rect.height {
        34.. => (11, 10),
        20.. => (7, 6),
        _ => (0, 5),
    };
    let scores = rect.height.saturating_sub(losses + bottom);
    let row = |y: u16, height: u16| Rect { y: rect.y + y, height, ..rect }.intersection(rect);
    curves::draw_scores(app, info, run, canvas, row(0, scores));
    let compared = app.rooms.training.comparing.shown;
    let (middle, bottom) = (row(scores, losses), row(scores + losses, bottom));
    let list = if compared { TOKENS } else { LIST }.min(bottom.width / 2);
    let left = Rect { width: bottom.width - list, ..bottom };
    let right = Rect { x: bottom.right() - list, width: list, ..bottom };
    match (compared, losses) {
        (false, 0) => {}
        (false, _) => curves::draw_losses(app, run, canvas, middle),
        // Where there is room for one of them, the prompt takes that of the snapshot under the cursor.
        (true, 0) => changes::draw_tokens(app, canvas, left),
        (true, _) => changes::draw_tokens(app, canvas, middle),
    }
    if !compared || losses > 0 {
        here::draw_snapshot(app, run, canvas, left);
    }
    if compared {
        changes::draw_list(app, canvas, right);
    } else {
        here::draw_heads(app, canvas, right);
    }
}

/// What a run is and how to come by one.
fn draw_none(info: &ModelInfo, canvas: &mut Canvas, rect: Rect) {
    let inner = canvas.panel(rect, "Training", true);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
    let name = clean(info.name.as_bytes());
    let words = format!(
        "{name} is no snapshot of a training run. A run is a folder with snapshots of one model in it, such as step-000100 \
         or checkpoint-500; open the folder or one of them, and this screen follows its heads and losses over the steps, \
         also while the run is still being written."
    );
    let commands = [
        ("attnscope train --text novel.txt --out runs/small", "trains a small model"),
        ("attnscope runs/small", "opens its last snapshot; 5 is this screen"),
        (":open runs/small", "the same from within"),
        ("attnscope timeline runs/small", "prints the table; also of hub revisions"),
    ];
    let mut y = 0;
    for line in wrap(&words, usize::from(inner.width)) {
        canvas.text(inner, 0, y, &line, Part::Text);
        y += 1;
    }
    for (command, meaning) in commands {
        y += 1;
        let wide = usize::from(inner.width) >= 96;
        canvas.text(inner, 2, y, command, Part::Accent);
        if !wide {
            y += 1;
        }
        canvas.text(inner, if wide { 54 } else { 6 }, y, meaning, Part::Dim);
    }
}
