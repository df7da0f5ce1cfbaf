//! The real program on a pseudo terminal: what it paints, what it leaves behind, and that it ends when it should.
//!
//! Every wait is for something on the screen, or for the end of the process, with a generous deadline.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    num::NonZeroU16,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_attnscope");
const DEADLINE: Duration = Duration::from_secs(60);

/// What the program has written: as a screen, and byte for byte.
struct Output {
    screen: vt100::Parser,
    bytes: Vec<u8>,
    last: Instant,
}

struct Pty {
    master: Option<Box<dyn MasterPty + Send>>,
    writer: Option<Box<dyn Write + Send>>,
    child: Box<dyn Child + Send + Sync>,
    output: Arc<Mutex<Output>>,
    /// Makes the reading thread close its side after its next read.
    deaf: Arc<AtomicBool>,
    modes_before: String,
    _home: TempDir,
}

fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn size(width: u16, height: u16) -> PtySize {
    PtySize { cols: width, rows: height, pixel_width: 0, pixel_height: 0 }
}

impl Pty {
    /// Runs a program with `arguments` on a terminal of that size.
    fn spawn(width: u16, height: u16, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let pair = native_pty_system().openpty(size(width, height)).unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        for name in ["NO_COLOR", "COLORTERM", "TMUX", "SSH_CONNECTION", "SSH_TTY", "XDG_STATE_HOME", "ENV"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color");
        command.env("HOME", home.path());
        for (name, value) in variables {
            command.env(name, value);
        }
        let modes_before = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        let mut reader = pair.master.try_clone_reader().unwrap();
        let output = Arc::new(Mutex::new(Output {
            screen: vt100::Parser::new(cells(height), cells(width), 0),
            bytes: Vec::new(),
            last: Instant::now(),
        }));
        let deaf = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&output), Arc::clone(&deaf));
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(count) = reader.read(&mut buffer) {
                if count == 0 || stop.load(Ordering::SeqCst) {
                    break;
                }
                let mut output = shared.lock().unwrap();
                output.screen.process(&buffer[..count]);
                output.bytes.extend_from_slice(&buffer[..count]);
                output.last = Instant::now();
            }
        });
        let writer = Some(pair.master.take_writer().unwrap());
        Self { master: Some(pair.master), writer, child, output, deaf, modes_before, _home: home }
    }

    /// The explorer on its own model.
    fn explorer(width: u16, height: u16, variables: &[(&str, &str)]) -> Self {
        Self::spawn(width, height, PROGRAM, &[], variables)
    }

    fn keys(&mut self, keys: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    fn screen(&self) -> String {
        self.output.lock().unwrap().screen.screen().contents()
    }

    fn bytes(&self) -> Vec<u8> {
        self.output.lock().unwrap().bytes.clone()
    }

    /// Waits until `done` holds of the screen, and returns it.
    fn wait(&self, what: &str, done: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let screen = self.screen();
            if done(&screen) {
                return screen;
            }
            assert!(start.elapsed() < DEADLINE, "waited for {what}, and the screen is\n{screen}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until the program has the model and the prompt on the screen.
    fn wait_ready(&self) -> String {
        self.wait("the first screen", |screen| screen.contains("attn-2l") && screen.contains("Doctor"))
    }

    /// Waits until nothing has been written for that long.
    fn wait_quiet(&self, time: Duration) {
        let start = Instant::now();
        while self.output.lock().unwrap().last.elapsed() < time {
            assert!(start.elapsed() < DEADLINE, "the program never stops writing:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn resize(&self, width: u16, height: u16) {
        self.output.lock().unwrap().screen.screen_mut().set_size(cells(height), cells(width));
        self.master.as_ref().unwrap().resize(size(width, height)).unwrap();
    }

    fn signal(&self, name: &str) {
        let id = self.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process and returns its exit code.
    fn exit_code(&mut self) -> u32 {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            assert!(start.elapsed() < DEADLINE, "the program does not end:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asserts that the terminal is as it was before the program, once the rest of the output has been read.
    fn assert_given_back(&self) {
        self.wait_quiet(Duration::from_millis(100));
        assert_eq!(modes(&**self.master.as_ref().unwrap()), self.modes_before);
        let output = self.output.lock().unwrap();
        let screen = output.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert!(screen.bgcolor() == vt100::Color::Default && !screen.inverse());
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// Raw or cooked: the modes of the terminal, as text.
fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}

/// The parameters of every SGR sequence in the bytes.
fn colours(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let sequences = text.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    sequences.collect()
}

#[test]
fn it_paints_helps_and_quits() {
    let mut pty = Pty::explorer(120, 40, &[]);
    let first = pty.wait_ready();
    assert!(pty.output.lock().unwrap().screen.screen().alternate_screen());
    assert_ne!(modes(&**pty.master.as_ref().unwrap()), pty.modes_before);
    pty.keys("?");
    pty.wait("the help", |screen| screen != first && screen.to_lowercase().contains("help"));
    pty.keys("q");
    pty.wait_ready();
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
    assert!(pty.bytes().ends_with(b"\x1b[?1049l"));
}

#[test]
fn steps_and_heads_change_the_screen() {
    let mut pty = Pty::explorer(120, 40, &[]);
    pty.wait_ready();
    for keys in ["\x1b[D", "\x1b[C", "\x1b[B", "\x1b[A", "]i"] {
        pty.wait_quiet(Duration::from_millis(300));
        let before = pty.screen();
        pty.keys(keys);
        pty.wait(&format!("{keys:?} to change something"), |screen| screen != before);
    }
    pty.keys("2");
    pty.wait("the ranking", |screen| screen.contains("induction") && screen.contains("previous"));
    pty.keys("Q");
    assert_eq!(pty.exit_code(), 0);
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let mut pty = Pty::explorer(80, 24, &[]);
    pty.wait_ready();
    for (width, height) in [(40, 10), (1, 1), (160, 50), (80, 24)] {
        pty.wait_quiet(Duration::from_millis(300));
        let seen = pty.bytes().len();
        pty.resize(width, height);
        pty.wait("a frame of the new size", |_| pty.bytes().len() > seen);
    }
    pty.wait_ready();
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
}

#[test]
fn signals_give_the_terminal_back() {
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let mut pty = Pty::explorer(80, 24, &[]);
        pty.wait_ready();
        pty.signal(name);
        assert_eq!(pty.exit_code(), code, "{name}");
        pty.assert_given_back();
    }
}

#[test]
fn it_stops_and_comes_back() {
    let mut pty = Pty::spawn(80, 24, "sh", &["-i"], &[("PS1", "ready> ")]);
    pty.wait_for("ready>");
    pty.keys(&format!("'{PROGRAM}'\n"));
    let shown = |pty: &Pty| pty.output.lock().unwrap().screen.screen().alternate_screen();
    for _ in 0..2 {
        pty.wait_ready();
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("\x1a");
        pty.wait("the shell", |screen| !shown(&pty) && screen.trim_end().ends_with("ready>"));
        assert!(pty.screen().contains("topped"), "{}", pty.screen());
        pty.keys("fg\n");
        pty.wait("the explorer again", |_| shown(&pty));
    }
    pty.wait_ready();
    pty.keys("q");
    pty.wait("the shell at the end", |screen| !shown(&pty) && screen.trim_end().ends_with("ready>"));
    pty.keys("echo code=$?\n");
    pty.wait_for("code=0");
}

#[test]
fn no_color_means_none() {
    for variables in [&[("NO_COLOR", "1")][..], &[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]] {
        let mut pty = Pty::explorer(120, 40, variables);
        pty.wait_ready();
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("?");
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("Q");
        pty.exit_code();
        let used = colours(&pty.bytes());
        let coloured = |sgr: &String| sgr.contains("38;") || sgr.contains("48;") || sgr.is_empty();
        assert!(!used.iter().any(coloured), "{used:?}");
    }
    let mut pty = Pty::explorer(120, 40, &[("COLORTERM", "truecolor")]);
    pty.wait_ready();
    pty.keys("Q");
    pty.exit_code();
    assert!(colours(&pty.bytes()).iter().any(|sgr| sgr.contains("38;2") || sgr.contains("48;2")));
}

#[test]
fn a_dumb_terminal_is_refused() {
    let mut pty = Pty::explorer(80, 24, &[("TERM", "dumb")]);
    assert_eq!(pty.exit_code(), 2);
    let screen = pty.wait_for("attnscope show");
    assert!(screen.contains("attnscope rank"), "{screen}");
    assert!(!pty.bytes().contains(&0x1b));
}

#[test]
fn a_model_that_cannot_be_opened_is_named_after_the_screen() {
    let mut pty = Pty::spawn(80, 24, PROGRAM, &["./no-such-model"], &[]);
    assert_eq!(pty.exit_code(), 2);
    pty.assert_given_back();
    let screen = pty.wait_for("attnscope: ");
    assert!(screen.contains("no-such-model"), "{screen}");
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut pty = Pty::explorer(80, 24, &[]);
    pty.wait_ready();
    pty.wait_quiet(Duration::from_millis(300));
    pty.deaf.store(true, Ordering::SeqCst);
    pty.keys("?"); // wakes the reading thread, which then lets go
    thread::sleep(Duration::from_millis(200));
    drop(pty.writer.take());
    drop(pty.master.take());
    assert_ne!(pty.exit_code(), 0);
}

#[test]
fn it_is_silent_and_asleep_when_nothing_happens() {
    let pty = Pty::explorer(120, 40, &[]);
    pty.wait_ready();
    pty.wait_quiet(Duration::from_millis(1000));
    let (bytes, wakeups) = (pty.bytes().len(), wakeups(&pty));
    thread::sleep(Duration::from_millis(1000));
    assert_eq!(pty.bytes().len(), bytes);
    assert_eq!(self::wakeups(&pty), wakeups);
}

/// How often the thread that draws has gone to sleep; the same number twice means that it slept in between.
fn wakeups(pty: &Pty) -> Option<String> {
    let id = pty.child.process_id()?;
    let status = std::fs::read_to_string(format!("/proc/{id}/task/{id}/status")).ok()?;
    status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned)
}
