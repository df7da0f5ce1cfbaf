//! The screen while a model is being opened: what was said, what is asked, and how far it is.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, bar, shorten, wrap},
    status::{amount, centred},
    theme::Part,
};
use crate::{
    app::{
        App,
        action::{first_key, hints},
        global::QUESTION,
        loading::{Loading, Work},
    },
    engine::protocol::{Download, Progress, Transfer, TransferState},
    text::{self, clean, line, size, tail},
};

/// Widest that the screen's text becomes.
const WIDEST: usize = 100;
/// Columns between two columns.
const GAP: usize = 2;
/// Columns of a file's sizes, `999 MB / 1000 GB`, and of its state.
const SIZES: usize = 16;
const STATE: usize = 8;
/// Columns of a download's figures, `512 MB of 4.1 GB, 999 MB/s, 2 h 10 min left`.
const FIGURES: usize = 44;
/// Rows of files for which the empty rows between sections are given up.
const FEW: usize = 3;

/// A row of the screen: pieces of text and the columns where they begin.
type Row = Vec<(usize, String, Part)>;

/// Draws the screen into `rect`.
pub fn draw(app: &App, loading: &Loading, canvas: &mut Canvas, rect: Rect) {
    let width = usize::from(rect.width).saturating_sub(4).min(WIDEST);
    let sections = sections(app, loading, width, usize::from(rect.height));
    let rows: usize = sections.iter().map(Vec::len).sum();
    let gaps = sections.len() - 1;
    let gap = usize::from(rows + gaps <= usize::from(rect.height));
    let inner = centred(rect, width, rows + gap * gaps);
    let mut y = 0;
    for section in sections {
        for row in &section {
            for (x, text, part) in row {
                canvas.text(inner, *x, y, text, *part);
            }
            y += 1;
        }
        y += gap;
    }
}

/// The title, the notes, the files, and last what matters most; none is empty, and files and notes give way.
fn sections(app: &App, loading: &Loading, width: usize, height: usize) -> Vec<Vec<Row>> {
    let title = format!("Opening {}", clean(app.options.title.as_bytes()));
    let title = vec![vec![(0, shorten(&title, width), Part::Title)]];
    let (download, last) = match (&loading.question, &loading.work) {
        (Some(question), _) => (None, question_rows(question, width)),
        (None, Some(Work::Stage(progress))) => (None, stage_rows(progress, width)),
        (None, Some(Work::Download(download))) => (Some(download), total_rows(download, width)),
        (None, None) => (None, Vec::new()),
    };
    let few = download.map_or(0, |download| download.files.len().min(FEW));
    let room = height.saturating_sub(title.len() + last.len());
    let notes = note_rows(&loading.notes, width, room.saturating_sub(few));
    let room = room - notes.len();
    let gaps = 1 + usize::from(!notes.is_empty()) + usize::from(!last.is_empty());
    let room = if room >= few + gaps { room - gaps } else { room };
    let files = download.map_or_else(Vec::new, |download| file_rows(&download.files, width, room));
    [title, notes, files, last].into_iter().filter(|section| !section.is_empty()).collect()
}

/// The notes in at most `room` rows; the oldest give way, and a last one that is too long is cut.
fn note_rows(notes: &[String], width: usize, room: usize) -> Vec<Row> {
    let mut rows: Vec<String> = Vec::new();
    for note in notes.iter().rev() {
        let lines = wrap(&line(note), width);
        if !rows.is_empty() && rows.len() + lines.len() > room {
            break;
        }
        rows.splice(..0, lines);
    }
    if rows.len() > room {
        let rest = rows.split_off(room.saturating_sub(1)).concat();
        rows.extend((room > 0).then(|| shorten(&rest, width)));
    }
    rows.into_iter().map(|text| vec![(0, text, Part::Text)]).collect()
}

/// What is asked, and the keys that answer it.
fn question_rows(question: &str, width: usize) -> Vec<Row> {
    let lines = wrap(&line(question), width);
    let mut rows: Vec<Row> = lines.into_iter().map(|text| vec![(0, text, Part::Warning)]).collect();
    let mut answers = Row::new();
    let mut x = 0;
    for (actions, title) in hints(QUESTION) {
        for &action in actions {
            let key = first_key(action, QUESTION);
            let title = format!(" {title}   ");
            let (start, after) = (x, x + key.width());
            x = after + title.width();
            answers.extend([(start, key, Part::Key), (after, title, Part::Text)]);
        }
    }
    rows.push(answers);
    rows
}

/// A stage and how far it is.
fn stage_rows(progress: &Progress, width: usize) -> Vec<Row> {
    let mut rows = vec![vec![(0, shorten(&amount(progress), width), Part::Text)]];
    if progress.total > 0 {
        rows.push(bar_at(0, width, progress.done, progress.total).to_vec());
    }
    rows
}

/// A bar on its track.
fn bar_at(x: usize, width: usize, done: u64, total: u64) -> [(usize, String, Part); 2] {
    let filled = bar(done as f32 / total as f32, width);
    [(x, "·".repeat(width), Part::Border), (x, filled, Part::Bar)]
}

/// How far all files are together, and what holds them up; that row is kept for it, so that nothing jumps.
fn total_rows(download: &Download, width: usize) -> Vec<Row> {
    let note = download.note.as_deref().unwrap_or("");
    let note = vec![(0, shorten(&line(note), width), Part::Warning)];
    if download.files.is_empty() {
        return vec![note];
    }
    let (done, total) = (download.done(), download.total());
    let pace = Some(download.pace()).filter(|pace| !pace.is_empty());
    let figures: Vec<String> = [text::amount(done, total)].into_iter().chain(pace).collect();
    let room = width.saturating_sub(FIGURES + GAP);
    let mut row = Row::new();
    let x = if room < 8 {
        0
    } else {
        row.extend(bar_at(0, room, done, total));
        room + GAP
    };
    row.push((x, shorten(&figures.join(", "), width - x), Part::Text));
    vec![row, note]
}

/// The files in at most `room` rows: all of them, or those that something happens to and a row about the others.
fn file_rows(files: &[Transfer], width: usize, room: usize) -> Vec<Row> {
    let names: Vec<String> = files.iter().map(|file| line(&file.name)).collect();
    let columns = Columns::new(names.iter().map(|name| name.width()).max().unwrap_or(0), width);
    let mut order: Vec<(&Transfer, &String)> = files.iter().zip(&names).collect();
    if files.len() <= room {
        return order.into_iter().map(|(file, name)| columns.row(file, name)).collect();
    }
    order.sort_by_key(|(file, _)| match file.state {
        TransferState::Running | TransferState::Checking => 0,
        TransferState::Waiting => 1,
        TransferState::Done => 2,
    });
    let others = order.split_off(room.saturating_sub(1));
    let mut rows: Vec<Row> = order.into_iter().map(|(file, name)| columns.row(file, name)).collect();
    let done = others.iter().filter(|(file, _)| file.state == TransferState::Done).count();
    let rest = match done {
        0 => format!("and {} more", others.len()),
        _ => format!("and {} more, {done} of them done", others.len()),
    };
    rows.extend((room > 0).then(|| vec![(0, shorten(&rest, width), Part::Dim)]));
    rows
}

/// Widths of the columns of the files; 0 where there is no room for one.
struct Columns {
    name: usize,
    bar: usize,
    sizes: usize,
}

impl Columns {
    /// Names take what they need of most of the width and bars the rest; where it is narrow bars go first, then sizes.
    fn new(longest: usize, width: usize) -> Self {
        let sizes = if width < 44 { 0 } else { SIZES };
        let room = width.saturating_sub(STATE + GAP + sizes + if sizes > 0 { GAP } else { 0 });
        if width < 60 {
            return Self { name: room, bar: 0, sizes };
        }
        let name = longest.min(room * 2 / 3);
        Self { name, bar: room - name - GAP, sizes }
    }

    /// The row of a file.
    fn row(&self, file: &Transfer, name: &str) -> Row {
        let mut row = vec![(0, tail(name, self.name), Part::Text)];
        let mut x = self.name + GAP;
        if self.bar > 0 {
            row.extend(bar_at(x, self.bar, file.done, file.total));
            x += self.bar + GAP;
        }
        if self.sizes > 0 {
            let sizes = format!("{} / {}", size(file.done), size(file.total));
            row.push((x, format!("{sizes:>width$}", width = self.sizes), Part::Text));
            x += self.sizes + GAP;
        }
        let (state, part) = state(file);
        row.push((x, format!("{state:<STATE$}"), part));
        row
    }
}

/// What happens to a file: where its bytes come, how many of a hundred are here.
fn state(file: &Transfer) -> (String, Part) {
    match file.state {
        TransferState::Waiting => ("waiting".into(), Part::Dim),
        TransferState::Checking => ("checking".into(), Part::Accent),
        TransferState::Running => {
            let part = file.done as f64 / file.total.max(1) as f64;
            (format!("{:3.0}%", (part * 100.0).floor().min(100.0)), Part::Text)
        }
        TransferState::Done => ("done".into(), Part::Dim),
    }
}
