//! How a long job goes, on standard error: bars on a terminal, and of a download now and then a line elsewhere.

use std::{
    io::{IsTerminal, stderr},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::{
    checkpoint::progress::{Download, Progress, Transfer, TransferState},
    cli::Common,
    text,
};

/// File bars at once.
const MOST: usize = 8;
/// Columns of a file's name.
const NAME: usize = 26;

/// A progress bar on standard error; nothing where that is no terminal.
pub struct Bar(ProgressBar);

impl Bar {
    /// An empty bar that is not drawn yet.
    pub fn new(common: &Common) -> Self {
        Self::within(&bars(common))
    }

    /// The same, under what `bars` shows already.
    fn within(bars: &MultiProgress) -> Self {
        let bar = bars.add(ProgressBar::new(0));
        bar.set_style(style("{msg} [{bar:32}] {pos}/{len}"));
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

/// Bars on standard error, hidden where they would not be seen or are not wanted.
pub(super) fn bars(common: &Common) -> MultiProgress {
    let seen = !common.quiet && stderr().is_terminal();
    let target = if seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
}

/// How a bar looks.
pub(super) fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("█▓░")
}

/// What is shown of a model being opened.
pub struct Display {
    bars: MultiProgress,
    /// The bar of a stage, while there is one.
    stage: Option<Bar>,
    /// A bar for each file whose bytes come, by its name.
    files: Vec<(String, ProgressBar)>,
    /// The bar of all files together, where there are several.
    total: Option<ProgressBar>,
    milestones: Milestones,
    quiet: bool,
}

impl Display {
    /// Nothing yet.
    pub fn new(common: &Common) -> Self {
        Self {
            bars: bars(common),
            stage: None,
            files: Vec::new(),
            total: None,
            milestones: Milestones::default(),
            quiet: common.quiet,
        }
    }

    /// Shows a stage.
    pub fn stage(&mut self, progress: &Progress) {
        if self.stage.is_none() {
            self.clear();
        }
        let bar = self.stage.get_or_insert_with(|| Bar::within(&self.bars));
        bar.show(progress.stage, progress.done as usize, progress.total as usize);
    }

    /// Shows a download.
    pub fn download(&mut self, download: &Download) {
        if self.bars.is_hidden() {
            for text in self.milestones.hold(download).into_iter().chain(self.milestones.pass(download)) {
                self.note(&text);
            }
            return;
        }
        if let Some(mut stage) = self.stage.take() {
            stage.clear();
        }
        let several = download.files.len() > 1;
        self.show_files(download, several);
        if several {
            let (all, bytes) = (format!("{} files", download.files.len()), download.total());
            let bar = self.total.get_or_insert_with(|| file_bar(&self.bars, self.files.len(), all, bytes));
            show(bar, download.done(), bytes, figures(download));
        }
    }

    /// A bar for each of the first files whose bytes come; the others leave the screen.
    fn show_files(&mut self, download: &Download, several: bool) {
        let comes = |file: &&Transfer| matches!(file.state, TransferState::Running | TransferState::Checking);
        let shown: Vec<&Transfer> = download.files.iter().filter(comes).take(MOST).collect();
        self.files.retain(|(name, bar)| {
            let stays = shown.iter().any(|file| file.name == *name);
            if !stays {
                bar.finish_and_clear();
                self.bars.remove(bar);
            }
            stays
        });
        for file in shown {
            let at = self.files.iter().position(|(name, _)| *name == file.name).unwrap_or_else(|| {
                let name = text::tail(&text::line(&file.name), NAME);
                self.files
                    .push((file.name.clone(), file_bar(&self.bars, self.files.len(), name, file.total)));
                self.files.len() - 1
            });
            let figures = match file.state {
                TransferState::Checking => format!("checking {}", text::size(file.total)),
                _ if several => text::amount(file.done, file.total),
                _ => figures(download),
            };
            show(&self.files[at].1, file.done, file.total, figures);
        }
    }

    /// Prints a line above the bars.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.bars.suspend(|| super::note(&text::line(text)));
        }
    }

    /// Does something with the bars off the screen.
    pub fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        self.bars.suspend(work)
    }

    /// Takes the bars off the screen.
    pub fn clear(&mut self) {
        if let Some(mut stage) = self.stage.take() {
            stage.clear();
        }
        for (_, bar) in self.files.drain(..) {
            bar.finish_and_clear();
        }
        if let Some(total) = self.total.take() {
            total.finish_and_clear();
        }
    }
}

/// A bar that bytes fill, at a place among `bars`.
fn file_bar(bars: &MultiProgress, at: usize, name: String, total: u64) -> ProgressBar {
    // Nothing may be drawn of it before it has its place; the others would not know where they are.
    let style = style(&format!("{{prefix:{NAME}}} [{{bar:10}}] {{wide_msg}}"));
    bars.insert(at, ProgressBar::new(total)).with_style(style).with_prefix(name)
}

fn show(bar: &ProgressBar, done: u64, total: u64, figures: String) {
    bar.set_length(total);
    bar.set_position(done);
    bar.set_message(figures);
}

/// How far a download is, and what holds it up or else how fast it goes: `1.2 of 4.1 GB, 98 MB/s, 31 s left`.
fn figures(download: &Download) -> String {
    let how = download.note.as_deref().map_or_else(|| download.pace(), text::line);
    if download.files.is_empty() {
        return how;
    }
    with(text::amount(download.done(), download.total()), &how)
}

/// `what`, and after a comma `how`, where there is something to say of that.
fn with(what: String, how: &str) -> String {
    if how.is_empty() { what } else { format!("{what}, {how}") }
}

/// What has been told of a download where there are no bars.
#[derive(Default)]
struct Milestones {
    /// Bytes in all, and tenths of them.
    told: Option<(u64, u64)>,
    /// What holds it up: the words, and the seconds that run down.
    held: Option<(String, u64)>,
}

impl Milestones {
    /// A line when something begins to hold the download up, or holds it up for longer.
    fn hold(&mut self, download: &Download) -> Option<String> {
        let held = download.note.as_deref().map(|note| {
            let (digits, words): (String, String) = note.chars().partition(char::is_ascii_digit);
            (words, digits.parse().unwrap_or_default())
        });
        let before = self.held.take();
        self.held = held.or_else(|| before.clone());
        let news = match (&self.held, &before) {
            (Some((words, seconds)), Some((before, left))) => words != before || seconds > left,
            (now, _) => now.is_some(),
        };
        download.note.clone().filter(|_| news)
    }

    /// A line at each further tenth; what was here at the start is not told.
    fn pass(&mut self, download: &Download) -> Option<String> {
        let total = download.total();
        let tenth = (u128::from(download.done()) * 10 / u128::from(total.max(1))) as u64;
        let told = self.told.filter(|told| told.0 == total);
        self.told = Some((total, told.map_or(tenth, |told| told.1.max(tenth))));
        told.filter(|told| told.1 < tenth)?;
        Some(with(format!("downloading: {}% of {}", tenth * 10, text::size(total)), &download.pace()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn download(done: u64) -> Download {
        let file = |name: &str, done, total| Transfer {
            name: name.into(),
            done,
            total,
            state: TransferState::Running,
        };
        let files = vec![file("a", done, 4_000_000_000), file("b", 0, 100_000_000)];
        Download { files, speed: Some(98_000_000), note: None }
    }

    #[test]
    fn each_further_tenth_is_told_once() {
        let mut milestones = Milestones::default();
        let mut pass = |mega: u64| milestones.pass(&download(mega * 1_000_000));
        assert_eq!([pass(500), pass(600)], [None, None], "the first tenth was here already");
        assert_eq!(pass(1700).as_deref(), Some("downloading: 40% of 4.1 GB, 98 MB/s, 25 s left"));
        assert_eq!([pass(1800), pass(400), pass(1700)], [None, None, None]);
        assert!(pass(4000).is_some_and(|line| line.starts_with("downloading: 90%")));
    }

    #[test]
    fn what_holds_a_download_up_is_told_once() {
        let mut milestones = Milestones::default();
        let mut hold =
            |note: Option<&str>| milestones.hold(&Download { note: note.map(str::to_owned), ..download(0) });
        assert_eq!(hold(Some("wait 30 s")).as_deref(), Some("wait 30 s"));
        assert_eq!([hold(Some("wait 29 s")), hold(None), hold(Some("wait 9 s"))], [None, None, None]);
        assert_eq!(hold(Some("wait 10 s")).as_deref(), Some("wait 10 s"));
        assert_eq!(hold(Some("again in 4 s")).as_deref(), Some("again in 4 s"));
    }

    #[test]
    fn what_holds_a_download_up_takes_the_place_of_its_pace() {
        let mut download = download(1_200_000_000);
        assert_eq!(figures(&download), "1.2 of 4.1 GB, 98 MB/s, 30 s left");
        download.note = Some("the hub asks to\nwait 30 s".into());
        assert_eq!(figures(&download), "1.2 of 4.1 GB, the hub asks to wait 30 s");
        assert_eq!(figures(&Download::default()), "");
    }
}
