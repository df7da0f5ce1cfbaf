//! The terminal: the only code that reads keys from it or puts bytes on it while the explorer runs.
//!
//! [`raw`] owns the modes of the terminal and sends whole frames, [`input`] turns what is typed into keys,
//! [`signals`] hears of signals and of a terminal that went away, [`color`] decides how many colours there are,
//! [`clipboard`] copies text, and [`run`] is the loop that ties them to the app and the engine.

pub mod clipboard;
pub mod color;
pub mod input;
pub mod raw;
pub mod run;
pub mod signals;

/// The value of an environment variable; `None` where it is unset, empty or not text.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the terminal is at the far end of an SSH connection.
pub fn over_ssh() -> bool {
    env("SSH_CONNECTION").or_else(|| env("SSH_TTY")).is_some()
}

/// Columns and rows of the terminal.
pub fn size() -> Option<(u16, u16)> {
    crossterm::terminal::size().ok()
}
