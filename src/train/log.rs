//! `log.jsonl` of a run: one JSON object a line for each measurement, only ever appended to.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Report, eval::HeadScore, files::cannot_write};
use crate::analysis::loss::Icl;

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    /// Always 1: what the keys mean.
    schema_version: u32,
    /// Steps done.
    step: usize,
    /// Tokens shown.
    tokens: usize,
    /// Mean loss on the training sequences since the line before, nats per token; null at step 0.
    train_loss: Option<f64>,
    /// Mean loss on held-out text, nats per token.
    held_out_loss: f64,
    /// Mean loss on the first copy of a random block minus that on the second, nats per token.
    repeat_gain: f64,
    /// Tokens in that block; the heads' scores are of the same sequences.
    length: usize,
    /// Loss late in a window of held-out text minus loss early in it.
    icl: Icl,
    /// Every head, in order.
    heads: &'a [HeadScore],
    /// Learning rate of the step before, at step 0 of the first.
    learning_rate: f64,
    /// Seconds of work, those before an interruption too.
    seconds: f64,
}

/// Appends the line of a measurement.
pub fn append(path: &Path, report: &Report) -> Result<()> {
    let repeats = report.repeats.last().context("nothing was measured on repeats")?;
    let line = Line {
        schema_version: 1,
        step: report.step,
        tokens: report.tokens,
        train_loss: report.train_loss,
        held_out_loss: report.text.mean,
        repeat_gain: repeats.gain(),
        length: repeats.length,
        icl: report.text.icl,
        heads: &repeats.heads,
        learning_rate: report.learning_rate,
        seconds: (report.seconds * 1e3).round() / 1e3,
    };
    let line = serde_json::to_string(&line)? + "\n";
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
