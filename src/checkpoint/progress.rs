//! What is said, and asked, while a checkpoint is fetched and opened. Plain data: a terminal, a log or a test listens.

use std::time::Duration;

use anyhow::Result;

use crate::text;

/// What a long job has done so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done, such as `reading weights`.
    pub stage: &'static str,
    /// Units done.
    pub done: u64,
    /// Units in all; 0 when not known.
    pub total: u64,
    /// Whether the units are bytes.
    pub bytes: bool,
}

/// What a download has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Download {
    /// The files, in the order in which they are listed.
    pub files: Vec<Transfer>,
    /// Bytes a second over the last seconds; `None` before that is known.
    pub speed: Option<u64>,
    /// What holds it up, such as `the hub asks to wait 30 s`.
    pub note: Option<String>,
}

impl Download {
    /// Bytes that are here.
    pub fn done(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.done))
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.total))
    }

    /// Time that the rest takes at the present speed.
    pub fn left(&self) -> Option<Duration> {
        let speed = self.speed.filter(|&speed| speed > 0)?;
        Some(Duration::from_secs(self.total().saturating_sub(self.done()).div_ceil(speed)))
    }

    /// How fast it goes and how long it still takes, as far as that is known: `98 MB/s, 31 s left`.
    pub fn pace(&self) -> String {
        let speed = self.speed.map(|speed| format!("{}/s", text::size(speed)));
        let left = self.left().filter(|left| !left.is_zero()).map(text::time_left);
        speed.into_iter().chain(left).collect::<Vec<_>>().join(", ")
    }
}

/// One file of a download.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// Its path in the repository, as the hub gives it: not cleaned.
    pub name: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// What happens to it.
    pub state: TransferState,
}

/// What happens to a file of a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferState {
    /// It waits for its turn, or for another process that fetches it.
    Waiting,
    /// The part that was here before is read again, for the hash.
    Checking,
    /// Its bytes come.
    Running,
    /// It is here, whole.
    Done,
}

/// Who follows a checkpoint being fetched and opened.
pub trait Watcher {
    /// A stage went on; false stops the work.
    fn progress(&self, progress: Progress) -> bool;
    /// A download went on, or nothing has come for a moment; false stops the work.
    fn download(&self, download: &Download) -> bool;
    /// Asks a question that yes or no answers; `None` where nobody is there to answer.
    ///
    /// # Errors
    /// When whoever was asked stops the work instead.
    fn ask(&self, question: &str) -> Result<Option<bool>>;
    /// Something worth one line, such as what a download needs.
    fn note(&self, text: &str);
}

/// A watcher that nothing interests.
pub struct Nobody;

impl Watcher for Nobody {
    fn progress(&self, _: Progress) -> bool {
        true
    }

    fn download(&self, _: &Download) -> bool {
        true
    }

    fn ask(&self, _: &str) -> Result<Option<bool>> {
        Ok(None)
    }

    fn note(&self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_speed_and_bytes() {
        let file = |done, total| Transfer { name: "f".into(), done, total, state: TransferState::Running };
        let mut download = Download { files: vec![file(10, 100), file(0, 50)], speed: None, note: None };
        assert_eq!((download.done(), download.total(), download.left()), (10, 150, None));
        download.speed = Some(0);
        assert_eq!(download.left(), None);
        download.speed = Some(50);
        assert_eq!(
            (download.left(), download.pace()),
            (Some(Duration::from_secs(3)), "50 B/s, 3 s left".into())
        );
        download.files.push(file(u64::MAX, u64::MAX));
        assert_eq!((download.done(), download.pace()), (u64::MAX, "50 B/s".into()));
    }
}
