//! Copying text to the clipboard of the terminal that the user sits at, which may be several hops away.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use crossterm::{Command as _, clipboard::CopyToClipboard};

use super::{env, raw::RawTerminal};

/// Longest text that is copied, in bytes: terminals drop a longer escape sequence, or hang on it.
const MOST: usize = 100_000;

/// Copies `text`: through tmux where we are inside it, since tmux drops a program's own OSC 52 by default, else by OSC 52.
pub fn copy(terminal: &mut RawTerminal, text: &str) -> Result<()> {
    ensure!(
        text.len() <= MOST,
        "the text of {} KB is too long to copy, {} KB at most: choose a smaller part of it",
        text.len() / 1000,
        MOST / 1000
    );
    if env("TMUX").is_some() && through_tmux(text).is_ok() {
        return Ok(());
    }
    let mut sequence = String::new();
    CopyToClipboard::to_clipboard_from(text).write_ansi(&mut sequence)?;
    Ok(terminal.send(sequence.as_bytes())?)
}

/// Gives the text to tmux, which keeps it as a buffer and passes it on to the outer terminal.
fn through_tmux(text: &str) -> Result<()> {
    let mut child = Command::new("tmux")
        .args(["load-buffer", "-w", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(text.as_bytes()));
    let status = child.wait()?;
    ensure!(written.is_ok() && status.success(), "tmux did not take the text");
    Ok(())
}
