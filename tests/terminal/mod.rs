//! The real program on a pseudo terminal.
//!
//! Every wait is for something on the screen, or for the end of the process, with a generous deadline.

#![allow(dead_code, clippy::unwrap_used)]

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

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_attnscope");
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What the program has written: as a screen, and byte for byte.
pub struct Output {
    pub screen: vt100::Parser,
    pub bytes: Vec<u8>,
    last: Instant,
}

pub struct Pty {
    pub master: Option<Box<dyn MasterPty + Send>>,
    pub writer: Option<Box<dyn Write + Send>>,
    pub child: Box<dyn Child + Send + Sync>,
    pub output: Arc<Mutex<Output>>,
    /// Makes the reading thread close its side after its next read.
    pub deaf: Arc<AtomicBool>,
    pub modes_before: String,
    _home: TempDir,
}

pub fn cells(count: u16) -> NonZeroU16 {
    NonZeroU16::new(count).unwrap()
}

fn size(width: u16, height: u16) -> PtySize {
    PtySize { cols: width, rows: height, pixel_width: 0, pixel_height: 0 }
}

impl Pty {
    /// Runs a program with `arguments` on a terminal of that size.
    pub fn spawn(
        width: u16,
        height: u16,
        program: &str,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
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
    pub fn explorer(width: u16, height: u16, variables: &[(&str, &str)]) -> Self {
        Self::spawn(width, height, PROGRAM, &[], variables)
    }

    pub fn keys(&mut self, keys: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    pub fn screen(&self) -> String {
        self.output.lock().unwrap().screen.screen().contents()
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.output.lock().unwrap().bytes.clone()
    }

    /// Waits until `done` holds of the screen, and returns it.
    pub fn wait(&self, what: &str, done: impl Fn(&str) -> bool) -> String {
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

    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits until the program has the model and the prompt on the screen.
    pub fn wait_ready(&self) -> String {
        self.wait("the first screen", |screen| screen.contains("attn-2l") && screen.contains("Doctor"))
    }

    /// Waits until nothing has been written for that long.
    pub fn wait_quiet(&self, time: Duration) {
        let start = Instant::now();
        while self.output.lock().unwrap().last.elapsed() < time {
            assert!(start.elapsed() < DEADLINE, "the program never stops writing:\n{}", self.screen());
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn resize(&self, width: u16, height: u16) {
        self.output.lock().unwrap().screen.screen_mut().set_size(cells(height), cells(width));
        self.master.as_ref().unwrap().resize(size(width, height)).unwrap();
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.process_id().unwrap().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    /// Waits for the end of the process and returns its exit code.
    pub fn exit_code(&mut self) -> u32 {
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
    pub fn assert_given_back(&self) {
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
pub fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().unwrap())
}
