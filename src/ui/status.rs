//! The lines above and below every screen, and the screens without a model.

use ratatui::layout::Rect;
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, shorten, wrap},
    screens,
    theme::Part,
};
use crate::{
    app::{
        App, Stage,
        action::{Action, first_key, followers, hints},
        global,
        screen::Screen,
        table::GLOBAL,
    },
    engine::protocol::{ModelInfo, Progress},
    text::{clean, count},
};

/// Columns below which the title leaves the program's name out.
const NARROW: usize = 100;

/// What leaving does while a model is downloaded.
const KEPT: &str = "stops; what is here is kept";

/// The title line: the model, what the engine is at, the screens.
pub fn draw_title(app: &App, canvas: &mut Canvas, area: Rect) {
    let width = usize::from(area.width);
    // Where there is little room, the model's name is worth more than the program's.
    let mut x = if app.info().is_some() && width < NARROW {
        0
    } else {
        canvas.text(area, 0, 0, "attnscope", Part::Accent) + 2
    };
    let Some(info) = app.info() else {
        canvas.text(
            area,
            x,
            0,
            &shorten(&clean(app.options.title.as_bytes()), width.saturating_sub(x)),
            Part::Title,
        );
        return;
    };
    let activity = activity(app);
    let models = descriptions(app, info);
    let room = width.saturating_sub(x + tabs_width(&tabs(None)));
    let (tabs, room) = match models.iter().any(|model| model.width() < room) {
        true => (tabs(None), room),
        false => {
            let tabs = tabs(Some(app.screen));
            let room = width.saturating_sub(x + tabs_width(&tabs));
            (tabs, room)
        }
    };
    let tabs_width = tabs_width(&tabs);
    let room = room.saturating_sub(activity.width() + 1);
    let [.., shortest] = &models;
    let model = models.iter().find(|model| model.width() <= room).unwrap_or(shortest);
    let model = shorten(model, room);
    x += canvas.text(area, x, 0, &model, Part::Title) + 1;
    canvas.text(area, x, 0, &activity, Part::Warning);
    let mut x = width - tabs_width;
    for (screen, name) in tabs {
        let part = if screen == app.screen { Part::Selection } else { Part::Dim };
        x += canvas.text(area, x, 0, &name, part) + 1;
    }
}

/// The screens, with their keys and names; the name of one `alone` where there is no room for all.
fn tabs(alone: Option<Screen>) -> Vec<(Screen, String)> {
    let label = |screen: Screen| match first_key(Action::Show(screen), GLOBAL) {
        key if alone.is_some_and(|alone| alone != screen) => key,
        key => format!("{key} {}", screen.context().0),
    };
    Screen::ENTRIES.iter().map(|entry| (entry.action, label(entry.action))).collect()
}

fn tabs_width(tabs: &[(Screen, String)]) -> usize {
    tabs.iter().map(|(_, name)| name.width() + 1).sum()
}

/// The model in a line: with its source, without it, and without what it runs on. A snapshot of a run has the run's name and
/// its step.
fn descriptions(app: &App, info: &ModelInfo) -> [String; 3] {
    let name = app.rooms.training.title().unwrap_or_else(|| info.name.clone());
    let [name, source, device, dtype] =
        [&name, &info.source, &info.device, &info.dtype].map(|text| clean(text.as_bytes()));
    let shape = shape(info);
    [
        format!("{name} ({source}) · {shape} · {device} {dtype}"),
        format!("{name} · {shape} · {device} {dtype}"),
        format!("{name} · {shape}"),
    ]
}

/// Its layers and heads.
fn shape(info: &ModelInfo) -> String {
    match info.layers {
        0 => "no layers".to_owned(),
        layers => format!("{} x {}", count(layers, "layer"), count(info.heads, "head")),
    }
}

/// What the engine is at, in brackets.
fn activity(app: &App) -> String {
    let run = match &app.session.progress {
        Some(progress) if app.opening || app.session.is_running() => format!("[{}] ", amount(progress)),
        _ if app.opening => "[opening] ".to_owned(),
        None if app.session.is_running() => "[running] ".to_owned(),
        _ => String::new(),
    };
    run + &screens::activity(app).map_or(String::new(), |activity| format!("[{activity}]"))
}

/// A stage and how far it is: `reading weights 12.5 of 269.0 MB`.
pub fn amount(progress: &Progress) -> String {
    let Progress { stage, done, total, bytes } = progress;
    let mega = |count: u64| count as f64 / 1e6;
    match (bytes, total) {
        (_, 0) => (*stage).to_owned(),
        (true, _) => format!("{stage} {:.1} of {:.1} MB", mega(*done), mega(*total)),
        (false, _) => format!("{stage} {done} of {total}"),
    }
}

/// The screen when the engine cannot go on.
pub fn draw_fatal(message: &str, canvas: &mut Canvas, rect: Rect) {
    let width = usize::from(rect.width).saturating_sub(4).min(72);
    let lines = wrap(&clean(message.as_bytes()), width);
    let inner = centred(rect, width, lines.len() + 2);
    for (row, line) in lines.iter().enumerate() {
        canvas.text(inner, 0, row, line, Part::Error);
    }
    canvas.text(inner, 0, lines.len() + 1, "Any key leaves.", Part::Dim);
}

/// A rectangle in the middle of `rect`, no larger than it.
pub fn centred(rect: Rect, width: usize, height: usize) -> Rect {
    let (width, height) = ((width as u16).min(rect.width), (height as u16).min(rect.height));
    Rect { x: rect.x + (rect.width - width) / 2, y: rect.y + (rect.height - height) / 2, width, height }
}

/// Lines that a message may have at most.
const MESSAGE: usize = 4;

/// The last line of `area`: a message, what may follow the keys pressed, or what can be done here. A message that needs
/// more lines has them from what stands above, until the next key.
pub fn draw_footer(app: &App, canvas: &mut Canvas, area: Rect) {
    let last = |lines: u16| Rect { y: area.bottom() - lines, height: lines, ..area };
    let rect = last(1);
    if let Some(message) = &app.message {
        let part = if message.error { Part::Error } else { Part::Warning };
        let mark = if message.error { "! " } else { "" };
        let text = format!("{mark}{}", clean(message.text.as_bytes()));
        let mut lines = wrap(&text, usize::from(area.width));
        if lines.len() > MESSAGE {
            let rest = lines.split_off(MESSAGE - 1).concat();
            lines.push(shorten(&rest, usize::from(area.width)));
        }
        let rect = last(lines.len() as u16);
        canvas.clear(rect);
        for (row, line) in lines.iter().enumerate() {
            canvas.text(rect, 0, row, line, part);
        }
    } else if !app.pending.is_empty() {
        let keys: String = app.pending.iter().map(|key| key.label()).collect();
        let mut x = canvas.text(rect, 0, 0, &format!("{keys}   "), Part::Mark);
        for binding in followers(app.contexts(), &app.pending) {
            let rest: String = binding.keys[app.pending.len()..].iter().map(|key| key.label()).collect();
            let title = binding.action.entry().map_or("", |entry| entry.title);
            let title = format!(" {title}   ");
            x = canvas.pieces(rect, x, 0, &[(rest, Part::Key), (title, Part::Dim)]);
        }
    } else if !matches!(app.stage, Stage::Fatal(_)) {
        draw_hints(app, canvas, rect);
    }
}

/// The hints that fit, whole, and the way out of a layer or into the help last.
fn draw_hints(app: &App, canvas: &mut Canvas, rect: Rect) {
    let contexts = app.contexts();
    let key = |action| first_key(Action::App(action), GLOBAL);
    let (contexts, last) = match app.overlays.last() {
        Some(_) if !contexts.contains(&GLOBAL) => (contexts, (key(global::Action::Back), " leave")),
        Some(_) => (&contexts[..1], (key(global::Action::Close), " close")),
        None => (contexts, (key(global::Action::Help), " help")),
    };
    let room = usize::from(rect.width).saturating_sub(last.0.width() + last.1.width());
    let mut x = 0;
    for &context in contexts {
        for (actions, title) in hints(context) {
            if !actions.iter().all(|action| action.is_offered(app)) {
                continue;
            }
            let leaves = app.is_downloading() && actions.contains(&Action::App(global::Action::Close));
            let title = if leaves { KEPT } else { title };
            let keys: String = actions.iter().map(|&action| first_key(action, context)).collect();
            let title = format!(" {title}   ");
            if x + keys.width() + title.width() <= room {
                x = canvas.pieces(rect, x, 0, &[(keys, Part::Key), (title, Part::Dim)]);
            }
        }
    }
    canvas.pieces(rect, x, 0, &[(last.0, Part::Key), (last.1.to_owned(), Part::Dim)]);
}
