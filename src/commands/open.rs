//! Opening a model for a command that prints, with progress on standard error where somebody sees it.

use std::{
    cell::RefCell,
    io::{IsTerminal, stderr, stdin},
};

use anyhow::{Context, Result, bail};

use super::progress::Display;
use crate::{
    checkpoint::progress::{Download, Progress, Watcher},
    cli::Common,
    engine::{open::Model, protocol::ModelInfo},
    head::Head,
    text,
};

/// Opens the model that a command names.
pub fn model(model: Option<&String>, common: &Common) -> Result<Model> {
    let watcher = Headless::new(common);
    let model = Model::open(&common.open(model.map(String::as_str)), &watcher);
    watcher.clear();
    let model = model?;
    if !common.quiet {
        for remark in model.remarks() {
            super::note(&text::line(&remark));
        }
        super::note(&format!("{}: {}", model.info.source.escape_debug(), model.need));
    }
    Ok(model)
}

/// Opens one of many models, of which only a download is worth a line.
pub fn silently(model: &str, common: &Common) -> Result<Model> {
    let watcher = Headless::new(common);
    let model = Model::open(&common.open(Some(model)), &watcher);
    watcher.clear();
    model
}

/// Checks that the model has the head that `--head` names.
pub fn check_head(info: &ModelInfo, head: Head) -> Result<()> {
    if head.layer >= info.layers || head.head >= info.heads {
        let last = Head::new(info.layers - 1, info.heads - 1);
        bail!("--head {head}: there is no such head; the model's go from 0.0 to {last}");
    }
    Ok(())
}

/// Shows on standard error how opening goes, and asks there.
pub struct Headless(RefCell<Display>);

impl Headless {
    /// Nothing to show yet.
    pub fn new(common: &Common) -> Self {
        Self(RefCell::new(Display::new(common)))
    }

    /// Takes what is drawn off the screen.
    pub fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Watcher for Headless {
    fn progress(&self, progress: Progress) -> bool {
        self.0.borrow_mut().stage(&progress);
        true
    }

    fn download(&self, download: &Download) -> bool {
        self.0.borrow_mut().download(download);
        true
    }

    fn ask(&self, question: &str) -> Result<Option<bool>> {
        self.0.borrow().suspend(|| ask(question))
    }

    fn note(&self, text: &str) {
        self.0.borrow().note(text);
    }
}

/// Asks on the terminal what yes or no answers; `None` where there is no terminal to ask on.
pub fn ask(question: &str) -> Result<Option<bool>> {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return Ok(None);
    }
    eprint!("{} [y/N] ", text::line(question));
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("cannot read the answer from the terminal")?;
    Ok(Some(is_yes(&answer)))
}

/// Whether an answer is a yes; anything else is none.
fn is_yes(answer: &str) -> bool {
    ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y\n", "Yes\r\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yep\n", "y y\n"].into_iter().any(is_yes));
    }
}
