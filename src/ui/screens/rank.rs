//! The Rank screen: every head and every score, sorted by one of them.

use ratatui::layout::Rect;

use crate::{
    app::{
        App, Layout,
        phase::Phase,
        screens::rank::{Column, Rank},
    },
    engine::protocol::ModelInfo,
    ui::{
        canvas::{Canvas, bar, plus_minus, scrolled},
        theme::Part,
        view::View,
    },
};

/// Columns that a standard error takes behind its score.
const ERROR: usize = 5;

impl View for Rank {
    fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect, _layout: &mut Layout) {
        draw(app, info, canvas, rect);
    }

    fn activity(&self) -> Option<String> {
        match self.ranking.phase {
            Phase::Running(done, total) if total > 0 => Some(format!("ranking {done}/{total}")),
            Phase::Running(..) => Some("ranking".to_owned()),
            _ => None,
        }
    }
}

/// Draws the screen into `rect`.
fn draw(app: &App, info: &ModelInfo, canvas: &mut Canvas, rect: Rect) {
    let rank = &app.rooms.rank;
    let ranking = &rank.ranking;
    let inner = canvas.panel(rect, &title(rank, info), true);
    let rows = usize::from(inner.height).saturating_sub(1);
    let order = rank.order();
    if order.is_empty() {
        let line = match ranking.phase.is_running() {
            true => "measuring the first sequence",
            false if info.layers == 0 => "a model without layers has no heads to rank",
            false => "not ranked yet: r starts it",
        };
        canvas.text(inner, 1, 1, line, Part::Dim);
    }
    let ranks = |head| match rank.sort {
        Column::Score(score) if !rank.reverse => ranking.ranks(head, score),
        _ => None,
    };
    let has_errors = order.iter().any(|&head| ranking.error(head, rank.sort).is_some());
    // Room for two of the largest numbers of a range, and for the mark of an ablated head.
    let number = if has_errors { (2 * order.len().to_string().len() + 1).max(4) } else { 4 };
    let columns =
        columns(rank.sort, number + 1, if has_errors { ERROR } else { 0 }, usize::from(inner.width));
    // Heads begin with the first, scores with the largest.
    let arrow = if rank.reverse == (rank.sort == Column::Head) { "▾" } else { "▴" };
    for &(column, x, width) in &columns {
        let sorted = column == rank.sort;
        let name = format!("{}{}", column.name(), if sorted { arrow } else { " " });
        canvas.text(inner, x, 0, &format!("{name:>width$}"), if sorted { Part::Accent } else { Part::Dim });
    }
    let at = order.iter().position(|&head| head == rank.cursor).unwrap_or(0);
    let end = columns.iter().map(|column| column.1 + column.2).max().unwrap_or(0);
    let first = scrolled(at, order.len(), rows);
    for (row, (index, &head)) in order.iter().enumerate().skip(first).take(rows).enumerate() {
        let y = row + 1;
        let Some(scores) = ranking.scores.get(head) else { continue };
        let ablated = if app.session.ablated.contains(&head) { "×" } else { " " };
        let place = ranks(head).map_or_else(|| (index + 1).to_string(), |ranks| ranks.to_string());
        canvas.text(inner, 0, y, &format!("{place:>number$}{ablated}"), Part::Dim);
        for &(column, x, width) in &columns {
            let sorted = column == rank.sort;
            match column.value(scores) {
                None if column == Column::Head => {
                    canvas.text(inner, x, y, &format!("{head:>width$} ", width = width - 1), Part::Title)
                }
                None => canvas.text(inner, x, y, &format!("{:>width$}", "-", width = width - 1), Part::Dim),
                Some(value) if sorted => {
                    let text = format!("{value:.3}");
                    let error = ranking.error(head, column).map_or(String::new(), plus_minus);
                    let end = x + width - 1 - if has_errors { ERROR } else { 0 };
                    canvas.text(inner, end, y, &error, Part::Dim);
                    canvas.put(inner, end - text.len(), y, &text, canvas.theme.over(value))
                }
                Some(value) => {
                    canvas.text(inner, x, y, &format!("{value:>width$.3}", width = width - 1), Part::Text)
                }
            };
        }
        if let Some(value) = rank.sort.value(scores) {
            let room = usize::from(inner.width).saturating_sub(end + 1).min(40);
            let room = if room < 8 { 0 } else { room };
            canvas.text(inner, end + 1, y, &bar(value, room), Part::Bar);
        }
        if index == at {
            canvas.text(inner, 0, y, "▸", Part::Mark);
            canvas.tint(
                Rect { width: number as u16 + 8, ..inner }.intersection(inner),
                y,
                canvas.theme.style(Part::Selection),
            );
        }
    }
}

/// The columns that fit from `x` on, with where they begin and how wide they are; the one sorted by always does, and has room
/// for `error` more columns.
fn columns(sort: Column, mut x: usize, error: usize, width: usize) -> Vec<(Column, usize, usize)> {
    let wide = |column: Column| {
        let number = 5 + if column == sort { error } else { 0 };
        column.name().len().max(number) + 2
    };
    let mut shown: Vec<Column> = Column::all().collect();
    while x + shown.iter().copied().map(wide).sum::<usize>() > width {
        let Some(last) = shown.iter().rposition(|&column| column != sort && column != Column::Head) else {
            break;
        };
        shown.remove(last);
    }
    let place = |column| {
        let start = x;
        x += wide(column);
        (column, start, wide(column))
    };
    shown.into_iter().map(place).collect()
}

fn title(rank: &Rank, info: &ModelInfo) -> String {
    let settings = rank.ranking.settings;
    let how = format!(
        "{} heads by {} on {} x [{} tokens, twice], seed {}",
        info.layers * info.heads,
        rank.sort.name(),
        settings.batch,
        settings.length,
        settings.seed
    );
    match rank.ranking.phase {
        Phase::Running(done, total) if total > 0 => format!("{how} [ranking {done}/{total}]"),
        Phase::Running(..) => format!("{how} [ranking]"),
        Phase::Stopped(done, total) => format!("{how} [stopped {done}/{total}]"),
        Phase::None => "Heads, not ranked".to_owned(),
        Phase::Done => how,
    }
}
