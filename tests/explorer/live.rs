//! The explorer with its real engine behind it, on a screen that is a buffer.

use std::time::Duration;

use attnscope::{
    app::{App, Effect, Msg, Options, key::Key},
    engine::{Engine, open::OpenRequest},
    ui::{
        self,
        theme::{Depth, LEVELS, Theme},
    },
};
use ratatui::{
    buffer::{Buffer, Cell},
    layout::Rect,
};

use crate::waiting::PATIENCE;

/// An engine that is silent for so long has answered everything, where nothing is under way.
const SILENCE: Duration = Duration::from_millis(500);

pub struct Live {
    pub app: App,
    engine: Engine,
    theme: Theme,
    area: Rect,
}

impl Live {
    pub fn new(columns: u16, rows: u16, model: Option<&str>, options: Options) -> Self {
        let request = OpenRequest { model: model.map(str::to_owned), ..OpenRequest::default() };
        let mut live = Self {
            app: App::new(options),
            engine: Engine::spawn(request),
            theme: Theme::load("default-dark").unwrap().at(Depth::Truecolor, LEVELS),
            area: Rect::new(0, 0, columns, rows),
        };
        let effects = live.app.start();
        live.perform(effects);
        live
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Send(request) = effect {
                self.engine.send(request);
            }
        }
    }

    pub fn draw(&mut self) -> Buffer {
        let mut buffer = Buffer::empty(self.area);
        let layout = ui::view(&self.app, &self.theme, self.area, &mut buffer);
        let effects = self.app.set_layout(layout);
        self.perform(effects);
        buffer
    }

    pub fn screen(&mut self) -> String {
        lines(&self.draw()).join("\n")
    }

    /// Presses keys, each followed by a frame.
    pub fn keys(&mut self, keys: &str) {
        for key in Key::sequence(keys).unwrap() {
            let effects = self.app.update(Msg::Key(key));
            self.perform(effects);
            self.draw();
        }
    }

    /// Takes what the engine says until the screen is as `wanted`, and returns it.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            let Ok(event) = self.engine.events.recv_timeout(PATIENCE) else {
                panic!("{what} does not come:\n{screen}");
            };
            let effects = self.app.update(Msg::Engine(event));
            self.perform(effects);
        }
    }

    /// Takes what the engine says until it has nothing more to say.
    pub fn settle(&mut self) {
        loop {
            self.draw();
            match self.engine.events.recv_timeout(SILENCE) {
                Ok(event) => {
                    let effects = self.app.update(Msg::Engine(event));
                    self.perform(effects);
                }
                Err(_) if self.app.busy() => {}
                Err(_) => break,
            }
        }
    }
}

/// The rows of a buffer.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    let width = usize::from(buffer.area.width);
    buffer.content.chunks(width).map(|row| row.iter().map(Cell::symbol).collect()).collect()
}
