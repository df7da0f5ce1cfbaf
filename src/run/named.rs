//! The snapshots that the arguments of a command name.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::checkpoint::{
    embedded,
    snapshot::{Snapshot, inside, is_checkpoint, step},
};

/// The models that the arguments name, in their order, those of a run in the order of their steps; each with its step, where a name
/// tells it.
///
/// An argument is a folder of snapshots (`step*`, `checkpoint-*`), a snapshot of its own, a file, a shipped model that
/// comes with its run, or a revision of a model on the hub.
///
/// # Errors
/// When a folder holds neither a model nor snapshots.
pub fn named(arguments: &[String]) -> Result<Vec<(String, Option<u64>)>> {
    let mut named = Vec::new();
    for argument in arguments {
        let path = Path::new(argument);
        // A snapshot that is named by its step is one, not its run.
        let whole = embedded::snapshots(argument).filter(|_| !argument.contains('@'));
        let found = match whole {
            Some(snapshots) => snapshots,
            None if path.is_dir() => inside(path)?,
            None => Vec::new(),
        };
        if found.is_empty() && path.is_dir() && !is_checkpoint(path) {
            bail!("{argument} holds no model and no snapshots (folders named step* or checkpoint-*)");
        }
        if found.is_empty() {
            if embedded::has(argument) {
                embedded::open(argument)?;
            }
            named.push((argument.clone(), step_of(argument)));
        }
        named.extend(found.into_iter().map(|snapshot| (snapshot.model, Some(snapshot.step))));
    }
    Ok(named)
}

/// The snapshots that the arguments name, as [`named`] reads them, in the order of their steps. Where no name tells a step,
/// they are numbered as they were given.
///
/// # Errors
/// Those of [`named`], and when only some names tell their step or two are of one step.
pub fn snapshots(arguments: &[String]) -> Result<Vec<Snapshot>> {
    let mut named = named(arguments)?;
    if named.iter().all(|(_, step)| step.is_none()) {
        named.iter_mut().zip(0..).for_each(|((_, step), place)| *step = Some(place));
    }
    let mut snapshots = named
        .into_iter()
        .map(|(model, step)| {
            let step = step.with_context(|| {
                format!("{model}: its name tells no step: name it step-N, as the others are")
            })?;
            Ok(Snapshot { model, step })
        })
        .collect::<Result<Vec<_>>>()?;
    snapshots.sort_by_key(|snapshot| snapshot.step);
    snapshots.dedup();
    if let Some(pair) = snapshots.windows(2).find(|pair| pair[0].step == pair[1].step) {
        bail!(
            "{} and {} are both of step {}: name one run at a time",
            pair[0].model,
            pair[1].model,
            pair[0].step
        );
    }
    Ok(snapshots)
}

/// The step that an argument tells: of its revision on the hub, or of the last part of its path.
fn step_of(argument: &str) -> Option<u64> {
    let last = argument.trim_end_matches('/').rsplit(['/', '@']).next()?;
    step(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_snapshots_is_listed_in_the_order_of_steps() {
        let run = tempfile::tempdir().unwrap();
        for name in ["checkpoint-500", "checkpoint-64", "checkpoint-1000", "logs"] {
            std::fs::create_dir(run.path().join(name)).unwrap();
        }
        let path = run.path().to_str().unwrap().to_owned();
        let steps = |arguments: &[String]| {
            snapshots(arguments).map(|all| all.iter().map(|one| one.step).collect::<Vec<_>>())
        };
        assert_eq!(steps(std::slice::from_ref(&path)).unwrap(), [64, 500, 1000]);
        let last = format!("{path}/checkpoint-64/");
        assert!(steps(&[format!("{path}/logs")]).unwrap_err().to_string().contains("no snapshots"));
        assert!(steps(&[last]).is_err(), "a folder without a model in it");
    }

    #[test]
    fn names_and_revisions_tell_steps() {
        let names = |all: &[&str]| snapshots(&all.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let all = names(&["org/m@step1000", "org/m@step8"]).unwrap();
        assert_eq!((all[0].step, all[1].step), (8, 1000));
        let numbered = names(&["early.safetensors", "late.safetensors"]).unwrap();
        assert_eq!((numbered[0].step, numbered[1].model.as_str()), (0, "late.safetensors"));
        assert!(names(&["org/m@step8", "org/m"]).unwrap_err().to_string().contains("tells no step"));
        assert!(names(&["a/m@step8", "b/m@step8"]).unwrap_err().to_string().contains("both of step 8"));
    }
}
