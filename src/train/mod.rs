//! Trains the small models of the papers on text.
//!
//! A model of two attention layers learns induction in minutes on two cores when it is first shown nothing but blocks
//! of random tokens that come back (`repeat_steps`), and then text with some such blocks among it. See [`Settings`]
//! for the figures, [`data`] for the sequences and [`text`] for what is done to the text.
//!
//! A run is a folder: snapshots `step-NNNNNN`, the measurements in `log.jsonl`, and in `state` what it needs to go on.
//! Everything random follows from the seed, so a run that was killed and goes on ends with the very weights of one that
//! was not, and running a command again does no more than is left to do.

pub mod angles;
pub mod command;
pub mod config;
pub mod data;
pub mod elementary;
mod files;
pub mod learner;
mod log;
pub mod model;
pub mod names;
pub mod ops;
mod progress;
mod settings;
mod snapshot;
mod state;
pub mod text;
pub mod vocabulary;

use std::{ops::ControlFlow, path::Path, time::Instant};

use anyhow::{Result, bail};
use candle_core::{DType, Device};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use self::{
    data::Source,
    learner::Learner,
    model::Model,
    snapshot::Snapshots,
    state::{Progress, State},
    text::Corpus,
};
pub use self::{
    settings::{Settings, Spacing},
    snapshot::Report,
};

/// What the loop tells while it runs.
pub enum Event<'a> {
    /// The run begins, or goes on after so many steps.
    Begun {
        /// Steps done.
        step: usize,
        /// What is wrong with snapshots of earlier steps; they are not made again.
        gaps: &'a [String],
    },
    /// A step is done.
    Step {
        /// Steps done.
        step: usize,
        /// Its loss, nats per token.
        loss: f64,
    },
    /// A snapshot was written and measured.
    Snapshot(&'a Report),
}

/// How training ended.
pub struct Outcome {
    /// The model as it is now.
    pub model: Model,
    /// Steps done.
    pub step: usize,
    /// The measurement of the last snapshot; none where training was stopped before one was made.
    pub report: Option<Report>,
}

/// Trains a model in the folder `out`, or goes on where a run with the same settings was stopped or killed.
///
/// When `tell` answers break, what is due after the step is done, the state stored, and training ends.
pub fn train(
    settings: &Settings,
    corpus: &Corpus,
    out: &Path,
    device: &Device,
    mut tell: impl FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Outcome> {
    let config = settings.check()?;
    if device.is_cpu() {
        learner::check_memory(&config, settings.batch)?;
    }
    let mut state = State::open(out, &identity(settings, corpus, device)?)?;
    let saved = state.load(device)?;
    // The draws are the same for a run that goes on, and of what they make, it takes what it has stored.
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let tokenizer = tokenizer(settings, corpus, &state, &mut rng)?;
    let snapshots = Snapshots::new(settings, corpus, &tokenizer, out, &mut rng)?;
    let model = match &settings.from {
        Some(folder) => Model::load(folder, DType::F32, device)?,
        None => Model::new(config.clone(), DType::F32, device, &mut rng)?,
    };
    if let (Some(folder), true) = (&settings.from, *model.config() != config) {
        bail!(
            "{} holds a model of other sizes: give --from and the sizes that it was trained with",
            folder.display()
        );
    }
    let place = saved.as_ref().map(|saved| saved.progress.place);
    let source = Source::new(corpus, &tokenizer, settings.context, settings.seed.wrapping_add(1), place)?;
    let (learner, progress) = match &saved {
        Some(saved) => (saved.restore(&model)?, saved.progress),
        None => (Learner::new(&model)?, Progress::start(source.place())),
    };
    // Only a run that can work leaves something.
    state.begin(&tokenizer)?;
    let stored = saved.map(|saved| saved.progress.step);
    snapshots.cut_log(stored)?;
    let gaps = stored.map_or_else(Vec::new, |step| snapshots.gaps(step));
    let mut stop = tell(Event::Begun { step: progress.step, gaps: &gaps }).is_break();

    let mut run =
        Trainer { settings, snapshots, state, source, model, learner, progress, since: Instant::now() };
    let mut report = match stored {
        Some(step) if step == settings.steps => Some(run.snapshots.measure(step)?),
        _ => None,
    };
    // The state is stored when all that is due after its step is done.
    let mut done = stored;
    loop {
        let step = run.progress.step;
        if done != Some(step) {
            if settings.is_snapshot(step) {
                let measured = run.snapshot()?;
                stop |= tell(Event::Snapshot(&measured)).is_break();
                report = Some(measured);
            }
            if stop || step == settings.steps || step.is_multiple_of(settings.save_every) {
                run.store()?;
            }
            done = Some(step);
        }
        if stop || step == settings.steps {
            return Ok(Outcome { model: run.model, step, report });
        }
        let loss = run.step()?;
        stop |= tell(Event::Step { step: step + 1, loss }).is_break();
    }
}

/// A run at work.
struct Trainer<'a> {
    settings: &'a Settings,
    snapshots: Snapshots<'a>,
    state: State,
    source: Source<'a>,
    model: Model,
    learner: Learner,
    progress: Progress,
    /// Since when [`Progress::seconds`] have not been counted.
    since: Instant,
}

impl Trainer<'_> {
    /// Makes a step; returns its loss in nats per token.
    fn step(&mut self) -> Result<f64> {
        let step = self.progress.step;
        let sequences = self.source.sequences(self.settings.batch, self.settings.mix(step))?;
        let loss = self.learner.step(&self.model, &sequences, self.settings.rate(step))?;
        if !loss.is_finite() {
            bail!("the loss is no longer a number at step {step}: train again with a smaller --lr");
        }
        self.progress.add_loss(loss);
        self.progress.step += 1;
        Ok(loss)
    }

    /// Writes, measures and logs a snapshot.
    fn snapshot(&mut self) -> Result<Report> {
        self.count_time();
        let train_loss = self.progress.take_loss();
        self.snapshots.write(&self.model, self.progress.step, train_loss, self.progress.seconds)
    }

    /// Stores the state.
    fn store(&mut self) -> Result<()> {
        self.count_time();
        self.progress.place = self.source.place();
        self.state.store(&self.progress, &self.model, &self.learner)
    }

    fn count_time(&mut self) {
        self.progress.seconds += self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
    }
}

/// The settings that a run must go on with: those of the command line, the text, and the device.
fn identity(settings: &Settings, corpus: &Corpus, device: &Device) -> Result<Map<String, Value>> {
    let mut all = match serde_json::to_value(settings)? {
        Value::Object(all) => all,
        other => bail!("settings are an object, not {other}"),
    };
    all.insert("text".into(), format!("{:016x}", corpus.fingerprint()).into());
    all.insert("invent-names".into(), serde_json::to_value(corpus.invented())?);
    all.insert("device".into(), if device.is_cpu() { "cpu" } else { "accelerator" }.into());
    Ok(all)
}

/// The vocabulary: the one stored with the run, that of the snapshot to go on from, or learnt from the text.
fn tokenizer(settings: &Settings, corpus: &Corpus, state: &State, rng: &mut ChaCha8Rng) -> Result<Tokenizer> {
    // Drawn for a run that goes on too, whose later draws are then the same.
    let text = settings.from.is_none().then(|| corpus.training(rng));
    match (&settings.from, text) {
        _ if state.has_begun() => vocabulary::load(&state.tokenizer()),
        (Some(folder), _) => vocabulary::load(&folder.join("tokenizer.json")),
        (None, text) => vocabulary::learn(text.iter().flatten().map(String::as_str), settings.vocab),
    }
}

#[cfg(test)]
mod tests;
