//! What a fetch has done so far, written by its tasks and read by whoever watches.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::failure::Failure;
use crate::{
    checkpoint::progress::{Download, Progress, Transfer, TransferState, Watcher},
    error::Interrupted,
};

/// Time between two looks at the board.
const LOOK: Duration = Duration::from_millis(100);
/// Looks over which speed is measured.
const SPAN: usize = 50;

/// The state of a fetch.
pub struct Board(Mutex<State>);

struct State {
    /// What is done while no file moves.
    stage: &'static str,
    download: Download,
    /// Bytes that came over the network.
    received: u64,
    meter: VecDeque<(Instant, u64)>,
}

impl Board {
    /// A board with nothing on it.
    pub fn new() -> Self {
        let state = State {
            stage: "asking the hub",
            download: Download::default(),
            received: 0,
            meter: VecDeque::new(),
        };
        Self(Mutex::new(state))
    }

    /// Lists the files that are fetched: name and bytes.
    pub fn list(&self, files: impl Iterator<Item = (String, u64)>) {
        let waiting = |(name, total)| Transfer { name, done: 0, total, state: TransferState::Waiting };
        self.state().download.files = files.map(waiting).collect();
    }

    /// Bytes of a file that are here, and what happens to it.
    pub fn set(&self, file: usize, done: u64, state: TransferState) {
        if let Some(transfer) = self.state().download.files.get_mut(file) {
            (transfer.done, transfer.state) = (done, state);
        }
    }

    /// Bytes of a file came over the network.
    pub fn receive(&self, file: usize, bytes: u64) {
        let mut state = self.state();
        state.received += bytes;
        if let Some(transfer) = state.download.files.get_mut(file) {
            transfer.done += bytes;
            transfer.state = TransferState::Running;
        }
    }

    /// What holds the fetch up, if anything does.
    pub fn note(&self, note: Option<String>) {
        self.state().download.note = note;
    }

    /// Waits before another try, and says so.
    pub async fn pause(&self, failure: &Failure, pause: Duration) {
        let reason = match failure {
            Failure::RateLimit(_) => "the hub asks to wait".to_owned(),
            Failure::Server(status) => format!("the hub has trouble (status {status}), trying again in"),
            Failure::Silence(_) => "nothing comes any more, trying again in".to_owned(),
            _ if self.state().received == 0 => "the hub cannot be reached, trying again in".to_owned(),
            _ => "the connection broke, trying again in".to_owned(),
        };
        let second = Duration::from_secs(1);
        let mut left = pause;
        while !left.is_zero() {
            self.note(Some(format!("{reason} {} s", left.as_secs_f32().ceil())));
            let part = left.min(second);
            sleep(part).await;
            left -= part;
        }
        self.note(None);
    }

    /// Runs a fetch on this thread while `watcher` follows; whoever stops it drops it where it stands.
    pub async fn follow<T>(
        &self,
        watcher: &dyn Watcher,
        fetch: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Result<T, Failure>> {
        let mut fetch = std::pin::pin!(fetch);
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                end = &mut fetch => {
                    self.show(watcher);
                    return Ok(end);
                }
                _ = tick.tick() => {
                    if !self.show(watcher) {
                        return Err(Interrupted.into());
                    }
                }
            }
        }
    }

    fn show(&self, watcher: &dyn Watcher) -> bool {
        let (stage, download) = {
            let mut state = self.state();
            state.measure(Instant::now());
            (state.stage, state.download.clone())
        };
        if download.files.is_empty() && download.note.is_none() {
            watcher.progress(Progress { stage, done: 0, total: 0, bytes: false })
        } else {
            watcher.download(&download)
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Plain numbers: a task that panicked has not broken them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The speed over the last looks.
    fn measure(&mut self, now: Instant) {
        self.meter.push_back((now, self.received));
        if self.meter.len() > SPAN {
            self.meter.pop_front();
        }
        let Some(&(then, before)) = self.meter.front() else { return };
        let seconds = now.duration_since(then).as_secs_f64();
        self.download.speed =
            (self.received > 0 && seconds >= 0.5).then(|| ((self.received - before) as f64 / seconds) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_measured_over_the_last_looks() {
        let board = Board::new();
        board.list([("a".to_owned(), 1000)].into_iter());
        let start = Instant::now();
        let mut state = board.0.lock().unwrap();
        state.measure(start);
        assert_eq!(state.download.speed, None);
        for second in 1..=100 {
            state.received += if second <= 50 { 0 } else { 200 };
            state.measure(start + Duration::from_secs(second));
        }
        assert_eq!(state.download.speed, Some(200));
    }
}
