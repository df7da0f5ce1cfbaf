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
    files::{folder_whole, write_whole},
    log,
    model::Model,
    names::{self, NameGuess},
    settings::Settings,
    text::Corpus,
    vocabulary::{self, BOS_ID},
};
use crate::{
    analysis::{benchmark::RankSettings, loss, score::Score},
    checkpoint::progress::Nobody,
    engine::open::{self, OpenRequest},
    model::{decoder::Control, place::DeviceChoice},
    run::{Entry, Measured},
};

/// Windows of held-out text that the loss is measured on.
const HELD_OUT_WINDOWS: usize = 64;
/// Tokens in the blocks that are measured too, where they are shorter than the usual one; they are told and not logged.
const SHORTER: [usize; 2] = [10, 25];

/// The measurements at a snapshot.
#[derive(Clone, Debug)]
pub struct Report {
    /// Steps done.
    pub step: usize,
    /// Tokens shown.
    pub tokens: usize,
    /// Mean loss on the training sequences since the last report, nats per token; none where no step was made.
    pub train_loss: Option<f64>,
    /// What `timeline` measures of the snapshot, with the losses on held-out text.
    pub measured: Measured,
    /// The same on shorter blocks, where there are.
    pub shorter: Vec<Measured>,
    /// Made-up names in prompts; empty where the text has none.
    pub names: Vec<NameGuess>,
    /// Learning rate of the step before.
    pub learning_rate: f64,
    /// Seconds of work since the run began.
    pub seconds: f64,
    /// Where the snapshot is.
    pub folder: PathBuf,
}

impl Report {
    /// The line of the log.
    pub fn entry(&self) -> Entry {
        Entry {
            tokens: self.tokens,
            train_loss: self.train_loss,
            learning_rate: self.learning_rate,
            seconds: (self.seconds * 1e3).round() / 1e3,
            ..Entry::new(&self.measured)
        }
    }
}

/// Writes and measures the snapshots of a run.
pub struct Snapshots<'a> {
    settings: &'a Settings,
    tokenizer: &'a Tokenizer,
    /// Windows of held-out text: BOS and as many tokens as the context has.
    held_out: Vec<Vec<u32>>,
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
        let held_out = data::tokens(tokenizer, &corpus.held_out(rng))?;
        let windows = held_out.chunks_exact(settings.context).take(HELD_OUT_WINDOWS);
        let held_out: Vec<_> = windows.map(|window| [&[BOS_ID], window].concat()).collect();
        ensure!(
            !held_out.is_empty(),
            "the text kept for measuring is shorter than --context {}: give more text",
            settings.context
        );
        ensure!(out.to_str().is_some(), "{} is no UTF-8 text: give --out another folder", out.display());
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
        log::append(&self.log(), &report.entry())?;
        Ok(report)
    }

    /// Measures the snapshot after so many steps: as it is written, and as `timeline` does, so that the figures are those that
    /// are measured of the file later.
    pub fn measure(&self, step: usize) -> Result<Report> {
        let folder = self.folder(step);
        let request = OpenRequest {
            model: Some(folder.display().to_string()),
            device: DeviceChoice::Cpu,
            ..OpenRequest::default()
        };
        let model = open::Model::open(&request, &Nobody)?;
        let measure = |length| {
            let benchmark = model.benchmark(RankSettings { length, ..RankSettings::default() })?;
            Measured::measure(step as u64, &model.decoder, &benchmark, Score::Induction, &Control::FREE)
        };
        let usual = model.info.block;
        let shorter = SHORTER.into_iter().filter(|&length| length < usual).map(measure);
        let shorter = shorter.collect::<Result<Vec<_>>>()?;
        let text = loss::text(&model.decoder, &self.held_out, &Control::FREE)?;
        let text = text.context("the held-out windows have no tokens")?;
        let names = match self.names {
            true => self.guess_names(&folder)?,
            false => Vec::new(),
        };
        Ok(Report {
            step,
            tokens: step * self.settings.batch * self.settings.context,
            train_loss: None,
            measured: Measured { held_out: Some(text.mean() as f32), icl: Some(text.icl), ..measure(usual)? },
            shorter,
            names,
            learning_rate: self.settings.rate(step.saturating_sub(1)),
            seconds: 0.,
            folder,
        })
    }

    fn guess_names(&self, folder: &Path) -> Result<Vec<NameGuess>> {
        let model = Model::load(folder, DType::F32, &Device::Cpu)?;
        names::name_guesses(&model, self.tokenizer, &names::NAME_PROMPTS)
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
