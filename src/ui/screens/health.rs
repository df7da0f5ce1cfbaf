//! The Health screen: the findings above, and what the one at the cursor means below.

use ratatui::layout::Rect;

use crate::{
    analysis::check::{Finding, Verdict, catalogue, summary, verdict},
    app::{App, Layout, phase::Phase, screens::health::Health},
    engine::protocol::ModelInfo,
    text::line,
    ui::{
        canvas::{Canvas, bar, scrolled, shorten, wrap},
        theme::Part,
        view::View,
    },
};

impl View for Health {
    fn draw(app: &App, _info: &ModelInfo, canvas: &mut Canvas, rect: Rect, layout: &mut Layout) {
        let health = &app.rooms.health;
        let below = match rect.height {
            30.. => 13,
            18.. => 9,
            12.. => 6,
            _ => 0,
        };
        let list = Rect { height: rect.height - below, ..rect };
        layout.page = draw_list(health, canvas, list);
        let below = Rect { y: rect.y + list.height, height: below, ..rect };
        draw_chosen(health, canvas, below);
    }

    fn activity(&self) -> Option<String> {
        match self.phase {
            Phase::Running(done, _) => Some(format!("checking {done}%")),
            _ => None,
        }
    }
}

/// A row for each finding, under a bar while the check goes on; returns how many rows there is room for.
fn draw_list(health: &Health, canvas: &mut Canvas, rect: Rect) -> usize {
    let inner = canvas.panel(rect, &title(health), true);
    let mut rows = inner;
    if let Phase::Running(done, total) = health.phase {
        let room = usize::from(inner.width).saturating_sub(2).min(32);
        let share = done as f32 / total.max(1) as f32;
        canvas.text(inner, 1, 0, &format!("{:<room$}  {}", bar(share, room), health.doing), Part::Bar);
        rows = Rect { y: inner.y + 1, height: inner.height.saturating_sub(1), ..inner };
    }
    let shown: Vec<&Finding> = health.shown().collect();
    let name = shown.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
    let room = usize::from(rows.height);
    let first = scrolled(health.at(), shown.len(), room);
    for (row, (index, finding)) in shown.iter().enumerate().skip(first).take(room).enumerate() {
        let at = index == health.at();
        canvas.text(rows, 0, row, if at { "▸" } else { " " }, Part::Mark);
        canvas.text(rows, 2, row, finding.verdict.name(), part(finding.verdict));
        canvas.text(rows, 8, row, finding.check, Part::Title);
        let x = 8 + name + 2;
        let text = shorten(&finding.told(), usize::from(rows.width).saturating_sub(x));
        canvas.text(rows, x, row, &text, Part::Text);
        if at {
            let marked = Rect { width: (x as u16 - 1).min(rows.width), ..rows };
            canvas.tint(marked, row, canvas.theme.style(Part::Selection));
        }
    }
    room.max(1)
}

/// The finding at the cursor in full: what was found, what is usual, and what the check is.
fn draw_chosen(health: &Health, canvas: &mut Canvas, rect: Rect) {
    let Some(finding) = health.chosen() else { return };
    let inner = canvas.panel(rect, finding.check, false);
    let width = usize::from(inner.width).saturating_sub(2);
    let mut parts = vec![(finding.told(), Part::Text)];
    let value = finding.value.map(|value| format!("value {}, ", number(value)));
    parts.push((format!("{}usual: {}", value.unwrap_or_default(), line(&finding.usual)), Part::Text));
    if let Some(check) = catalogue::find(finding.check) {
        parts.push((check.definition.to_owned(), Part::Dim));
        parts.push((check.threshold.to_owned(), Part::Dim));
        parts.push((format!("Sound models: {}", check.sound), Part::Dim));
    }
    let lines =
        parts.iter().flat_map(|(text, part)| wrap(text, width).into_iter().map(move |line| (line, *part)));
    for (row, (text, part)) in lines.take(usize::from(inner.height)).enumerate() {
        canvas.text(inner, 1, row, &text, part);
    }
}

/// The verdict, or how far the check is, and how many findings there are of each.
fn title(health: &Health) -> String {
    let found = summary(&health.findings);
    match health.phase {
        Phase::None => "Health".to_owned(),
        Phase::Running(done, _) => format!("Health · {done}% · {found}"),
        Phase::Stopped(done, _) => format!("Health · stopped at {done}% · {found}"),
        Phase::Done => {
            let worst = verdict(&health.findings);
            let hidden = health.findings.len() - health.shown().count();
            let hidden = if hidden > 0 { " · v shows all" } else { "" };
            format!("Health · {} · {found}{hidden}", worst.name())
        }
    }
}

fn part(verdict: Verdict) -> Part {
    match verdict {
        Verdict::Fail => Part::Error,
        Verdict::Warn => Part::Warning,
        Verdict::Note => Part::Accent,
        Verdict::Ok => Part::Dim,
    }
}

/// A value with as many digits as tell something.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1000.0.. => format!("{value:.0}"),
        0.01.. => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}
