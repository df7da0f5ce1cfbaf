//! What is known of the snapshot under the cursor, and the list of heads.

use ratatui::layout::Rect;

use crate::{
    analysis::timeline,
    app::App,
    engine::protocol::{Measured, RunView, Source},
    text::clean,
    ui::{
        canvas::{Canvas, scrolled, shorten, wrap},
        theme::Part,
    },
};

/// Draws what is known of the snapshot under the cursor, and what is wrong with the run.
pub fn draw_snapshot(app: &App, run: &RunView, canvas: &mut Canvas, rect: Rect) {
    let training = &app.rooms.training;
    let (Some(at), Some(snapshot)) = (training.at(), training.snapshot()) else {
        canvas.panel(rect, "No snapshots", false);
        return;
    };
    let before = training.comparing.shown && training.before() == Some(snapshot.step);
    let how = match (run.open == Some(at), before) {
        (true, true) => "open, and before",
        (true, false) => "open",
        (false, true) => "before",
        (false, false) => "Enter opens it",
    };
    let title = format!("step {} · {} of {} · {how}", snapshot.step, at + 1, run.snapshots.len());
    let inner = canvas.panel(rect, &title, false);
    let point = training.point(snapshot.step);
    let broken = run.snapshots.iter().filter_map(|one| Some((one.step, one.problem.as_ref()?)));
    let mut lines: Vec<(String, Part)> = Vec::new();
    match (&snapshot.problem, point) {
        (Some(problem), _) => lines.push((format!("left out: {problem}"), Part::Error)),
        (None, Some(point)) => lines.push((values(app, point), Part::Text)),
        (None, None) => lines.push(("not measured yet".to_owned(), Part::Dim)),
    }
    let others: Vec<_> = broken.filter(|(step, _)| *step != snapshot.step).collect();
    if let Some((step, problem)) = others.first() {
        let more = if others.len() > 1 { format!(" and {} more", others.len() - 1) } else { String::new() };
        lines.push((format!("left out: step {step}{more}: {problem}"), Part::Warning));
    }
    lines.extend(run.troubles.iter().map(|trouble| (trouble.clone(), Part::Warning)));
    if run.points.iter().all(|point| point.held_out.is_none()) {
        let command = format!("loss and icl: attnscope timeline {} --text FILE", run.source);
        lines.push((command, Part::Dim));
    }
    let width = usize::from(inner.width).saturating_sub(1);
    let rows = lines.iter().flat_map(|(text, part)| {
        let text = clean(text.as_bytes());
        // What is wrong elsewhere has a line each; under the cursor it is there in full.
        let rows = if *part == Part::Warning { vec![shorten(&text, width)] } else { wrap(&text, width) };
        rows.into_iter().map(move |line| (line, *part))
    });
    let rows: Vec<(String, Part)> = rows.collect();
    let room = usize::from(inner.height);
    for (row, (line, part)) in rows.iter().take(room).enumerate() {
        let cut = row + 1 == room && rows.len() > room;
        let line = if cut {
            format!("{} …", shorten(line.trim_end(), width.saturating_sub(2)))
        } else {
            line.clone()
        };
        canvas.text(inner, 1, row, &line, *part);
    }
}

/// The numbers of a step, as a sentence.
fn values(app: &App, point: &Measured) -> String {
    let (score, head) = (app.rooms.training.score, app.selection.head);
    let mut parts = Vec::new();
    let mine = point.scores.get(head);
    if let Some(value) = mine.and_then(|scores| scores.measured(score)) {
        parts.push(format!("{head} {} {value:.3}", score.name()));
    }
    if let Some(best) = timeline::best(&point.scores, score) {
        parts.push(format!("best {best:.3}"));
    }
    if let Some(loss) = point.held_out {
        parts.push(format!("held-out loss {loss:.3}"));
    }
    if let Some(gain) = point.gain {
        parts.push(format!("repeat gain {gain:.3}"));
    }
    if let Some(icl) = point.icl {
        parts.push(format!("{} {:.3}", icl.name(), icl.score));
    }
    parts.push(if point.source == Source::Here { "measured here" } else { "from the log" }.to_owned());
    parts.join(" · ")
}

/// Draws the heads by what their score is in the end, with the step at which each began; the selected one in sight.
pub fn draw_heads(app: &App, canvas: &mut Canvas, rect: Rect) {
    let training = &app.rooms.training;
    let inner = canvas.panel(rect, "heads, the best in the end", false);
    let rows = usize::from(inner.height).saturating_sub(1);
    let order = training.order();
    canvas.text(inner, 1, 0, "  head  begins at   final", Part::Dim);
    let selected = app.selection.head;
    let at = order.iter().position(|&head| head == selected).unwrap_or(0);
    let first = scrolled(at, order.len(), rows);
    for (row, &head) in order.iter().skip(first).take(rows).enumerate() {
        let curve = training.curve(Some(head));
        let onset = timeline::onset(&curve).map_or_else(|| "-".to_owned(), |step| step.to_string());
        let end = curve.last().map_or_else(|| "-".to_owned(), |point| format!("{:.3}", point.1));
        canvas.text(inner, 1, row + 1, &format!("  {head:<5} {onset:>9}  {end:>6}"), Part::Text);
        if head == selected {
            canvas.text(inner, 1, row + 1, "▸", Part::Mark);
            canvas.tint(inner, row + 1, canvas.theme.style(Part::Selection));
        }
    }
}
