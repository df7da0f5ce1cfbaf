//! Trains the small models of the papers on text.
//!
//! A model of two attention layers learns induction in minutes on two cores when it is first shown nothing but blocks
//! of random tokens that come back (`repeat_steps`), and then text with some such blocks among it. See [`Settings`]
//! for the figures, [`data`] for the sequences and [`text`] for what is done to the text.

pub mod command;
pub mod data;
pub mod eval;
pub mod model;
pub mod ops;
pub mod text;
pub mod vocabulary;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Tensor, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use tokenizers::Tokenizer;

use self::{
    data::{Batch, Source},
    eval::{NameGuess, Repeats},
    model::{Config, Model},
    ops::token_losses,
    text::Corpus,
};

/// Steps over which the learning rate rises.
const WARM_UP: usize = 200;
/// The gradient's longest norm over all weights.
const LONGEST_GRADIENT: f64 = 1.;
/// Sequences that one core works on at a time.
const PART: usize = 8;
/// Windows of held-out text that the loss is measured on.
const HELD_OUT_WINDOWS: usize = 64;

/// What to train and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Attention layers.
    pub layers: usize,
    /// Heads per layer.
    pub heads: usize,
    /// Numbers in the residual stream.
    pub width: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens the model reads at once.
    pub context: usize,
    /// Sequences per step.
    pub batch: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps at the start with repeats and no plain text. Text mixed in before induction has formed keeps it from
    /// forming, and when it forms differs by hundreds of steps between seeds: look at the reports, and go on from a
    /// snapshot ([`Settings::from`]) when it has not.
    pub repeat_steps: usize,
    /// Share of repeats among the sequences after that.
    pub repeats: f64,
    /// Highest learning rate, reached after the warm-up; a cosine takes it to a tenth at the last step.
    pub learning_rate: f64,
    /// Everything random follows from this.
    pub seed: u64,
    /// A snapshot to go on from, with its weights and tokenizer; the optimiser and the steps start anew.
    pub from: Option<PathBuf>,
    /// A snapshot and a measurement after every so many steps, besides the first and the last.
    pub snapshot_every: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layers: 2,
            heads: 8,
            width: 128,
            vocab: 2048,
            context: 128,
            batch: 32,
            steps: 4300,
            repeat_steps: 2600,
            repeats: 0.2,
            learning_rate: 2e-3,
            seed: 0,
            from: None,
            snapshot_every: 250,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<()> {
        ensure!(self.steps > 0, "--steps 0 trains nothing");
        ensure!(self.batch > 0, "--batch 0 shows the model nothing");
        ensure!(self.snapshot_every > 0, "--snapshot-every 0 would never save: give a number of steps");
        ensure!(self.learning_rate > 0. && self.learning_rate < 1., "--lr must lie between 0 and 1");
        ensure!((0. ..=1.).contains(&self.repeats), "the share of repeats must lie between 0 and 1");
        Ok(())
    }

    /// The learning rate of a step, counted from zero.
    fn rate(&self, step: usize) -> f64 {
        let rising = ((step + 1) as f64 / WARM_UP as f64).min(1.);
        let past = step.saturating_sub(WARM_UP) as f64 / self.steps.saturating_sub(WARM_UP).max(1) as f64;
        let falling = 0.1 + 0.9 * 0.5 * (1. + (std::f64::consts::PI * past).cos());
        self.learning_rate * rising * falling
    }
}

/// What the loop tells while it runs.
pub enum Event<'a> {
    /// A step is done: how many now, and its loss in nats per token.
    Step(usize, f64),
    /// A snapshot was measured and written.
    Snapshot(&'a Report),
}

/// The measurements at a snapshot.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// Steps done.
    pub step: usize,
    /// Tokens shown.
    pub tokens: usize,
    /// Mean loss on the training sequences since the last report, nats per token.
    pub train_loss: f64,
    /// Mean loss on held-out text, nats per token.
    pub text_loss: f64,
    /// Measurements on repeats, one for each length of [`eval::LENGTHS`] that fits.
    pub repeats: Vec<Repeats>,
    /// Made-up names in prompts; empty where the text has none.
    pub names: Vec<NameGuess>,
    /// Time since the start.
    pub elapsed: Duration,
    /// Where the snapshot is.
    pub folder: PathBuf,
}

/// Trains a model and writes its snapshots into `out/step-NNNNNN`.
pub fn train(
    settings: &Settings,
    corpus: &Corpus,
    out: &Path,
    mut tell: impl FnMut(Event<'_>),
) -> Result<(Model, Report)> {
    settings.check()?;
    let config =
        Config::new(settings.vocab, settings.width, settings.layers, settings.heads, settings.context)?;
    free_folder(out)?;
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let tokenizer = match &settings.from {
        Some(folder) => vocabulary::load(folder)?,
        None => vocabulary::learn(corpus.training(&mut rng).iter().map(String::as_str), settings.vocab)?,
    };
    let mut held_out = data::tokens(&tokenizer, &corpus.held_out(&mut rng))?;
    held_out.truncate(HELD_OUT_WINDOWS * settings.context);

    let model = match &settings.from {
        Some(folder) => Model::load(folder, DType::F32)?,
        None => Model::new(config.clone(), DType::F32, &mut rng)?,
    };
    if let (Some(folder), true) = (&settings.from, *model.config() != config) {
        bail!(
            "{} holds a model of other sizes: give --from and the sizes that it was trained with",
            folder.display()
        );
    }
    let mut source = Source::new(corpus, &tokenizer, settings.context, settings.seed.wrapping_add(1))?;
    let mut learner = Learner::new(&model)?;
    let start = Instant::now();
    let (mut sum, mut count) = (0., 0);
    let mut report = None;
    for step in 0..=settings.steps {
        if step % settings.snapshot_every == 0 || step == settings.steps {
            let folder = out.join(format!("step-{step:06}"));
            save(&model, &tokenizer, &folder)?;
            let measured = Report {
                step,
                tokens: step * settings.batch * settings.context,
                train_loss: if count > 0 { sum / count as f64 } else { f64::NAN },
                elapsed: start.elapsed(),
                ..measure(&folder, &held_out, corpus.changes())?
            };
            (sum, count) = (0., 0);
            tell(Event::Snapshot(&measured));
            report = Some(measured);
        }
        if step == settings.steps {
            break;
        }
        let repeats = if step < settings.repeat_steps { 1. } else { settings.repeats };
        let sequences = source.sequences(settings.batch, repeats)?;
        let loss = learner.step(&model, &sequences, settings.rate(step))?;
        if !loss.is_finite() {
            bail!("the loss is no longer a number at step {step}: train again with a smaller --lr");
        }
        (sum, count) = (sum + loss, count + 1);
        tell(Event::Step(step + 1, loss));
    }
    let report = report.context("no step was made")?;
    Ok((model, report))
}

/// Measures the model as it was written to `folder`, so that the figures are those of the file.
pub fn measure(folder: &Path, held_out: &[u32], names: bool) -> Result<Report> {
    let (model, tokenizer) = (Model::load(folder, DType::F32)?, vocabulary::load(folder)?);
    let mut repeats = Vec::new();
    for length in eval::LENGTHS {
        repeats.extend(eval::repeats(&model, length, length as u64)?);
    }
    Ok(Report {
        step: 0,
        tokens: 0,
        train_loss: f64::NAN,
        text_loss: eval::text_loss(&model, held_out)?,
        repeats,
        names: if names { eval::name_guesses(&model, &tokenizer, &eval::NAME_PROMPTS)? } else { Vec::new() },
        elapsed: Duration::ZERO,
        folder: folder.to_path_buf(),
    })
}

/// Writes a snapshot: an ordinary checkpoint directory.
fn save(model: &Model, tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    model.save(folder)?;
    vocabulary::save(tokenizer, folder)
}

/// Refuses a folder with the snapshots of another run.
fn free_folder(out: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(out) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("step-") {
            bail!("{} holds snapshots of an earlier run: give --out another folder", out.display());
        }
    }
    Ok(())
}

/// AdamW with the gradient's norm bounded.
struct Learner {
    optimizer: AdamW,
    pool: rayon::ThreadPool,
}

impl Learner {
    fn new(model: &Model) -> Result<Self> {
        let weights = model.weights().into_iter().map(|(_, var)| var).collect();
        let settings = ParamsAdamW { lr: 0., beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.01 };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { optimizer: AdamW::new(weights, settings)?, pool })
    }

    /// Makes one step; returns the mean loss before it.
    ///
    /// The batch is worked on in parts of [`PART`] sequences, each from the embedding to its gradient on one core:
    /// threads meet once a step instead of at every operation. The parts do not depend on the number of cores and
    /// are summed in order, so neither do the weights.
    fn step(&mut self, model: &Model, sequences: &[Vec<u32>], rate: f64) -> Result<f64> {
        let part = |part: &[Vec<u32>]| -> Result<(f64, GradStore)> {
            let share = part.len() as f64 / sequences.len() as f64;
            let loss = (mean_loss(model, &Batch::new(part)?)? * share)?;
            let gradients = loss.backward()?;
            Ok((loss.to_dtype(DType::F64)?.to_scalar()?, gradients))
        };
        let parts: Vec<(f64, GradStore)> =
            self.pool.install(|| sequences.par_chunks(PART).map(part).collect::<Result<_>>())?;
        let mut gradients = GradStore::default();
        for (_, var) in model.weights() {
            let mut shares = parts.iter().filter_map(|(_, gradients)| gradients.get(&var));
            let Some(first) = shares.next().cloned() else { continue };
            let sum = shares.try_fold(first, |sum, share| sum + share)?;
            gradients.insert(&var, sum);
        }
        bound(&mut gradients, model)?;
        self.optimizer.set_learning_rate(rate);
        self.optimizer.step(&gradients)?;
        Ok(parts.iter().map(|(loss, _)| loss).sum())
    }
}

/// The mean loss of a batch, with its way back to the weights.
fn mean_loss(model: &Model, batch: &Batch) -> Result<Tensor> {
    let logits = model.forward(&batch.inputs)?.logits;
    Ok(token_losses(&logits.flatten_to(1)?, &batch.targets)?.mean_all()?)
}

/// Shortens the gradient to a norm of [`LONGEST_GRADIENT`].
fn bound(gradients: &mut GradStore, model: &Model) -> Result<()> {
    let weights = model.weights();
    let mut square = 0.;
    for (_, var) in &weights {
        if let Some(gradient) = gradients.get(var) {
            square += gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        }
    }
    let norm = square.sqrt();
    if norm > LONGEST_GRADIENT {
        for (_, var) in &weights {
            if let Some(gradient) = gradients.remove(var) {
                gradients.insert(var, (gradient * (LONGEST_GRADIENT / norm))?);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
