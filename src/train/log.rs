//! `log.jsonl` of a run: one JSON object a line for each measurement, only ever appended to.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::files::cannot_write;
use crate::run::Entry;

/// Appends a line.
pub fn append(path: &Path, entry: &Entry) -> Result<()> {
    let line = entry.line()?;
    let write = || OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes());
    write().map_err(|error| cannot_write(path, &error))
}

/// Cuts off what stands after the line of `step`, and a last line that was not written to its end. So no step has two
/// lines in a run that goes on from there.
pub fn cut_after(path: &Path, step: Option<usize>) -> Result<()> {
    #[derive(Deserialize)]
    struct Step {
        step: usize,
    }
    let text = match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let stays = |line: &&[u8]| {
        line.ends_with(b"\n")
            && serde_json::from_slice::<Step>(line).is_ok_and(|line| Some(line.step) <= step)
    };
    let kept: usize = text.split_inclusive(|&byte| byte == b'\n').take_while(stays).map(<[u8]>::len).sum();
    if kept < text.len() {
        let file = OpenOptions::new().write(true).open(path);
        let cut = file.and_then(|file| file.set_len(kept as u64));
        cut.map_err(|error| cannot_write(path, &error))?;
    }
    Ok(())
}
