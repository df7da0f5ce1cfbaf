//! The snapshots of a run: ordinary checkpoint folders, each measured when it is written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use rand::Rng;
use safetensors::SafeTensors;
use tokenizers::Tokenizer;

use super::{
    data,
    eval::{self, Repeats, TextLoss},
    files::{folder_whole, write_whole},
    log,
    model::Model,
    names::{self, NameGuess},
    settings::Settings,
    text::Corpus,
    vocabulary,
};

/// Windows of held-out text that the loss is measured on.
const HELD_OUT_WINDOWS: usize = 64;

/// The measurements at a snapshot.
#[derive(Clone, Debug)]
pub struct Report {
    /// Steps done.
    pub step: usize,
    /// Tokens shown.
    pub tokens: usize,
    /// Mean loss on the training sequences since the last report, nats per token; none where no step was made.
    pub train_loss: Option<f64>,
    /// Losses on held-out text.
    pub text: TextLoss,
    /// Measurements on repeats, one for each of [`eval::lengths`].
    pub repeats: Vec<Repeats>,
    /// Made-up names in prompts; empty where the text has none.
    pub names: Vec<NameGuess>,
    /// Learning rate of the step before.
    pub learning_rate: f64,
    /// Seconds of work since the run began.
    pub seconds: f64,
    /// Where the snapshot is.
    pub folder: PathBuf,
}

/// Writes and measures the snapshots of a run.
pub struct Snapshots<'a> {
    settings: &'a Settings,
    tokenizer: &'a Tokenizer,
    /// Held-out text.
    held_out: Vec<u32>,
    names: bool,
    out: &'a Path,
}

impl<'a> Snapshots<'a> {
    /// Those in the folder `out`; the names in the held-out text are drawn from `rng`.
    pub fn new(
        settings: &'a Settings,
        corpus: &Corpus,
        tokenizer: &'a Tokenizer,
        out: &'a Path,
        rng: &mut impl Rng,
    ) -> Result<Self> {
        let mut held_out = data::tokens(tokenizer, &corpus.held_out(rng))?;
        held_out.truncate(HELD_OUT_WINDOWS * settings.context);
        ensure!(
            held_out.len() >= settings.context,
            "the text kept for measuring is shorter than --context {}: give more text",
            settings.context
        );
        Ok(Self { settings, tokenizer, held_out, names: corpus.names().0 > 0, out })
    }

    /// Where the snapshot after so many steps is.
    fn folder(&self, step: usize) -> PathBuf {
        self.out.join(format!("step-{step:06}"))
    }

    fn log(&self) -> PathBuf {
        self.out.join("log.jsonl")
    }

    /// Cuts off the log what stands after the line of `step`.
    pub fn cut_log(&self, step: Option<usize>) -> Result<()> {
        log::cut_after(&self.log(), step)
    }

    /// Writes a snapshot, measures what was written, and appends it to the log.
    pub fn write(&self, model: &Model, step: usize, train_loss: Option<f64>, seconds: f64) -> Result<Report> {
        folder_whole(&self.folder(step), |folder| {
            model.save(folder)?;
            write_whole(&folder.join("tokenizer.json"), vocabulary::json(self.tokenizer)?.as_bytes())
        })?;
        let report = Report { train_loss, seconds, ..self.measure(step)? };
        log::append(&self.log(), &report)?;
        Ok(report)
    }

    /// Measures the model as it is written in the snapshot after so many steps, so that the figures are those of the file.
    pub fn measure(&self, step: usize) -> Result<Report> {
        let folder = self.folder(step);
        let model = Model::load(&folder, DType::F32, &Device::Cpu)?;
        let mut repeats = Vec::new();
        for length in eval::lengths(&model) {
            repeats.extend(eval::repeats(&model, length, length as u64)?);
        }
        let guesses = || names::name_guesses(&model, self.tokenizer, &names::NAME_PROMPTS);
        Ok(Report {
            step,
            tokens: step * self.settings.batch * self.settings.context,
            train_loss: None,
            text: eval::text_loss(&model, &self.held_out)?,
            repeats,
            names: if self.names { guesses()? } else { Vec::new() },
            learning_rate: self.settings.rate(step.saturating_sub(1)),
            seconds: 0.,
            folder,
        })
    }

    /// What is wrong with the snapshots up to `step`, one line each.
    pub fn gaps(&self, step: usize) -> Vec<String> {
        let folders = self.settings.snapshot_steps(step).map(|step| self.folder(step));
        folders.filter_map(|folder| whole(&folder).err()).map(|error| format!("{error:#}")).collect()
    }
}

/// Looks whether a snapshot is whole.
fn whole(folder: &Path) -> Result<()> {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let path = folder.join(name);
        let bytes = fs::read(&path).with_context(|| format!("{} is gone", path.display()))?;
        match name {
            "model.safetensors" => SafeTensors::deserialize(&bytes).map(drop).map_err(anyhow::Error::from),
            _ => serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map(drop).map_err(Into::into),
        }
        .with_context(|| format!("{} is damaged", path.display()))?;
    }
    Ok(())
}
