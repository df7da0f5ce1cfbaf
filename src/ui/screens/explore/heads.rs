//! The grid of heads: layers down, heads to the right, each shaded by a score.

use ratatui::{layout::Rect, style::Modifier};

use crate::{
    analysis::score::{HeadScores, Score},
    app::{
        App,
        label::quoted,
        phase::Phase,
        screens::{explore::Source, rank::Column},
    },
    engine::protocol::ModelInfo,
    head::{Head, PerHead},
    ui::{
        canvas::{Canvas, decimals, plus_minus, scrolled, shorten, wrap},
        theme::Part,
    },
};

/// Columns that the numbers of the layers take.
const GUTTER: usize = 3;

/// The width that the panel would like, in columns with its frame.
pub fn wanted_width(info: &ModelInfo, most: usize) -> usize {
    let fits = |cell: &usize| GUTTER + info.heads * cell + 2 <= most;
    let cell = [4, 3, 2, 1].into_iter().find(fits).unwrap_or(1);
    (GUTTER + info.heads * cell + 2).min(most)
}

/// Draws the grid into `rect`.
pub fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, focused: bool) {
    let selected = app.selection.head;
    let inner = canvas.panel(rect, &title(app), focused);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    if info.layers == 0 {
        canvas.text(inner, 0, 0, "no layers, no heads", Part::Dim);
        return;
    }
    if width <= GUTTER || height < 2 {
        return;
    }
    let cell = ((width - GUTTER) / info.heads.max(1)).clamp(1, 4);
    let (columns, rows) = ((width - GUTTER) / cell, height - 1);
    let first_head = scrolled(selected.head, info.heads, columns);
    let first_layer = scrolled(selected.layer, info.layers, rows);
    let group = (info.heads / info.kv_heads.max(1)).max(1);
    for (column, head) in (first_head..info.heads).take(columns).enumerate() {
        let number = if cell == 1 { (head % 10).to_string() } else { format!("{head:>cell$}") };
        let part = match head {
            head if head == selected.head => Part::Accent,
            head if group > 1 && head / group % 2 == 1 => Part::Text,
            _ => Part::Dim,
        };
        canvas.text(inner, GUTTER + column * cell, 0, &number, part);
    }
    let used = (info.layers + 2).min(height) as u16;
    draw_note(app, canvas, Rect { y: inner.y + used, height: inner.height - used, ..inner });
    let scores = scores(app);
    for (row, layer) in (first_layer..info.layers).take(rows).enumerate() {
        let part = if layer == selected.layer { Part::Accent } else { Part::Dim };
        canvas.text(inner, 0, row + 1, &format!("{layer:>2}"), part);
        for (column, head) in (first_head..info.heads).take(columns).enumerate() {
            let head = Head::new(layer, head);
            let scores = scores.and_then(|scores| scores.get(head));
            let value = scores.and_then(|scores| scores.measured(app.rooms.explore.score));
            let mark = Mark { chosen: head == selected, ablated: app.session.ablated.contains(&head) };
            draw_cell(canvas, inner, (GUTTER + column * cell, row + 1), cell, value, mark);
        }
    }
}

/// Below the grid, where there is room: the chosen head's score, and what the score is.
fn draw_note(app: &App, canvas: &mut Canvas, rect: Rect) {
    let (head, score) = (app.selection.head, app.rooms.explore.score);
    let Some(scores) = scores(app).and_then(|scores| scores.get(head)) else { return };
    let Some(value) = scores.measured(score) else { return };
    let mut note = format!("{head} {} {value:.3}", score.name());
    let definition = match app.rooms.explore.source {
        Source::Ranking => score.definition(),
        Source::Token => "of this token's row alone",
    };
    if app.rooms.explore.source == Source::Ranking {
        let error = app.rooms.rank.ranking.error(head, Column::Score(score));
        note += &error.map_or(String::new(), plus_minus);
        if score == Score::Induction && !scores.chance.is_nan() {
            note += &format!(" (chance {:.3})", scores.chance);
        }
    }
    let width = usize::from(rect.width);
    let note = wrap(&note, width).into_iter().map(|line| (line, Part::Accent));
    let lines: Vec<_> =
        note.chain(wrap(definition, width).into_iter().map(|line| (line, Part::Dim))).collect();
    if lines.len() <= usize::from(rect.height) {
        for (row, (line, part)) in lines.iter().enumerate() {
            canvas.text(rect, 0, row, line, *part);
        }
    }
}

/// What is to be seen of a head apart from its score.
#[derive(Clone, Copy)]
struct Mark {
    chosen: bool,
    ablated: bool,
}

fn draw_cell(
    canvas: &mut Canvas,
    rect: Rect,
    (x, y): (usize, usize),
    cell: usize,
    value: Option<f32>,
    mark: Mark,
) {
    let (glyph, style) = match value {
        Some(value) if canvas.theme.is_graded() => (" ", canvas.theme.over(value)),
        Some(value) => canvas.theme.shade(value),
        None => (" ", canvas.theme.style(Part::Dim)),
    };
    let number = value.map_or(String::new(), decimals);
    let sign = match (mark.chosen, mark.ablated) {
        (_, true) if cell == 1 => "×",
        (true, _) => "▸",
        (false, true) => "×",
        (false, false) if value.is_none() => "·",
        (false, false) => glyph,
    };
    let body = match cell {
        1 => sign.to_owned(),
        2 | 3 if mark.chosen && mark.ablated => format!("▸×{}", glyph.repeat(cell - 2)),
        2 | 3 => format!("{sign}{}", glyph.repeat(cell - 1)),
        _ if mark.chosen && mark.ablated => "▸ × ".to_owned(),
        _ if value.is_some() && canvas.theme.is_graded() => format!("{sign}{number:<3}"),
        _ if number.is_empty() => format!("{sign}{}", glyph.repeat(3)),
        _ => format!("{sign}{number:<3}"),
    };
    let modifier = if mark.chosen { Modifier::BOLD | Modifier::UNDERLINED } else { Modifier::empty() };
    canvas.put(rect, x, y, &body, style.add_modifier(modifier));
}

/// The scores that colour the grid, where there are any.
fn scores(app: &App) -> Option<&PerHead<HeadScores>> {
    match app.rooms.explore.source {
        Source::Ranking => Some(&app.rooms.rank.ranking.scores),
        Source::Token => app.session.at_query.as_ref().map(|answer| &answer.value.scores),
    }
}

/// Which score the grid shows, and where it comes from.
fn title(app: &App) -> String {
    let score = app.rooms.explore.score.name();
    match app.rooms.explore.source {
        Source::Ranking => match app.rooms.rank.ranking.phase {
            Phase::None => format!("Heads · {score}, not ranked"),
            Phase::Running(done, total) if total > 0 => format!("Heads · {score} [ranking {done}/{total}]"),
            Phase::Running(..) => format!("Heads · {score} [ranking]"),
            Phase::Stopped(done, total) => format!("Heads · {score} [stopped {done}/{total}]"),
            Phase::Done => format!("Heads · {score}"),
        },
        Source::Token => {
            let Some(answer) = &app.session.at_query else {
                return format!("Heads · {score} at this token …");
            };
            let query = answer.value.query;
            let token = answer.about.tokens.get(query).map_or(String::new(), quoted);
            let fresh = app.session.is_current(answer) && query == app.selection.query;
            format!("Heads · {score} at {}{}", shorten(&token, 14), if fresh { "" } else { " …" })
        }
    }
}
