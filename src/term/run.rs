//! The explorer's loop: wait for a message, take all that wait, let the app update, draw at most once.
//!
//! Nothing is drawn while nothing changed, and nothing wakes the loop while nothing happens: the only timers are the time
//! at which a frame that is due may be drawn and, while the app is busy, the next tick of its progress display.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use crossbeam_channel::{Receiver, at, never, select};

use super::{
    clipboard, input, over_ssh,
    raw::{self, RawTerminal},
    signals::{self, Signal},
};
use crate::{
    app::{App, Effect, Msg, key::Key},
    engine::{Engine, protocol::Event},
    ui::{
        self,
        theme::{LEVELS, Theme},
    },
};

/// Time between frames at a terminal of this machine, and at one behind SSH.
const FRAME_LOCAL: Duration = Duration::from_millis(16);
const FRAME_SSH: Duration = Duration::from_millis(33);
/// Time between ticks while the app is busy.
const TICK: Duration = Duration::from_millis(100);
/// Most messages taken before a frame may be drawn.
const MOST_MESSAGES: usize = 256;

/// What can wake the loop.
enum Wake {
    App(Msg),
    Signal(Signal),
    InputEnded,
    EngineEnded,
    Timer,
}

/// Runs the explorer until it ends, and returns the exit code. `keys` are typed for the user at the start, each when the
/// app has done what the one before asked for.
pub fn run(mut app: App, engine: Engine, theme: Theme, keys: Vec<Key>) -> Result<i32> {
    let signals = signals::watch().context("cannot watch for signals")?;
    let terminal = RawTerminal::open().context("cannot take over the terminal")?;
    let input = input::read().context("cannot start to read the terminal")?;
    let effects = app.start();
    let mut explorer = Loop {
        events: engine.events.clone(),
        app,
        engine,
        theme,
        terminal,
        input,
        signals,
        keys: keys.into(),
        repaint: false,
        frame: if over_ssh() { FRAME_SSH } else { FRAME_LOCAL },
        drawn: None,
        ticked: Instant::now(),
        end: None,
    };
    explorer.perform(effects);
    let code = explorer.turn();
    // The shell's prompt must not wait for the engine, which ends after the layer it is in.
    raw::leave();
    code
}

struct Loop {
    app: App,
    engine: Engine,
    theme: Theme,
    terminal: RawTerminal,
    input: Receiver<Msg>,
    events: Receiver<Event>,
    signals: Receiver<Signal>,
    keys: VecDeque<Key>,
    /// Draw over whatever is on the screen, not only what changed.
    repaint: bool,
    /// Least time between frames.
    frame: Duration,
    drawn: Option<Instant>,
    ticked: Instant,
    /// How the explorer ends, once that is known.
    end: Option<Result<i32>>,
}

impl Loop {
    fn turn(&mut self) -> Result<i32> {
        let mut due = true;
        loop {
            if let Some(end) = self.end.take() {
                return end;
            }
            due |= self.app.take_dirty() || self.repaint;
            let now = Instant::now();
            let may_draw = self.drawn.map_or(now, |drawn| drawn + self.frame);
            if due && raw::active() && may_draw <= now {
                due = false;
                self.draw()?;
                continue;
            }
            let mut wake = self.wait((due && raw::active()).then_some(may_draw));
            for _ in 0..MOST_MESSAGES {
                self.react(wake);
                match self.next_waiting() {
                    Some(next) if self.end.is_none() => wake = next,
                    _ => break,
                }
            }
        }
    }

    /// Waits for a message, until `frame` where a frame is to be drawn then.
    fn wait(&mut self, frame: Option<Instant>) -> Wake {
        if let Some(next) = self.next_waiting() {
            return next;
        }
        let tick = (self.app.busy() && raw::active()).then_some(self.ticked + TICK);
        let timer = frame.into_iter().chain(tick).min().map_or_else(never, at);
        if frame.is_none()
            && !self.app.busy()
            && let Some(key) = self.keys.pop_front()
        {
            return Wake::App(Msg::Key(key));
        }
        select! {
            recv(self.signals) -> signal => signal.map_or(Wake::InputEnded, Wake::Signal),
            recv(self.input) -> message => message.map_or(Wake::InputEnded, Wake::App),
            recv(self.events) -> event => event.map_or(Wake::EngineEnded, |event| Wake::App(Msg::Engine(event))),
            recv(timer) -> _ => Wake::Timer,
        }
    }

    /// A message that waits already: signals first, then what was typed.
    fn next_waiting(&self) -> Option<Wake> {
        if let Ok(signal) = self.signals.try_recv() {
            return Some(Wake::Signal(signal));
        }
        let typed = self.input.try_recv().ok();
        typed.or_else(|| self.events.try_recv().ok().map(Msg::Engine)).map(Wake::App)
    }

    fn react(&mut self, wake: Wake) {
        match wake {
            Wake::App(message) => self.update(message),
            Wake::Signal(Signal::End(code)) => self.end = Some(Ok(code)),
            Wake::Signal(Signal::Stop) => signals::stop(),
            Wake::Signal(Signal::Continue) => {
                raw::leave();
                self.end = self.terminal.enter().err().map(|error| Err(error.into()));
                self.repaint = true;
            }
            Wake::InputEnded => self.end = Some(Err(anyhow!("the terminal can no longer be read"))),
            Wake::EngineEnded => {
                self.events = never();
                let message = "the engine stopped without a word: run the program again".to_owned();
                self.update(Msg::Engine(Event::Fatal { message }));
            }
            Wake::Timer => {
                if self.app.busy() && self.ticked.elapsed() >= TICK {
                    self.ticked = Instant::now();
                    self.update(Msg::Tick);
                }
            }
        }
    }

    fn update(&mut self, message: Msg) {
        let effects = self.app.update(message);
        self.perform(effects);
        if let Some(message) = self.app.fatal() {
            self.end = Some(Err(anyhow!("{message}")));
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(request) => self.engine.send(request),
                Effect::Copy(text) => {
                    if let Err(error) = clipboard::copy(&mut self.terminal, &text) {
                        self.update(Msg::Engine(Event::Failed { message: format!("{error:#}") }));
                    }
                }
                Effect::Suspend => signals::stop(),
                Effect::Repaint => self.repaint = true,
                Effect::Theme(name) => match Theme::load(name) {
                    Ok(theme) => self.theme = theme.at(self.theme.depth(), LEVELS),
                    Err(error) => self.update(Msg::Engine(Event::Failed { message: format!("{error:#}") })),
                },
                Effect::Quit(code) => self.end = Some(Ok(code)),
            }
        }
    }

    fn draw(&mut self) -> Result<()> {
        let (app, theme) = (&self.app, &self.theme);
        let layout = self
            .terminal
            .frame(self.repaint, |frame| {
                let layout = ui::view(app, theme, frame.area(), frame.buffer_mut());
                if let Some(cursor) = layout.cursor {
                    frame.set_cursor_position(cursor);
                }
                layout
            })
            .context("cannot write to the terminal")?;
        self.repaint = false;
        self.drawn = Some(Instant::now());
        let effects = self.app.set_layout(layout);
        self.perform(effects);
        Ok(())
    }
}
