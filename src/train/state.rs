//! `state/` of a run: all that it needs to go on as if it had never stopped.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings.json` | the settings under the names of their flags, written when the run begins |
//! | `tokenizer.json` | the vocabulary, written when it has been learnt |
//! | `state.safetensors` | for each weight NAME, in f32, `weight.NAME` and the moments `first.NAME` and `second.NAME` of AdamW; the metadata key `progress` is a JSON object: [`Progress`] |
//!
//! `state.safetensors` is written anew every few steps: beside the old one, which it replaces when it is whole.

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use super::{
    data::Place,
    files::{create_folder, write_whole},
    learner::Learner,
    model::Model,
    vocabulary,
};

/// Where a run stands, besides its weights and moments.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done. What is to be measured and written after them has been.
    pub step: usize,
    /// The sum of the losses since the last measurement, as the bits of an f64: JSON would round it.
    loss_bits: u64,
    /// How many losses that are.
    pub losses: usize,
    /// Seconds of work.
    pub seconds: f64,
    /// Where the source of the sequences stands.
    pub place: Place,
}

impl Progress {
    /// The beginning, with a source that stands at `place`.
    pub fn start(place: Place) -> Self {
        Self { step: 0, loss_bits: 0f64.to_bits(), losses: 0, seconds: 0., place }
    }

    /// Takes in the loss of a step.
    pub fn add_loss(&mut self, loss: f64) {
        self.loss_bits = (f64::from_bits(self.loss_bits) + loss).to_bits();
        self.losses += 1;
    }

    /// The mean loss since it was last taken; none where no step has been made since.
    pub fn take_loss(&mut self) -> Option<f64> {
        let mean = (self.losses > 0).then(|| f64::from_bits(self.loss_bits) / self.losses as f64);
        (self.loss_bits, self.losses) = (0f64.to_bits(), 0);
        mean
    }
}

/// A state that was stored.
pub struct Saved {
    /// Where the run stands.
    pub progress: Progress,
    tensors: HashMap<String, Tensor>,
    path: PathBuf,
}

/// The folder `state` of a run.
pub struct State {
    folder: PathBuf,
    /// The settings of this run, as they are stored.
    settings: String,
    /// Held while this process works on the run.
    lock: Option<File>,
}

impl State {
    /// That of the run in `out`, whose settings must be those that it began with. Nothing is written yet.
    pub fn open(out: &Path, settings: &Map<String, Value>) -> Result<Self> {
        let settings = serde_json::to_string_pretty(settings)? + "\n";
        let mut state = Self { folder: out.join("state"), settings, lock: None };
        if state.has_begun() {
            let path = state.settings();
            let stored =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let stored = serde_json::from_str(&stored).with_context(|| damaged(&path))?;
            // Read back as the others were, so that a number is the same number.
            compare(out, &stored, &serde_json::from_str(&state.settings)?)?;
            state.lock()?;
        } else {
            refuse_foreign(out)?;
        }
        Ok(state)
    }

    /// Stores the settings and the vocabulary of a run that can begin.
    pub fn begin(&mut self, tokenizer: &Tokenizer) -> Result<()> {
        if !self.has_begun() {
            create_folder(&self.folder)?;
            write_whole(&self.tokenizer(), vocabulary::json(tokenizer)?.as_bytes())?;
            write_whole(&self.settings(), self.settings.as_bytes())?;
            self.lock()?;
        }
        Ok(())
    }

    /// Keeps other processes from working on the same run. Where the file system knows no locks, nothing does.
    fn lock(&mut self) -> Result<()> {
        let path = self.settings();
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            bail!("another attnscope trains in {}: wait for it, or stop it", self.folder.display());
        }
        self.lock = Some(file);
        Ok(())
    }

    /// Whether the run has settings and vocabulary.
    pub fn has_begun(&self) -> bool {
        self.settings().exists()
    }

    fn settings(&self) -> PathBuf {
        self.folder.join("settings.json")
    }

    /// Where the vocabulary is.
    pub fn tokenizer(&self) -> PathBuf {
        self.folder.join("tokenizer.json")
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.safetensors")
    }

    /// The state that was stored last; none where the run has only begun.
    pub fn load(&self, device: &Device) -> Result<Option<Saved>> {
        if !self.has_begun() {
            return Ok(None);
        }
        let path = self.path();
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let read = || -> Result<(Progress, HashMap<String, Tensor>)> {
            let (_, header) = SafeTensors::read_metadata(&bytes)?;
            let progress = header.metadata().as_ref().and_then(|metadata| metadata.get("progress"));
            let progress = serde_json::from_str(progress.context("its metadata lacks `progress`")?)?;
            Ok((progress, candle_core::safetensors::load_buffer(&bytes, device)?))
        };
        let (progress, tensors) = read().with_context(|| damaged(&path))?;
        Ok(Some(Saved { progress, tensors, path }))
    }

    /// Stores the state of a run.
    pub fn store(&self, progress: &Progress, model: &Model, learner: &Learner) -> Result<()> {
        let mut tensors = Vec::new();
        for ((name, weight), (first, second)) in model.weights().iter().zip(learner.moments()) {
            for (kind, tensor) in [("weight", weight.as_tensor()), ("first", first), ("second", second)] {
                tensors.push((format!("{kind}.{name}"), tensor.to_device(&Device::Cpu)?));
            }
        }
        let progress = HashMap::from([("progress".to_string(), serde_json::to_string(progress)?)]);
        write_whole(&self.path(), &safetensors::serialize(tensors, Some(progress))?)
    }
}

impl Saved {
    /// Gives `model` its weights back, and the learner of it.
    pub fn restore(&self, model: &Model) -> Result<Learner> {
        let mut moments = Vec::new();
        for (name, weight) in model.weights() {
            weight.set(self.tensor("weight", name, weight)?)?;
            let moment = |kind| self.tensor(kind, name, weight).cloned();
            moments.push((moment("first")?, moment("second")?));
        }
        Learner::resume(moments, self.progress.step)
    }

    fn tensor(&self, kind: &str, name: &str, like: &Tensor) -> Result<&Tensor> {
        let tensor = self.tensors.get(&format!("{kind}.{name}"));
        let tensor =
            tensor.with_context(|| format!("it lacks {kind}.{name}")).with_context(|| damaged(&self.path))?;
        ensure!(
            tensor.shape() == like.shape() && tensor.dtype() == like.dtype(),
            "{}: {kind}.{name} has another shape",
            damaged(&self.path)
        );
        Ok(tensor)
    }
}

/// That a file of the state cannot be gone on from, and what to do.
fn damaged(path: &Path) -> String {
    format!(
        "{} is damaged, so this run cannot go on; its snapshots are good, and --from STEP with another --out goes on \
         from one of them",
        path.display()
    )
}

/// Refuses a folder with snapshots that are of no run that could go on.
fn refuse_foreign(out: &Path) -> Result<()> {
    ensure!(!out.exists() || out.is_dir(), "{} is no folder: give --out the name of one", out.display());
    let Ok(entries) = fs::read_dir(out) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with("step-") {
            bail!(
                "{} holds snapshots of an earlier run and no state to go on from: give --out another folder",
                out.display()
            );
        }
    }
    Ok(())
}

/// Refuses settings other than those that a run began with, by name.
fn compare(out: &Path, stored: &Map<String, Value>, given: &Map<String, Value>) -> Result<()> {
    let names = stored.keys().chain(given.keys());
    let Some(name) = names.into_iter().find(|name| stored.get(*name) != given.get(*name)) else {
        return Ok(());
    };
    let (began, now) = match name.as_str() {
        "text" => ("another --text".to_string(), "this one".to_string()),
        name => (said(name, stored.get(name)), said(name, given.get(name))),
    };
    bail!(
        "{} holds a run that began with {began}, not {now}: give the settings of that run to go on with it, or give \
         --out another folder (and --from a snapshot of this one to begin with its weights)",
        out.display()
    );
}

/// A setting as it stands on the command line.
fn said(name: &str, value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null | Value::Bool(false)) => format!("no --{name}"),
        Some(Value::Bool(true)) => format!("--{name}"),
        Some(Value::String(text)) => format!("--{name} {text}"),
        Some(value) => format!("--{name} {value}"),
    }
}
