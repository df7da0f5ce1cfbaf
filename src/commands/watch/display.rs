//! What is shown of a watch, on standard error: on a terminal the curves below what was found, elsewhere a line a checkpoint.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar};

use super::super::{
    note,
    progress::{bars, style},
};
use crate::{
    cli::Common,
    report::watch::{curves, finding, heading, plain},
    run::{Checked, Found, History},
    term,
};

/// Columns of a curve at most, and those beside it.
const CURVE: usize = 48;
const BESIDE: usize = 36;

/// What is shown.
pub struct Display {
    bars: MultiProgress,
    /// The curves and what is done, at the bottom.
    bottom: ProgressBar,
    is_terminal: bool,
    quiet: bool,
}

impl Display {
    /// Nothing yet.
    pub fn new(common: &Common) -> Self {
        let bars = bars(common);
        let bottom = bars.add(ProgressBar::new_spinner().with_style(style("{msg}{spinner} {prefix}")));
        bottom.enable_steady_tick(Duration::from_millis(500));
        Self { bars, bottom, is_terminal: stderr().is_terminal(), quiet: common.quiet }
    }

    /// A line about what goes wrong.
    pub fn trouble(&self, text: &str) {
        self.suspend(|| note(text));
    }

    /// A line that is left out where it is to be quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.trouble(text);
        }
    }

    /// A checkpoint that was checked, and what is new about it.
    pub fn checked(&self, checked: &Checked, news: &[&Found]) {
        if self.is_terminal {
            self.note(&heading(checked));
            news.iter().for_each(|found| self.note(&format!("  {}", finding(found))));
        } else {
            self.note(&plain(checked, news));
        }
    }

    /// What is done now.
    pub fn status(&self, history: &History, what: String) {
        if !self.bars.is_hidden() {
            let curves: String = lines(history).into_iter().map(|line| line + "\n").collect();
            self.bottom.set_message(curves);
            self.bottom.set_prefix(what);
        }
    }

    /// Does something with the bottom off the screen.
    pub fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bars.suspend(work)
    }

    /// The end: the curves stay on the screen.
    pub fn end(&self, history: &History, summary: &str) {
        self.bottom.finish_and_clear();
        if self.is_terminal {
            lines(history).iter().for_each(|line| self.note(line));
        }
        self.note(summary);
    }
}

fn lines(history: &History) -> Vec<String> {
    let width = term::size().map_or(80, |(columns, _)| usize::from(columns));
    curves(&history.curve(), width.saturating_sub(BESIDE).min(CURVE))
}
