//! The run that the open model belongs to, in the background: its log is read, its snapshots are measured one after the
//! other, and a folder that is still being written is looked at again and again.
//!
//! Whoever steps through a prompt never waits for it: opening a snapshot and measuring one are given up within a layer,
//! and begun again later.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};

use super::{
    beside, guarded,
    open::{Model, OpenRequest},
    protocol::{Download, Event, Measured, ModelInfo, Progress, RankSettings, RunView, SnapshotView},
};
use crate::{
    analysis::score::Score,
    checkpoint::{embedded, progress::Watcher, snapshot::Snapshot},
    error::{is_interrupted, told},
    model::decoder::Control,
    run::{Followed, Scope, TrainingRun, stamp},
    text::line,
};

/// Time between two looks at a run that is watched.
pub const PAUSE: Duration = Duration::from_millis(1500);

/// The run of the open model; without one, nothing.
#[derive(Default)]
pub struct Training {
    followed: Option<Followed>,
    /// What opens the open snapshot.
    open: Option<String>,
    /// Tokens in a benchmark block for the open model.
    block: usize,
    watched: bool,
}

impl Training {
    /// Another model is open: `model` of the command line. What is known of a run stays while it is the same one.
    pub fn opened(&mut self, model: Option<&str>, info: &ModelInfo) {
        let model = model.unwrap_or(embedded::DEFAULT);
        let shape = (info.layers, info.heads);
        self.block = info.block;
        let before = self.followed.take();
        self.followed = TrainingRun::of(model).map(|run| Followed::new(run, shape, before));
        // A run's folder was opened as its last snapshot, which its source names.
        self.open = self.run().and_then(|run| {
            let at = run.position(&info.source).or_else(|| run.position(model))?;
            Some(run.snapshots[at].model.clone())
        });
    }

    /// Follows the run from now on, or no longer; looks at it at once.
    pub fn watch(&mut self, watch: bool) {
        self.watched = watch;
        if watch {
            self.look();
        }
    }

    /// Measures every snapshot while the run is watched, or none.
    pub fn measure_all(&mut self, all: bool) {
        if let Some(followed) = &mut self.followed {
            followed.set_scope(if all { Scope::All } else { Scope::None });
        }
    }

    /// Whether the run is looked at again and again.
    pub fn is_watched(&self) -> bool {
        self.watched && self.followed.is_some()
    }

    /// Whether a snapshot is to be measured now.
    pub fn is_measuring(&self) -> bool {
        self.watched && self.next().is_some()
    }

    /// Looks at the run; whether anything has changed.
    pub fn look(&mut self) -> bool {
        self.followed.as_mut().is_some_and(Followed::look)
    }

    fn run(&self) -> Option<&TrainingRun> {
        self.followed.as_ref().map(Followed::run)
    }

    fn next(&self) -> Option<&Snapshot> {
        self.followed.as_ref()?.next()
    }

    /// Opens and measures the next snapshot beside the model that is open; whether that came to an end, good or bad.
    pub fn measure(&mut self, open: &OpenRequest, cancelled: &dyn Fn() -> bool) -> bool {
        let Some(snapshot) = self.next().cloned() else { return false };
        let stamp = stamp(&snapshot);
        let measured = match guarded(|| self.measured(&snapshot, open, cancelled)) {
            Err(error) if is_interrupted(&error) => return false,
            measured => measured.map_err(|error| line(&told(&error))),
        };
        if let Some(followed) = &mut self.followed {
            followed.keep(snapshot, stamp, measured);
        }
        true
    }

    fn measured(
        &self,
        snapshot: &Snapshot,
        open: &OpenRequest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Measured> {
        let model = self.open_beside(snapshot, open, cancelled)?;
        // Blocks as long as those in the log, so that both make one curve.
        let logged = self.followed.as_ref().and_then(Followed::logged_length);
        let length = logged.filter(|&length| length <= self.block).unwrap_or(self.block);
        let benchmark = model.benchmark(RankSettings { length, ..RankSettings::default() })?;
        let control = Control { progress: &|_, _| (), cancelled };
        Measured::measure(snapshot.step, &model.decoder, &benchmark, Score::Induction, &control)
    }

    /// The snapshot of a step.
    pub fn snapshot(&self, step: u64) -> Option<&Snapshot> {
        self.run()?.snapshots.iter().find(|snapshot| snapshot.step == step)
    }

    /// Whether a model is a snapshot of the run.
    pub fn has(&self, model: Option<&str>) -> bool {
        let mut snapshots = self.run().into_iter().flat_map(|run| &run.snapshots);
        model.is_some_and(|model| snapshots.any(|snapshot| snapshot.model == model))
    }

    /// The step of the open snapshot.
    pub fn open_step(&self) -> Option<u64> {
        Some(self.run()?.snapshots[self.open()?].step)
    }

    /// Which of the run's snapshots is open.
    fn open(&self) -> Option<usize> {
        let open = self.open.as_ref()?;
        self.run()?.snapshots.iter().position(|snapshot| snapshot.model == *open)
    }

    /// Opens a snapshot beside the model that is open, which it has to resemble.
    pub fn open_beside(
        &self,
        snapshot: &Snapshot,
        open: &OpenRequest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Model> {
        let request = OpenRequest { model: Some(snapshot.model.clone()), ..beside(open) };
        let model = Model::open(&request, &Measuring { cancelled })?;
        let shape = (model.info.layers, model.info.heads);
        let wanted = self.followed.as_ref().map_or(shape, Followed::shape);
        if shape != wanted {
            bail!(
                "{}: {} layers of {} heads, where the open model has {} of {}: it belongs to another run",
                snapshot.model,
                shape.0,
                shape.1,
                wanted.0,
                wanted.1
            );
        }
        Ok(model)
    }

    /// The run as the app is told of it.
    pub fn event(&self) -> Event {
        Event::Run(self.followed.as_ref().map(|followed| Arc::new(self.view(followed))))
    }

    fn view(&self, followed: &Followed) -> RunView {
        let run = followed.run();
        let snapshots = run.snapshots.iter().map(|snapshot| SnapshotView {
            step: snapshot.step,
            model: snapshot.model.clone(),
            problem: followed.problem(snapshot).cloned(),
        });
        let (done, total) = followed.progress();
        RunView {
            name: run.name.clone(),
            source: run.source.clone(),
            snapshots: snapshots.collect(),
            open: self.open(),
            points: followed.points(),
            logged: run.log.is_some(),
            measuring: (self.watched && done < total).then_some((done, total)),
            troubles: followed.troubles(),
        }
    }
}

/// A snapshot while it is opened: given up when something else is wanted, and nothing is asked.
struct Measuring<'a> {
    cancelled: &'a dyn Fn() -> bool,
}

impl Watcher for Measuring<'_> {
    fn progress(&self, _: Progress) -> bool {
        !(self.cancelled)()
    }

    fn download(&self, _: &Download) -> bool {
        !(self.cancelled)()
    }

    fn ask(&self, _: &str) -> Result<Option<bool>> {
        Ok(None)
    }

    fn note(&self, _: &str) {}
}
