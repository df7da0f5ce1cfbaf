//! Opening a model for a command that prints, with progress on standard error where somebody sees it.

use std::{
    cell::RefCell,
    io::{IsTerminal, stderr},
    time::Duration,
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::Common,
    engine::open::{Model, OpenRequest},
};

/// Opens the model that a command names.
pub fn model(model: Option<&String>, common: &Common) -> Result<Model> {
    let bar = RefCell::new(Bar::new(common));
    let request = OpenRequest { model: model.cloned(), device: common.device, dtype: common.dtype };
    let model = Model::open(&request, &|progress| {
        bar.borrow_mut().show(progress.stage, progress.done as usize, progress.total as usize);
        true
    })?;
    bar.borrow_mut().clear();
    if !common.quiet {
        eprintln!("{}: {}", model.info.source.escape_debug(), model.need);
    }
    Ok(model)
}

/// A progress bar on standard error; nothing where that is no terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// An empty bar that is not drawn yet.
    pub fn new(common: &Common) -> Self {
        if common.quiet || !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len}") {
            bar.set_style(style.progress_chars("█▓░"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Draws how far a stage is.
    pub fn show(&mut self, stage: &'static str, done: usize, total: usize) {
        self.0.set_message(stage);
        self.0.set_length(total as u64);
        self.0.set_position(done as u64);
    }

    /// Takes the bar off the screen.
    pub fn clear(&mut self) {
        self.0.finish_and_clear();
    }
}
