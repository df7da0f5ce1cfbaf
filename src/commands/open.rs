//! Opening a model for a command that prints, with progress on standard error where somebody sees it.

use std::{
    cell::RefCell,
    io::{IsTerminal, Read, stderr, stdin},
};

use anyhow::{Context, Result, anyhow, bail};

use super::progress::Display;
use crate::{
    checkpoint::progress::{Download, Progress, Watcher},
    cli::{Common, pass::PromptArgs},
    engine::{
        open::Model,
        protocol::{Bos, ModelInfo, PromptInput},
    },
    head::Head,
    model::trace::Trace,
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

/// What `--prompt` or `--ids` gives to run.
///
/// # Errors
/// Those of [`prompt`].
pub fn input(args: &PromptArgs) -> Result<PromptInput> {
    match (&args.ids, &args.prompt) {
        (Some(ids), _) => Ok(PromptInput::Ids(ids.clone())),
        (None, text) => prompt(text.as_deref().unwrap_or_default()).map(PromptInput::Text),
    }
}

/// The text that `--prompt` gives; `-` is standard input, without its last line break.
///
/// # Errors
/// When standard input cannot be read, is empty or is not UTF-8.
pub fn prompt(text: &str) -> Result<String> {
    if text != "-" {
        return Ok(text.to_owned());
    }
    if stdin().is_terminal() {
        super::note("--prompt - reads the prompt here: end it with Ctrl-D on a line of its own");
    }
    let mut bytes = Vec::new();
    stdin().lock().read_to_end(&mut bytes).context("--prompt -: standard input cannot be read")?;
    text_of(bytes)
}

/// The prompt that standard input holds.
fn text_of(bytes: Vec<u8>) -> Result<String> {
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow!("--prompt -: standard input is not UTF-8 from byte {at} on: convert it first, or give --ids")
    })?;
    if text.ends_with('\n') {
        text.pop();
        text.truncate(text.strip_suffix('\r').unwrap_or(&text).len());
    }
    if text.is_empty() {
        bail!("--prompt -: standard input is empty: give it some text");
    }
    Ok(text)
}

/// The ids of a prompt, with a line on standard error where they may surprise.
pub fn ids(model: &Model, input: &PromptInput, bos: Bos, quiet: bool) -> Result<Vec<u32>> {
    let ids = model.encode(input, bos)?;
    if let (false, Some(remark)) = (quiet, model.remark_on(input, &ids)) {
        super::note(&text::line(&remark));
    }
    Ok(ids)
}

/// Says where a pass has left the finite numbers, and whether it has.
pub fn note_break(model: &Model, trace: &Trace, quiet: bool) -> Result<bool> {
    let broken = model.where_it_breaks(trace)?;
    if let (false, Some(broken)) = (quiet, &broken) {
        super::note(&text::line(broken));
    }
    Ok(broken.is_some())
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
    fn one_line_break_at_the_end_of_standard_input_is_no_part_of_the_prompt() {
        let read = |text: &str| text_of(text.into()).unwrap();
        for (text, expected) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a\r", " a\r")]
        {
            assert_eq!(read(text), expected);
        }
        let error = |bytes: &[u8]| text_of(bytes.to_vec()).unwrap_err().to_string();
        assert!(error(b"ab\xff").contains("not UTF-8 from byte 2"));
        assert!(error(b"").contains("is empty") && error(b"\n").contains("is empty"));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(["y\n", "Yes\r\n", " YES "].into_iter().all(is_yes));
        assert!(!["", "\n", "n\n", "yep\n", "y y\n"].into_iter().any(is_yes));
    }
}
