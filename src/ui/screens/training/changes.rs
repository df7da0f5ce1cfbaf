//! Before and after: the prompt coloured by what the stretch of training between two snapshots does to the loss on each
//! token, and the tokens that it changes most.

use std::{fmt::Write as _, sync::Arc};

use ratatui::{layout::Rect, style::Modifier};

use crate::{
    app::{App, label::quoted, session::Answer},
    engine::protocol::{Change, Comparison},
    text::clean,
    ui::{
        canvas::{Canvas, scrolled, shorten, wrap},
        theme::{CHANGES, Part},
        tokens::in_sight,
    },
};

/// Columns from which the legend has words.
const ROOMY: usize = 46;
/// Columns from which the list has the change beside both losses.
const SPACIOUS: u16 = 34;

/// Draws the prompt, and below it the token under the cursor in words and the legend.
pub fn draw_tokens(app: &App, canvas: &mut Canvas, rect: Rect) {
    let comparing = &app.rooms.training.comparing;
    let waiting = if comparing.is_working() { " …" } else { "" };
    let Some(answer) = comparing.comparison() else {
        let inner = canvas.panel(rect, &format!("before and after{waiting}"), false);
        if let Some((_, Err(problem))) = &comparing.answer {
            for (row, line) in wrap(&clean(problem.as_bytes()), usize::from(inner.width)).iter().enumerate() {
                canvas.text(inner, 0, row, line, Part::Error);
            }
        }
        return;
    };
    let Comparison { before, after, changes } = &*answer.value;
    let open = after.map_or_else(|| "the open model".to_owned(), |step| format!("step {step}"));
    let mean = |loss: fn(&Change) -> f32| changes.iter().map(loss).sum::<f32>() / changes.len() as f32;
    let means = match changes.len() {
        0 => String::new(),
        _ => format!(" · mean loss {:.2} -> {:.2} nats", mean(|it| it.before), mean(|it| it.after)),
    };
    let inner = canvas.panel(rect, &format!("step {before} -> {open}{means}{waiting}"), false);
    let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(1), ..inner };
    if changes.is_empty() {
        canvas.text(inner, 0, 0, "nothing predicts the first token, and the prompt has no other", Part::Dim);
        return;
    }
    let order = comparing.order();
    let (cursor, change) = order[comparing.at(&order)];
    let words = if Some(*before) == *after {
        "the open snapshot is the one before: > opens a later one, b marks another".to_owned()
    } else {
        sentence(answer, cursor, change)
    };
    let below = if inner.height > 3 { 2 } else { 1 };
    let text = Rect { height: inner.height.saturating_sub(below), ..inner };
    let top = top(changes);
    for (position, place) in in_sight(&answer.about.labels, cursor, text, false) {
        let change = position.checked_sub(1).and_then(|at| changes.get(at));
        let value = change.map(|change| change.difference() / top);
        let mut style = value.map_or(canvas.theme.style(Part::Dim), |value| canvas.theme.change(value));
        if position == cursor {
            style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
        }
        let end =
            place.column + canvas.put(text, place.column, place.line, &answer.about.labels[position], style);
        // The sign tells what colours alone may not.
        let sign = value.filter(|value| value.abs() * CHANGES as f32 >= 0.5).map(sign);
        canvas.put(text, end, place.line, sign.unwrap_or(" "), style.remove_modifier(Modifier::UNDERLINED));
    }
    let row = usize::from(text.height);
    if below == 2 {
        canvas.text(inner, 0, row, &shorten(&words, usize::from(inner.width)), Part::Text);
    }
    draw_legend(canvas, inner, row + usize::from(below) - 1, top);
}

/// The shades from the strongest change for the better to the strongest for the worse, and the numbers at both ends.
fn draw_legend(canvas: &mut Canvas, rect: Rect, row: usize, top: f32) {
    let roomy = usize::from(rect.width) >= ROOMY;
    let left = if roomy { format!("better -{top} ") } else { format!("-{top} ") };
    let mut x = canvas.text(rect, 0, row, &left, Part::Dim);
    let levels = (1..=CHANGES).map(|level| level as f32 / CHANGES as f32);
    for value in levels.clone().rev().map(|value| -value).chain(levels) {
        x += canvas.put(rect, x, row, sign(value), canvas.theme.change(value));
    }
    let right = if roomy { format!(" +{top} worse, nats") } else { format!(" +{top} nats") };
    canvas.text(rect, x, row, &right, Part::Dim);
}

/// Draws the tokens by how much the loss on them changes; the one under the cursor in sight.
pub fn draw_list(app: &App, canvas: &mut Canvas, rect: Rect) {
    let comparing = &app.rooms.training.comparing;
    let inner = canvas.panel(rect, "loss, the largest changes", false);
    let Some(answer) = comparing.comparison() else { return };
    let order = comparing.order();
    // Where there is little room, both losses have to do.
    let (heads, numbers) = match inner.width >= SPACIOUS {
        true => ("before  after  change", 21),
        false => ("before  after", 13),
    };
    let wide = usize::from(inner.width).saturating_sub(6 + numbers);
    canvas.text(inner, 6, 0, &format!("{:<wide$}{heads}", "token"), Part::Dim);
    let rows = usize::from(inner.height).saturating_sub(1);
    let at = comparing.at(&order);
    let first = scrolled(at, order.len(), rows);
    for (row, &(position, change)) in order.iter().enumerate().skip(first).take(rows) {
        let y = row - first + 1;
        canvas.text(inner, 1, y, &format!("{position:>4}"), Part::Dim);
        let token = answer.about.tokens.get(position).map_or_else(String::new, quoted);
        canvas.text(inner, 6, y, &shorten(&token, wide), Part::Text);
        let mut losses = format!("{:>6.2} {:>6.2}", change.before, change.after);
        if inner.width >= SPACIOUS {
            let _ = write!(losses, " {:>+7.2}", change.difference());
        }
        canvas.text(inner, 6 + wide, y, &losses, Part::Text);
        if row == at {
            canvas.text(inner, 0, y, "▸", Part::Mark);
            canvas.tint(inner, y, canvas.theme.style(Part::Selection));
        }
    }
}

/// A token in words: `" Gig" (8): 7.62 -> 0.52 nats, better by 7.10`.
fn sentence(answer: &Answer<Arc<Comparison>>, position: usize, change: Change) -> String {
    let token = answer.about.tokens.get(position).map_or_else(String::new, quoted);
    let difference = change.difference();
    let which = if difference < 0.0 { "better" } else { "worse" };
    let (before, after) = (change.before, change.after);
    format!("{token} ({position}): {before:.2} -> {after:.2} nats, {which} by {:.2}", difference.abs())
}

/// What stands for the strongest shade: the largest change, rounded up to 1, 2 or 5 times a power of ten.
fn top(changes: &[Change]) -> f32 {
    let sizes = changes.iter().map(|change| change.difference().abs()).filter(|size| size.is_finite());
    let most = sizes.fold(0.0, f32::max);
    let nice = (-2..4).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f32.powi(power)));
    nice.into_iter().find(|&nice| nice >= most).unwrap_or(most)
}

fn sign(value: f32) -> &'static str {
    if value < 0.0 { "-" } else { "+" }
}
