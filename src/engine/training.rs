//! The run that the open model belongs to, in the background: its log is read, its snapshots are measured one after the
//! other, and a folder that is still being written is looked at again and again.
//!
//! Whoever steps through a prompt never waits for it: opening a snapshot and measuring one are given up within a layer,
//! and begun again later.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};

use super::{
    beside, guarded,
    open::{Model, OpenRequest},
    protocol::{Download, Event, ModelInfo, Progress, RankSettings, RunPoint, RunView, SnapshotView},
};
use crate::{
    analysis::{
        loss::Icl,
        score::{HeadScores, Score},
        timeline::Point,
    },
    checkpoint::{
        embedded,
        progress::Watcher,
        run::{Entry, Log, Run, Snapshot, Stamp, stamp},
    },
    error::{is_interrupted, told},
    model::decoder::Control,
    text::line,
};

/// Time between two looks at a run that is watched.
pub const PAUSE: Duration = Duration::from_millis(1500);

/// Which snapshots are measured while the run is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    /// Those of whose step nothing is logged.
    #[default]
    Unlogged,
    /// All.
    All,
    /// None any more.
    None,
}

/// What came of a snapshot, as it was written then.
struct Outcome {
    stamp: Stamp,
    /// The point, or what is wrong with the snapshot, in a line.
    point: Result<Point, String>,
}

/// The run of the open model; without one, nothing.
#[derive(Default)]
pub struct Training {
    run: Option<Run>,
    log: Log,
    open: Option<usize>,
    /// Layers and heads of the open model, and tokens in a benchmark block for it.
    shape: (usize, usize),
    block: usize,
    watched: bool,
    /// The folder of the run could not be read when it was last looked at.
    gone: bool,
    scope: Scope,
    /// What came of the snapshots, by what opens them.
    outcomes: BTreeMap<String, Outcome>,
}

impl Training {
    /// Another model is open: `model` of the command line. What is known of a run stays while it is the same one.
    pub fn opened(&mut self, model: Option<&str>, info: &ModelInfo) {
        let model = model.unwrap_or(embedded::DEFAULT);
        let run = Run::of(model);
        let same = |before: &Run, now: &Run| before.source == now.source;
        let shape = (info.layers, info.heads);
        if self.shape != shape
            || !self.run.as_ref().zip(run.as_ref()).is_some_and(|(one, two)| same(one, two))
        {
            *self = Self { watched: self.watched, ..Self::default() };
        }
        (self.shape, self.block) = (shape, info.block);
        self.log = run.as_ref().map(Run::read_log).unwrap_or_default();
        // A run's folder was opened as its last snapshot, which its source names.
        self.open = run.as_ref().and_then(|run| run.position(&info.source).or_else(|| run.position(model)));
        self.run = run;
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
        self.scope = if all { Scope::All } else { Scope::None };
    }

    /// Whether the run is looked at again and again.
    pub fn is_watched(&self) -> bool {
        self.watched && self.run.is_some()
    }

    /// Whether a snapshot is to be measured now.
    pub fn is_measuring(&self) -> bool {
        self.watched && self.next().is_some()
    }

    /// Looks at the folder of the run; whether anything has changed.
    pub fn look(&mut self) -> bool {
        let Some(run) = &self.run else { return false };
        let Some(now) = Self::again(run) else {
            return !std::mem::replace(&mut self.gone, true);
        };
        let mut changed = std::mem::take(&mut self.gone);
        let open = self.open.map(|at| run.snapshots[at].model.clone());
        if now != *run {
            changed = true;
            self.log = now.read_log();
            self.open = open.and_then(|model| now.snapshots.iter().position(|one| one.model == model));
            self.run = Some(now);
        }
        // A snapshot that was written anew, or was not whole, is measured again.
        let before = self.outcomes.len();
        let snapshots = self.run.iter().flat_map(|run| &run.snapshots);
        let stamps: BTreeMap<&String, Stamp> = snapshots
            .filter(|one| self.outcomes.contains_key(&one.model))
            .map(|one| (&one.model, stamp(one)))
            .collect();
        self.outcomes.retain(|model, outcome| stamps.get(model) == Some(&outcome.stamp));
        changed || self.outcomes.len() < before
    }

    /// The run as it is now; `None` where its folder is gone.
    fn again(run: &Run) -> Option<Run> {
        let folder = Path::new(&run.source);
        if folder.is_dir() { Run::read(folder) } else { embedded::run(&run.source) }
    }

    /// The snapshots that are measured, those that have been included.
    fn wanted(&self) -> impl Iterator<Item = &Snapshot> {
        let unlogged = |step| self.log.at(step).is_none_or(|entry| entry.heads.is_empty());
        self.run.iter().flat_map(|run| &run.snapshots).filter(move |snapshot| {
            self.outcomes.contains_key(&snapshot.model)
                || match self.scope {
                    Scope::Unlogged => unlogged(snapshot.step),
                    Scope::All => true,
                    Scope::None => false,
                }
        })
    }

    fn next(&self) -> Option<&Snapshot> {
        self.wanted().find(|snapshot| !self.outcomes.contains_key(&snapshot.model))
    }

    /// Opens and measures the next snapshot beside the model that is open; whether that came to an end, good or bad.
    pub fn measure(&mut self, open: &OpenRequest, cancelled: &dyn Fn() -> bool) -> bool {
        let Some(snapshot) = self.next().cloned() else { return false };
        // Before it is read: if it is still being written, it is another one afterwards.
        let stamp = stamp(&snapshot);
        let point = match guarded(|| self.point(&snapshot, open, cancelled)) {
            Err(error) if is_interrupted(&error) => return false,
            point => point.map_err(|error| line(&told(&error))),
        };
        self.outcomes.insert(snapshot.model, Outcome { stamp, point });
        true
    }

    fn point(&self, snapshot: &Snapshot, open: &OpenRequest, cancelled: &dyn Fn() -> bool) -> Result<Point> {
        let model = self.open_beside(snapshot, open, cancelled)?;
        // Blocks as long as those in the log, so that both make one curve.
        let logged = self.log.entries.iter().rev().find_map(|entry| entry.length);
        let length = logged.filter(|&length| length <= self.block).unwrap_or(self.block);
        let benchmark = model.benchmark(RankSettings { length, ..RankSettings::default() })?;
        let control = Control { progress: &|_, _| (), cancelled };
        Point::measure(snapshot.step, &model.decoder, &benchmark, Score::Induction, &control)
    }

    /// The snapshot of a step.
    pub fn snapshot(&self, step: u64) -> Option<&Snapshot> {
        self.run.as_ref()?.snapshots.iter().find(|snapshot| snapshot.step == step)
    }

    /// Whether a model is a snapshot of the run.
    pub fn has(&self, model: Option<&str>) -> bool {
        let mut snapshots = self.run.iter().flat_map(|run| &run.snapshots);
        model.is_some_and(|model| snapshots.any(|snapshot| snapshot.model == model))
    }

    /// The step of the open snapshot.
    pub fn open_step(&self) -> Option<u64> {
        Some(self.run.as_ref()?.snapshots.get(self.open?)?.step)
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
        if shape != self.shape {
            bail!(
                "{}: {} layers of {} heads, where the open model has {} of {}: it belongs to another run",
                snapshot.model,
                shape.0,
                shape.1,
                self.shape.0,
                self.shape.1
            );
        }
        Ok(model)
    }

    /// The run as the app is told of it.
    pub fn event(&self) -> Event {
        Event::Run(self.run.as_ref().map(|run| Arc::new(self.view(run))))
    }

    fn view(&self, run: &Run) -> RunView {
        let outcome = |snapshot: &Snapshot| self.outcomes.get(&snapshot.model).map(|outcome| &outcome.point);
        let snapshots = run.snapshots.iter().map(|snapshot| SnapshotView {
            step: snapshot.step,
            model: snapshot.model.clone(),
            problem: outcome(snapshot).and_then(|point| point.as_ref().err().cloned()),
        });
        let mut points: BTreeMap<u64, RunPoint> =
            self.log.entries.iter().map(|entry| (entry.step, self.logged(entry))).collect();
        for point in run.snapshots.iter().filter_map(|snapshot| outcome(snapshot)?.as_ref().ok()) {
            let logged = points.get(&point.step);
            let point = RunPoint {
                step: point.step,
                scores: point.scores.clone().into(),
                gain: Some(point.repeat.gain()),
                held_out: logged.and_then(|logged| logged.held_out),
                icl: logged.and_then(|logged| logged.icl),
                measured: true,
            };
            points.insert(point.step, point);
        }
        let (done, total) = (self.outcomes.len(), self.wanted().count());
        let gone =
            self.gone.then(|| format!("{} cannot be read any more; what was read is kept", run.source));
        RunView {
            name: run.name.clone(),
            source: run.source.clone(),
            snapshots: snapshots.collect(),
            open: self.open,
            points: points.into_values().collect(),
            logged: run.log.is_some(),
            measuring: (self.watched && done < total).then_some((done, total)),
            troubles: gone
                .into_iter()
                .chain(run.troubles.iter().cloned())
                .chain(self.log.trouble.clone())
                .collect(),
        }
    }

    /// What was logged of a step; heads that the open model does not have are left out.
    fn logged(&self, entry: &Entry) -> RunPoint {
        let (layers, heads) = self.shape;
        let mut scores = vec![HeadScores::default(); layers * heads];
        let mut known = BTreeSet::new();
        for head in entry.heads.iter().filter(|head| head.layer < layers && head.head < heads) {
            let at = head.layer * heads + head.head;
            known.insert(at);
            let logged = [
                (Score::Induction, head.induction),
                (Score::Previous, head.previous),
                (Score::Duplicate, head.duplicate),
            ];
            for (score, value) in logged {
                scores[at].set(score, value.unwrap_or(f32::NAN));
            }
        }
        RunPoint {
            step: entry.step,
            scores: if known.is_empty() { Arc::new([]) } else { scores.into() },
            gain: entry.repeat_gain,
            held_out: entry.held_out_loss,
            icl: entry.icl.map(|icl| Icl { early: icl.early, late: icl.late, score: icl.score }),
            measured: false,
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
