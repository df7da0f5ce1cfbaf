//! The snapshots that training leaves in a folder: how their names tell the step, and which of them is the last.

use std::path::Path;

use anyhow::{Context, Result};

use super::formats;

/// A snapshot of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What opens it: `MODEL` of the command line.
    pub model: String,
    /// The training step it was taken at.
    pub step: u64,
}

/// The training step in a name such as `step1000`, `checkpoint-500`, `global_step20`, `stage1-step5000-tokens21B` or
/// `iter_0001000`.
pub fn step(name: &str) -> Option<u64> {
    let (_, digits) = split(name)?;
    digits.parse().ok()
}

/// What comes before the step in a name: the run or the stage of training that it belongs to.
pub fn prefix(name: &str) -> &str {
    split(name).map_or(name, |(prefix, _)| prefix)
}

fn split(name: &str) -> Option<(&str, &str)> {
    const WORDS: [&str; 4] = ["step", "checkpoint", "ckpt", "iter"];
    let lower = name.to_ascii_lowercase();
    WORDS.iter().find_map(|word| {
        let start = lower.find(word)? + word.len();
        let rest = name[start..].trim_start_matches(['-', '_', '=']);
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        (!digits.is_empty()).then(|| (&name[..start], digits))
    })
}

/// Whether a folder says of itself that it is a model.
pub fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// Whether a folder is a model, by what it says or by the weights in it.
pub fn is_checkpoint(folder: &Path) -> bool {
    is_model(folder) || has_weights(folder)
}

/// The snapshots in a folder, in the order of their steps; hidden folders, in which some are begun, are none.
pub fn inside(folder: &Path) -> Result<Vec<Snapshot>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut found: Vec<Snapshot> = entries
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))?;
            Some(Snapshot { model: entry.path().to_str()?.to_owned(), step: step(&name)? })
        })
        .collect();
    found.sort_by(|one, other| (one.step, &one.model).cmp(&(other.step, &other.model)));
    Ok(found)
}

/// The snapshot that opens where `folder` is given as a model: the last one that has weights, where the folder is a run
/// and no model itself.
pub fn last_snapshot(folder: &Path) -> Option<Snapshot> {
    if is_checkpoint(folder) {
        return None;
    }
    inside(folder).ok()?.into_iter().rev().find(|snapshot| has_weights(Path::new(&snapshot.model)))
}

fn has_weights(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| formats::is_weights(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_the_names_that_runs_use() {
        let names = [
            ("step1000", Some(1000)),
            ("step-001750", Some(1750)),
            ("checkpoint-500", Some(500)),
            ("global_step20", Some(20)),
            ("stage1-step5000-tokens21B", Some(5000)),
            ("iter_0001000", Some(1000)),
            ("main", None),
            ("v1.0", None),
            ("stepwise", None),
        ];
        for (name, expected) in names {
            assert_eq!(step(name), expected, "{name}");
        }
    }

    #[test]
    fn the_last_snapshot_with_weights_opens_for_a_run() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["step-5", "step-10", "step-20"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["step-5", "step-10"] {
            std::fs::write(folder.path().join(name).join("model.safetensors"), name).unwrap();
        }
        assert_eq!(last_snapshot(folder.path()).unwrap().step, 10, "step 20 is being written");
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert_eq!(last_snapshot(folder.path()), None, "the folder is a model itself");
    }
}
