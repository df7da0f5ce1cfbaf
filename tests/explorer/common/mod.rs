//! The app with a scripted engine behind it: keys in, effects and screens out, no model and no terminal.

mod circuits;
mod engine;
mod health;

use std::{collections::VecDeque, fmt::Write as _, sync::Arc};

use attnscope::{
    app::{App, Effect, Msg, Options, key::Key},
    engine::protocol::{Event, Look, Progress, Request},
    ui::{
        self,
        theme::{Depth, LEVELS, Theme},
    },
};
pub use engine::{Engine, run};
pub use health::{checked, growing};
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier},
};

/// The app on a screen of some size, with the engine behind it.
pub struct Bench {
    pub app: App,
    pub engine: Engine,
    pub size: (u16, u16),
    pub theme: Theme,
    /// Every request the app has sent.
    pub sent: Vec<Request>,
    /// Every other effect.
    pub effects: Vec<Effect>,
    /// Requests that wait for [`Bench::deliver`], while the engine is slow.
    pub waiting: VecDeque<Request>,
    pub slow: bool,
}

impl Bench {
    /// A model that is still being opened.
    pub fn loading(width: u16, height: u16, engine: Engine) -> Self {
        let options = Options { title: "attn-2l".into(), ..Options::default() };
        let mut bench = Self {
            app: App::new(options),
            engine,
            size: (width, height),
            theme: Theme::default(),
            sent: Vec::new(),
            effects: Vec::new(),
            waiting: VecDeque::new(),
            slow: false,
        };
        let effects = bench.app.start();
        bench.apply(effects);
        bench.draw();
        bench
    }

    /// A model of two layers, opened, with the default prompt run and all heads ranked.
    pub fn new(width: u16, height: u16) -> Self {
        Self::with(width, height, Engine::new(2, 8, true))
    }

    pub fn with(width: u16, height: u16, engine: Engine) -> Self {
        let mut bench = Self::loading(width, height, engine);
        bench.event(Event::Opened(Arc::new(bench.engine.info.clone())));
        bench.draw();
        bench
    }

    /// The same, as the last snapshot of a run with so many.
    pub fn of_run(width: u16, height: u16, snapshots: u64) -> Self {
        let mut bench = Self::new(width, height);
        bench.engine.run = Some(run(snapshots));
        let told = bench.engine.run();
        bench.event(told);
        bench
    }

    pub fn progress(&mut self, done: u64, total: u64) {
        self.event(Event::Progress(Progress { stage: "reading weights", done, total, bytes: true }));
    }

    pub fn event(&mut self, event: Event) {
        let effects = self.app.update(Msg::Engine(event));
        self.apply(effects);
    }

    /// Presses keys, each followed by a frame.
    pub fn keys(&mut self, keys: &str) {
        for key in Key::sequence(keys).unwrap() {
            let effects = self.app.update(Msg::Key(key));
            self.apply(effects);
            self.draw();
        }
    }

    pub fn paste(&mut self, text: &str) {
        let effects = self.app.update(Msg::Paste(text.into()));
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(request) => {
                    self.sent.push(request.clone());
                    self.waiting.push_back(request);
                }
                other => self.effects.push(other),
            }
        }
        if !self.slow {
            self.deliver();
        }
    }

    /// Lets the engine answer everything that waits, and what follows from that.
    pub fn deliver(&mut self) {
        let mut served = 0;
        while let Some(request) = self.waiting.pop_front() {
            served += 1;
            assert!(served < 100, "the app asks without end: {request:?}");
            for event in self.engine.serve(request) {
                let effects = self.app.update(Msg::Engine(event));
                for effect in effects {
                    match effect {
                        Effect::Send(request) => {
                            self.sent.push(request.clone());
                            self.waiting.push_back(request);
                        }
                        other => self.effects.push(other),
                    }
                }
            }
        }
    }

    pub fn last(&self) -> &Request {
        self.sent.last().unwrap()
    }

    /// The last look that was asked for.
    pub fn look(&self) -> Look {
        let look = self.sent.iter().rev().find_map(|request| match request {
            Request::Look { look, .. } => Some(*look),
            _ => None,
        });
        look.unwrap()
    }

    /// Draws frames until the layout is settled.
    pub fn draw(&mut self) -> Buffer {
        let area = Rect::new(0, 0, self.size.0, self.size.1);
        for _ in 0..2 {
            let mut buf = Buffer::empty(area);
            let layout = ui::view(&self.app, &self.theme, area, &mut buf);
            let effects = self.app.set_layout(layout);
            self.apply(effects);
        }
        let mut buf = Buffer::empty(area);
        ui::view(&self.app, &self.theme, area, &mut buf);
        buf
    }

    pub fn at(mut self, depth: Depth) -> Self {
        self.theme = self.theme.at(depth, LEVELS);
        self
    }

    pub fn screen(&mut self) -> String {
        text(&self.draw())
    }

    #[track_caller]
    pub fn shows(&mut self, what: &str) {
        let screen = self.screen();
        assert!(screen.contains(what), "no `{what}` on\n{screen}");
    }

    #[track_caller]
    pub fn hides(&mut self, what: &str) {
        let screen = self.screen();
        assert!(!screen.contains(what), "`{what}` is on\n{screen}");
    }
}

/// The characters of a buffer, a line per row.
pub fn text(buf: &Buffer) -> String {
    let mut text = String::new();
    let width = usize::from(buf.area.width);
    for row in buf.content.chunks(width) {
        let mut line = String::new();
        let mut skip = 0;
        for cell in row {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            line.push_str(cell.symbol());
            skip = unicode_width::UnicodeWidthStr::width(cell.symbol()).saturating_sub(1);
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The characters, then the styles in runs (`a12` is twelve cells of style a), then what the letters mean.
pub fn styled(buf: &Buffer) -> String {
    let mut out = text(buf);
    let mut styles: Vec<(Color, Color, Modifier)> = Vec::new();
    out.push('\n');
    for row in buf.content.chunks(usize::from(buf.area.width)) {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for cell in row {
            let style = (cell.fg, cell.bg, cell.modifier);
            let index = styles.iter().position(|known| *known == style).unwrap_or_else(|| {
                styles.push(style);
                styles.len() - 1
            });
            match runs.last_mut() {
                Some(run) if run.0 == index => run.1 += 1,
                _ => runs.push((index, 1)),
            }
        }
        let line: Vec<String> =
            runs.into_iter().map(|(index, count)| format!("{}{count}", letter(index))).collect();
        let _ = writeln!(out, "{}", line.join(" "));
    }
    for (index, (fg, bg, modifier)) in styles.iter().enumerate() {
        let _ = writeln!(out, "{}: {fg} on {bg} {modifier:?}", letter(index));
    }
    out
}

fn letter(index: usize) -> String {
    let last = char::from(b'a' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { format!("{}{last}", char::from(b'A' + (index / 26 - 1) as u8)) }
}
