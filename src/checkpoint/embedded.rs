//! The checkpoints that are part of the program, with earlier snapshots and the log of the training that made them.

use std::sync::Arc;

use anyhow::{Context, Result, bail};

use super::{
    Checkpoint, Description, safetensors,
    snapshot::{self, Snapshot},
    tokenizer::Tokenizer,
    weights::{Backing, Weights},
};

/// The model that opens when none is named.
pub const DEFAULT: &str = "attn-2l";

/// Every shipped model.
pub const NAMES: [&str; 4] = ["bigram", "attn-1l", "attn-1l-smeared", DEFAULT];

/// A shipped model and its run.
struct Shipped {
    name: &'static str,
    /// The step of `weights`.
    step: u64,
    config: &'static [u8],
    weights: &'static [u8],
    tokenizer: &'static [u8],
    /// `log.jsonl` of its run.
    log: &'static str,
    /// Earlier snapshots of its run: folder and weights, which go with the same configuration and tokenizer.
    snapshots: &'static [(&'static str, &'static [u8])],
}

/// The files of `checkpoints/NAME`, with those of some of its snapshots.
macro_rules! shipped {
    ($name:literal $last:literal $($step:literal)*) => {
        Shipped {
            name: $name,
            step: $last,
            config: include_bytes!(concat!("../../checkpoints/", $name, "/config.json")),
            weights: include_bytes!(concat!("../../checkpoints/", $name, "/model.safetensors")),
            tokenizer: include_bytes!(concat!("../../checkpoints/", $name, "/tokenizer.json")),
            log: include_str!(concat!("../../checkpoints/", $name, "/log.jsonl")),
            snapshots: &[$((
                $step,
                include_bytes!(concat!("../../checkpoints/", $name, "/", $step, "/model.safetensors")),
            )),*],
        }
    };
}

static SHIPPED: [Shipped; NAMES.len()] = [
    shipped!("bigram" 3000),
    shipped!("attn-1l" 3500),
    shipped!("attn-1l-smeared" 2500),
    shipped!("attn-2l" 7000
        "step-000000" "step-000200" "step-000500" "step-001000" "step-001500" "step-001800" "step-001900" "step-001950"
        "step-002000" "step-002050" "step-002100" "step-002150" "step-002200" "step-002600" "step-005000"),
];

/// Whether `name` is a shipped model or a snapshot of one, such as `attn-2l@step2000`.
pub fn has(name: &str) -> bool {
    NAMES.contains(&parts(name).0)
}

/// The snapshots of the run that the shipped model `name` is the end of, or a snapshot of; the model itself is the last.
pub fn snapshots(name: &str) -> Option<Vec<Snapshot>> {
    let files = shipped(parts(name).0)?;
    let step = |folder: &str| snapshot::step(folder).unwrap_or_default();
    let earlier = files.snapshots.iter().map(|(folder, _)| Snapshot {
        model: format!("{}@step{}", files.name, step(folder)),
        step: step(folder),
    });
    let last = Snapshot { model: files.name.into(), step: files.step };
    Some(earlier.chain([last]).collect())
}

/// The text of `log.jsonl` of that run.
pub fn log(name: &str) -> Option<&'static str> {
    shipped(parts(name).0).map(|files| files.log)
}

/// Opens the shipped model or snapshot `name`.
pub fn open(name: &str) -> Result<Checkpoint> {
    let (model, revision) = parts(name);
    let Some(files) = shipped(model) else {
        bail!("`{model}` is not shipped (shipped models: {})", NAMES.join(", "));
    };
    let weights = match revision {
        None => files.weights,
        Some(revision) => files.at(revision)?,
    };
    let origin = format!("{name} (embedded)");
    let mut read = Weights::default();
    safetensors::read(Arc::new(Backing::Embedded(weights)), &origin, &mut read)?;
    let values = serde_json::from_slice(files.config).with_context(|| origin.clone())?;
    let tokenizer =
        Tokenizer::from_bytes(files.tokenizer, &origin, None, None).map_err(|error| format!("{error:#}"));
    Ok(Checkpoint {
        name: name.into(),
        source: "embedded".into(),
        origin,
        description: Description::Hub(values),
        weights: read,
        tokenizer,
        remarks: Vec::new(),
    })
}

impl Shipped {
    /// The weights at `step2000`, `step-002000` or `2000`.
    fn at(&self, revision: &str) -> Result<&'static [u8]> {
        let wanted = snapshot::step(revision).or_else(|| revision.parse().ok());
        let snapshot =
            self.snapshots.iter().find(|(folder, _)| wanted.is_some() && snapshot::step(folder) == wanted);
        if let Some((_, weights)) = snapshot {
            return Ok(weights);
        }
        if wanted == Some(self.step) {
            return Ok(self.weights);
        }
        let steps = self.snapshots.iter().filter_map(|(folder, _)| snapshot::step(folder)).chain([self.step]);
        let steps: Vec<String> = steps.map(|step| step.to_string()).collect();
        bail!("{} is not shipped as it was at `{revision}`, but at steps {}", self.name, steps.join(", "))
    }
}

fn shipped(name: &str) -> Option<&'static Shipped> {
    SHIPPED.iter().find(|files| files.name == name)
}

/// The model and the revision of `MODEL@REVISION`.
fn parts(name: &str) -> (&str, Option<&str>) {
    name.split_once('@').map_or((name, None), |(model, revision)| (model, Some(revision)))
}
