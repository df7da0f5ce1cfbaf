//! The run that a model belongs to: its snapshots and what was logged while it was trained.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::log::Log;
use crate::checkpoint::{
    embedded,
    snapshot::{Snapshot, inside, step},
};

/// A training run as it lies on the disk, or in the program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrainingRun {
    /// Short name: that of its folder, or of the shipped model.
    pub name: String,
    /// What names it on the command line.
    pub source: String,
    /// Its snapshots, in the order of their steps, one a step.
    pub snapshots: Vec<Snapshot>,
    /// The text of `log.jsonl`, where there is one.
    pub log: Option<String>,
    /// What is wrong with it, a line each.
    pub troubles: Vec<String>,
}

impl TrainingRun {
    /// The run that `model` of the command line names, or is a snapshot of.
    ///
    /// A run is a folder with snapshots in it (`step-100`, `checkpoint-500`); a snapshot, or a file in one, belongs to the
    /// folder around it. Shipped models may come with theirs. A folder that cannot be read is none.
    pub fn of(model: &str) -> Option<Self> {
        Self::shipped(model).or_else(|| {
            let path = Path::new(model);
            if path.is_dir() {
                Self::read(path).or_else(|| Self::around(path))
            } else if path.is_file() {
                Self::around(&parent(path)?)
            } else {
                None
            }
        })
    }

    /// The run of the shipped model that `model` names, or a snapshot of which it names.
    fn shipped(model: &str) -> Option<Self> {
        let snapshots = embedded::snapshots(model)?;
        let name = snapshots.last()?.model.clone();
        let log = embedded::log(model).map(str::to_owned);
        Some(Self { source: name.clone(), name, snapshots, log, troubles: Vec::new() })
    }

    /// The run as it is now; `None` where its folder is gone.
    pub fn again(&self) -> Option<Self> {
        let folder = Path::new(&self.source);
        if folder.is_dir() { Self::read(folder) } else { Self::shipped(&self.source) }
    }

    /// The run in `folder`, where it holds snapshots.
    pub fn read(folder: &Path) -> Option<Self> {
        let mut snapshots = inside(folder).ok().filter(|snapshots| !snapshots.is_empty())?;
        let (mut troubles, mut kept) = (Vec::new(), None);
        snapshots.retain(|snapshot| {
            let again = kept.replace(snapshot.step) == Some(snapshot.step);
            if again {
                troubles.push(format!("{}: left out, for there is another of its step", snapshot.model));
            }
            !again
        });
        let log = match fs::read(folder.join("log.jsonl")) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => {
                troubles.push(format!("{} cannot be read: {error}", folder.join("log.jsonl").display()));
                None
            }
        };
        let real = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        let name = real
            .file_name()
            .map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into());
        Some(Self { name, source: folder.display().to_string(), snapshots, log, troubles })
    }

    /// The run in the folder around a snapshot's; by the path that was given, else by the one it leads to.
    fn around(snapshot: &Path) -> Option<Self> {
        let tells = |path: &Path| path.file_name().and_then(|name| step(name.to_str()?)).is_some();
        let real = fs::canonicalize(snapshot).ok()?;
        let path = [snapshot, &real].into_iter().find(|path| tells(path))?;
        Self::read(&parent(path)?)
    }

    /// Which of the snapshots `model` of the command line is.
    pub fn position(&self, model: &str) -> Option<usize> {
        if let Some(at) = self.snapshots.iter().position(|snapshot| snapshot.model == model) {
            return Some(at);
        }
        let real = |path: &Path| fs::canonicalize(path).ok();
        let path = Path::new(model);
        let folder = if path.is_file() { parent(path)? } else { path.to_path_buf() };
        let wanted = real(&folder)?;
        self.snapshots.iter().position(|snapshot| real(Path::new(&snapshot.model)).as_ref() == Some(&wanted))
    }

    /// What was logged.
    pub fn read_log(&self) -> Log {
        self.log.as_deref().map(Log::parse).unwrap_or_default()
    }
}

/// The folder around a path; that of a bare name is the one we are in.
fn parent(path: &Path) -> Option<PathBuf> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
}

/// What changes when a snapshot is written anew: the latest time at which its folder or a file in it was written, and
/// the bytes in it.
pub type Stamp = (Option<SystemTime>, u64);

/// The stamp of a snapshot as it is now; always the same for one that is no folder.
pub fn stamp(snapshot: &Snapshot) -> Stamp {
    let path = Path::new(&snapshot.model);
    let inside = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let files = inside.chain([path.to_path_buf()]).filter_map(|path| fs::metadata(path).ok());
    files.fold((None, 0), |(time, bytes), file| {
        (time.max(file.modified().ok()), bytes + if file.is_file() { file.len() } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these snapshots, of which each has a file of weights that is none.
    fn run(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("model.safetensors"), name).unwrap();
        }
        folder
    }

    fn steps(run: &TrainingRun) -> Vec<u64> {
        run.snapshots.iter().map(|snapshot| snapshot.step).collect()
    }

    #[test]
    fn a_run_is_found_from_its_folder_and_from_a_snapshot() {
        let folder = run(&["step-000100", "step-000020", ".step-000300.new", "state"]);
        fs::write(folder.path().join("log.jsonl"), "{\"step\":20}\n").unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let whole = TrainingRun::of(folder.path().to_str().unwrap()).unwrap();
        assert_eq!(steps(&whole), [20, 100], "what is hidden is not finished");
        assert_eq!(whole.read_log().entries[0].step, 20);
        for name in ["step-000100", "step-000100/", "step-000100/model.safetensors", "state/../step-000100"] {
            let around = TrainingRun::of(&path(name)).unwrap();
            assert_eq!((around.snapshots.len(), around.position(&path(name))), (2, Some(1)), "{name}");
        }
        assert_eq!(TrainingRun::of(&path("state")), None);
        assert_eq!(TrainingRun::of("org/model@step100"), None);
        assert_eq!(whole.position("elsewhere"), None);
    }

    #[test]
    fn of_two_snapshots_of_a_step_one_is_left_out_and_told() {
        let folder = run(&["checkpoint-100", "step-100", "step-200"]);
        let run = TrainingRun::read(folder.path()).unwrap();
        assert_eq!(steps(&run), [100, 200]);
        assert!(
            run.troubles.len() == 1 && run.troubles[0].contains("/step-100: left out"),
            "{:?}",
            run.troubles
        );
    }

    #[test]
    fn a_snapshot_that_is_written_anew_has_another_stamp() {
        let folder = run(&["step-5"]);
        let snapshot = &TrainingRun::read(folder.path()).unwrap().snapshots[0];
        let before = stamp(snapshot);
        assert_eq!(before, stamp(snapshot));
        fs::write(Path::new(&snapshot.model).join("model.safetensors"), "longer than before").unwrap();
        assert_ne!(before, stamp(snapshot));
    }
}
