//! One head's attention: as a matrix (keys run right, queries run down), or as the prompt's text, shaded.

use ratatui::{
    layout::Rect,
    style::{Modifier, Style},
};
use unicode_width::UnicodeWidthStr;

use crate::{
    app::{App, label::quoted, screens::explore::under_cursor, session::Answer},
    engine::protocol::{HeadView, ModelInfo, PatternMap, Pool},
    ui::{
        canvas::{Canvas, decimals, shorten, wrap},
        theme::Part,
        tokens::Shaded,
    },
};

/// Rows of the panel that are no values: key marks above, legend below.
const EXTRA_ROWS: usize = 2;
/// What stands in the place of a pattern in a model without layers.
const NO_LAYERS: &str = "This model has no layers, and so no attention: what it predicts depends on the last token alone. 3 shows \
                         its whole table of which token follows which.";
/// The column of the query mark.
const GUTTER: usize = 1;

type View<'a> = &'a Answer<std::sync::Arc<HeadView>>;

/// How many values, across and down, a panel of this size has room for.
pub fn room(rect: Rect, graded: bool) -> (usize, usize) {
    let columns = usize::from(rect.width).saturating_sub(2 + GUTTER);
    let rows = usize::from(rect.height).saturating_sub(2 + EXTRA_ROWS);
    (columns.max(1), (if graded { 2 * rows } else { rows }).max(1))
}

/// Draws the panel into `rect`.
pub fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, focused: bool) {
    if info.layers == 0 {
        let inner = canvas.panel(rect, "Pattern · none", focused);
        for (row, line) in wrap(NO_LAYERS, usize::from(inner.width)).iter().enumerate() {
            canvas.text(inner, 0, row, line, Part::Text);
        }
        return;
    }
    let inner = canvas.panel(rect, &title(app, info), focused);
    let Some(answer) = &app.session.head else { return };
    if inner.height == 0 {
        return;
    }
    let body = Rect { height: inner.height - 1, ..inner };
    if app.rooms.explore.text {
        draw_text(app, answer, canvas, body);
    } else if !draw_labelled(app, answer, canvas, body) {
        let key = under_cursor(app).map(|(key, _)| key);
        let marks = (answer.value.look.query, key);
        let scale = |value| app.rooms.explore.scaled(value);
        let plain = Rect { y: body.y + 1, height: body.height.saturating_sub(1), ..body };
        let steps = draw_map(canvas, plain, &answer.value.map, scale);
        draw_marks(canvas, body, &answer.value.map, marks, steps);
    }
    let bottom = Rect { y: inner.bottom() - 1, height: 1, ..inner };
    draw_legend(app, answer, canvas, bottom);
}

fn title(app: &App, info: &ModelInfo) -> String {
    let selected = app.selection.head;
    let Some(answer) = &app.session.head else { return format!("Pattern {selected} …") };
    let look = answer.value.look;
    let waiting =
        look.head != selected || look.query != app.selection.query || !app.session.is_current(answer);
    let mut title = match (app.rooms.explore.text, app.rooms.explore.is_attended_by()) {
        (false, _) => format!("Pattern {}", look.head),
        (true, attended_by) => {
            let token = answer.about.tokens.get(look.query).map_or(String::new(), quoted);
            let token = shorten(&token, 16);
            match attended_by {
                true => format!("Text {} · what attends to {token}", look.head),
                false => format!("Text {} · what {token} attends to", look.head),
            }
        }
    };
    if waiting {
        title += &if look.head == selected { " …".to_owned() } else { format!(" -> {selected} …") };
    }
    if app.session.ablated.contains(&look.head) {
        title += " · ablated";
    }
    if let Some(share) = answer.value.sink {
        title += &format!(" · {share:.2} on its sink");
    }
    let (score, ranking) = (app.rooms.explore.score, &app.rooms.rank.ranking);
    if let (Some(scores), Some((place, of))) =
        (ranking.scores.get(look.head), ranking.place(look.head, score))
    {
        title += &format!(" · {} {:.2}, rank {place} of {of}", score.name(), scores.get(score));
    }
    if info.kv_heads < info.heads {
        title += &format!(" · KV head {}", look.head.head * info.kv_heads / info.heads.max(1));
    }
    if let Some(window) = answer.value.window {
        title += &format!(" · window of {window}");
    }
    title
}

fn draw_text(app: &App, answer: View, canvas: &mut Canvas, rect: Rect) {
    let view = &answer.value;
    let (weights, from) = app.rooms.explore.line(view);
    let text = Shaded {
        labels: &answer.about.labels,
        weights,
        from,
        query: view.look.query,
        key: app.selection.key,
        detailed: true,
    };
    text.draw(canvas, rect, |value| app.rooms.explore.scaled(value));
}

/// A matrix small enough for a row of cells per query, with tokens beside them; `false` where it is not.
fn draw_labelled(app: &App, answer: View, canvas: &mut Canvas, rect: Rect) -> bool {
    let view = &answer.value;
    let side = view.map.side;
    if view.map.pooled != 1 || side == 0 || side + 1 > usize::from(rect.height) {
        return false;
    }
    let names: Vec<String> = answer.about.labels.iter().map(|label| shorten(label, 12)).collect();
    let name_width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let number_width = (side - 1).to_string().len();
    let left = GUTTER + name_width + 1 + number_width + 1;
    let cell = (usize::from(rect.width).saturating_sub(left) / side).min(6);
    if cell < 2 {
        return false;
    }
    let key = under_cursor(app).map(|(key, _)| key);
    for (position, name) in names.iter().enumerate().take(side) {
        let is_query = position == view.look.query;
        let head = format!("{:>cell$}", position % 10_usize.pow(cell as u32 - 1));
        let head_part = if key == Some(position) { Part::Mark } else { Part::Dim };
        canvas.text(rect, left + position * cell, 0, &head, head_part);
        let name_part = if is_query { Part::Query } else { Part::Text };
        if is_query {
            canvas.text(rect, 0, position + 1, "▸", Part::Mark);
        }
        let used = canvas.text(rect, GUTTER, position + 1, name, name_part);
        let number = format!("{position:>number_width$}");
        canvas.text(rect, GUTTER + used.max(name_width) + 1, position + 1, &number, Part::Dim);
        for to in 0..=position {
            let value = view.map.values.get(position * side + to).copied().unwrap_or(0.0);
            let (text, style) = numbered(canvas, value, app.rooms.explore.scaled(value), cell);
            let chosen = is_query && key == Some(to);
            let modifier = if chosen { Modifier::BOLD | Modifier::UNDERLINED } else { Modifier::empty() };
            canvas.put(rect, left + to * cell, position + 1, &text, style.add_modifier(modifier));
        }
    }
    true
}

/// A cell `width` columns wide with its value in digits, where there is room for them.
fn numbered(canvas: &Canvas, value: f32, shade: f32, width: usize) -> (String, Style) {
    let digits = if width >= 4 { decimals(value) } else { String::new() };
    if canvas.theme.is_graded() {
        return (format!("{digits:^width$}"), canvas.theme.over(shade));
    }
    let (glyph, style) = canvas.theme.shade(shade);
    (glyph.repeat(width - digits.len()) + &digits, style)
}

/// Columns and half-rows (or rows) that one value of the map takes.
type Steps = (usize, usize);

/// Draws the map one column to the right of the left edge, as large as it fits; returns the steps of its values.
fn draw_map(canvas: &mut Canvas, rect: Rect, map: &PatternMap, scale: impl Fn(f32) -> f32) -> Steps {
    let rect = Rect { x: rect.x + GUTTER as u16, width: rect.width.saturating_sub(GUTTER as u16), ..rect };
    let (columns, rows) = (usize::from(rect.width), usize::from(rect.height));
    let side = map.side.max(1);
    // Above the diagonal there is nothing to attend to.
    let value = |query: usize, key: usize| {
        (key <= query && query < map.side)
            .then(|| scale(map.values.get(query * side + key).copied().unwrap_or(0.0)))
    };
    if canvas.theme.is_graded() {
        let down = (2 * rows / side).max(1);
        let across = (columns / side).min(2 * down).max(1);
        for row in 0..rows.min((side * down).div_ceil(2)) {
            for column in 0..columns.min(side * across) {
                let key = column / across;
                let [upper, lower] = [2 * row, 2 * row + 1]
                    .map(|half| value(half / down, key).and_then(|value| canvas.theme.heat(value)));
                let (glyph, style) = match (upper, lower) {
                    (Some(upper), Some(lower)) if upper == lower => (" ", Style::new().bg(upper)),
                    (Some(upper), Some(lower)) => ("▀", Style::new().fg(upper).bg(lower)),
                    (Some(upper), None) => ("▀", Style::new().fg(upper)),
                    (None, Some(lower)) => ("▄", Style::new().fg(lower)),
                    (None, None) => continue,
                };
                canvas.put(rect, column, row, glyph, style);
            }
        }
        return (across, down);
    }
    let down = (rows / side).max(1);
    let across = (columns / side).min(2 * down).max(1);
    for row in 0..rows.min(side * down) {
        for column in 0..columns.min(side * across) {
            if let Some(value) = value(row / down, column / across) {
                let (glyph, style) = canvas.theme.shade(value);
                canvas.put(rect, column, row, glyph, style);
            }
        }
    }
    (across, 2 * down)
}

/// Marks the query's row in the gutter and the key's column in the line above the map.
fn draw_marks(
    canvas: &mut Canvas,
    rect: Rect,
    map: &PatternMap,
    (query, key): (usize, Option<usize>),
    (across, down): Steps,
) {
    let pooled = map.pooled.max(1);
    canvas.text(rect, 0, 1 + (query / pooled * down + down / 2) / 2, "▸", Part::Mark);
    if let Some(key) = key {
        canvas.text(rect, GUTTER + key / pooled * across + across / 2, 0, "▾", Part::Mark);
    }
}

/// The value under the cursor, and how the map is to be read; the first wording that fits.
fn draw_legend(app: &App, answer: View, canvas: &mut Canvas, rect: Rect) {
    const STEPS: usize = 8;
    let width = usize::from(rect.width);
    let (map, look) = (&answer.value.map, answer.value.look);
    let word = |position: usize| {
        let token = answer.about.tokens.get(position).map_or(String::new(), quoted);
        format!("{} {position}", shorten(&token, 14))
    };
    let (mut long, mut short, mut number) = Default::default();
    if let Some((at, value)) = under_cursor(app) {
        let (query, key) =
            if app.rooms.explore.is_attended_by() { (at, look.query) } else { (look.query, at) };
        long = format!("{} -> {} ", word(query), word(key));
        short = format!("A[{query}, {key}] ");
        number = format!("{value:.4}");
    }
    let pool = match (app.rooms.explore.text, map.pooled, look.pool) {
        (true, ..) => String::new(),
        (_, 0 | 1, _) => "1 cell = 1 token".to_owned(),
        (_, pooled, Pool::Max) => format!("1 cell = {pooled}x{pooled} tokens, max"),
        (_, pooled, Pool::Mean) => format!("1 cell = {pooled}x{pooled} tokens, mean"),
    };
    let scale = if app.rooms.explore.sqrt { " √" } else { "" };
    let ramp = scale.width() + STEPS + 5;
    // What a pooled cell stands for is said before all else but the value.
    let pairs: [(&String, usize); 4] = [(&long, ramp), (&long, 0), (&short, ramp), (&short, 0)];
    let taken = |left: &str, ramp: usize| left.width() + number.len() + 2 + pool.width() + ramp;
    let Some((left, ramp)) = pairs.into_iter().find(|pair| taken(pair.0, pair.1) <= width) else {
        canvas.text(rect, 0, 0, &number, Part::Mark);
        return;
    };
    let used = canvas.text(rect, 0, 0, left, Part::Dim);
    canvas.text(rect, used, 0, &number, Part::Mark);
    let mut x = width - ramp - pool.width();
    x += canvas.text(rect, x, 0, &pool, Part::Dim);
    if ramp > 0 {
        x += canvas.text(rect, x, 0, &format!("{scale} 0 "), Part::Dim);
        for step in 0..STEPS {
            let (glyph, style) =
                canvas.theme.shade(app.rooms.explore.scaled(step as f32 / (STEPS - 1) as f32));
            x += canvas.put(rect, x, 0, glyph, style);
        }
        canvas.text(rect, x, 0, " 1", Part::Dim);
    }
}
