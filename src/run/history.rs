//! The history of a run that is watched: a line of JSON for each snapshot that was checked, only ever appended to, and whole
//! whenever the program is killed and whatever the disk says.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::checked::{Checked, name};
use crate::checkpoint::snapshot::Snapshot;

/// A history that this process alone appends to.
pub struct History {
    path: PathBuf,
    file: File,
    /// Every line, its end included.
    lines: Vec<String>,
    /// How many of them are on the disk, and the bytes of these.
    written: (usize, u64),
    /// What the lines say, the snapshots in the order in which they were checked.
    checked: Vec<Checked>,
}

impl History {
    /// Opens a history, or begins one. A last line that was cut short, by a kill or a full disk, is taken away; then the
    /// second value says so.
    ///
    /// # Errors
    /// When it cannot be read or written, another process appends to it, or a line in it is of something else.
    pub fn open(path: &Path) -> Result<(Self, Option<String>)> {
        let told = path.display();
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            bail!("{told} is no regular file: give --history another name");
        }
        let mut file = locked(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(|| format!("{told} cannot be read"))?;
        let mut history =
            Self { path: path.to_path_buf(), file, lines: Vec::new(), written: (0, 0), checked: Vec::new() };
        let mut mended = None;
        for (number, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let is_whole = line.ends_with(b"\n");
            match serde_json::from_slice::<Checked>(line) {
                Ok(checked) => {
                    let text = String::from_utf8_lossy(line).trim_end_matches('\n').to_owned() + "\n";
                    if !is_whole {
                        history.file.write_all(b"\n").with_context(|| format!("{told} cannot be written"))?;
                        mended = Some(format!("{told}: its last line had no end, which was put there"));
                    }
                    history.written = (history.written.0 + 1, history.written.1 + text.len() as u64);
                    history.push(&text, checked);
                }
                Err(_) if is_whole => {
                    bail!("{told}: line {} is no line of a watch: give --history another name", number + 1)
                }
                Err(_) => mended = Some(format!("{told}: its last line was cut short, and was taken away")),
            }
        }
        history.write().with_context(|| format!("{told} cannot be written"))?;
        Ok((history, mended))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What its lines say, in the order in which they were written.
    pub fn checked(&self) -> &[Checked] {
        &self.checked
    }

    /// What was found last of the snapshot of this name.
    pub fn of(&self, snapshot: &Snapshot) -> Option<&Checked> {
        self.checked.iter().rev().find(|one| one.name() == name(&snapshot.model))
    }

    /// What was found last of the snapshot that was checked and comes before this step.
    pub fn before(&self, step: u64) -> Option<&Checked> {
        let earlier = self.checked.iter().filter(|one| one.step.is_some_and(|of| of < step));
        earlier.max_by_key(|one| one.step)
    }

    /// The last line of every snapshot, in the order of their steps.
    pub fn curve(&self) -> Vec<&Checked> {
        let is_last = |(at, one): &(usize, &Checked)| {
            !self.checked[at + 1..].iter().any(|later| later.name() == one.name())
        };
        let mut last: Vec<&Checked> =
            self.checked.iter().enumerate().filter(is_last).map(|(_, one)| one).collect();
        last.sort_by_key(|one| one.step);
        last
    }

    /// Appends a line, its end included. Where it cannot be written it is kept, to be written by [`Self::write`].
    ///
    /// # Errors
    /// When it is no line of a history.
    pub fn append(&mut self, line: &str) -> Result<()> {
        let checked = serde_json::from_str(line)?;
        self.push(line, checked);
        Ok(())
    }

    /// Lines that are not on the disk yet.
    pub fn waiting(&self) -> usize {
        self.lines.len() - self.written.0
    }

    /// Writes what is not on the disk yet, each line with one write. After an error the file ends with a whole line, unless not even
    /// that could be done; then the next write sees to it.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self) -> io::Result<()> {
        self.find()?;
        let there = self.file.metadata()?.len();
        if there < self.written.1 {
            // Somebody emptied it.
            self.written = (0, 0);
        }
        if there != self.written.1 {
            self.file.set_len(self.written.1)?;
        }
        while let Some(line) = self.lines.get(self.written.0) {
            let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
            if let Err(error) = written {
                let _ = self.file.set_len(self.written.1);
                return Err(error);
            }
            self.written = (self.written.0 + 1, self.written.1 + line.len() as u64);
        }
        Ok(())
    }

    /// Begins the file again where it was removed, or another was put in its place.
    fn find(&mut self) -> io::Result<()> {
        let identity = |found: &fs::Metadata| (found.dev(), found.ino());
        let there = match fs::metadata(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            found => Some(identity(&found?)),
        };
        if there != Some(identity(&self.file.metadata()?)) {
            let file = locked(&self.path).map_err(io::Error::other)?;
            if file.metadata()?.len() > 0 {
                return Err(io::Error::other("another file was put in its place"));
            }
            (self.file, self.written) = (file, (0, 0));
        }
        Ok(())
    }

    fn push(&mut self, line: &str, checked: Checked) {
        self.lines.push(line.to_owned());
        self.checked.push(checked);
    }
}

/// The file at a path, made where there is none, and locked.
fn locked(path: &Path) -> Result<File> {
    let told = path.display();
    let is_new = !path.exists();
    let open = OpenOptions::new().read(true).append(true).create(true).open(path);
    let file = open.with_context(|| format!("{told} cannot be written"))?;
    // Some network disks have no locks.
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        bail!("another attnscope appends to {told}: stop it, or give --history another name");
    }
    if is_new && let Some(folder) = path.parent() {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // That the file has a name is to be on the disk too, where the disk can do that.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> String {
        let checked = Checked::new(&format!("run/step-{step}"), Some(step), (None, step), &[]);
        serde_json::to_string(&checked).unwrap() + "\n"
    }

    fn steps(history: &History) -> Vec<u64> {
        history.checked().iter().filter_map(|one| one.step).collect()
    }

    #[test]
    fn a_last_line_that_was_cut_short_is_mended_and_no_other_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let whole = line(1) + &line(2);
        for end in line(1).len()..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let (mut history, mended) = History::open(&path).unwrap();
            let is_torn = end != line(1).len() && end != whole.len();
            assert_eq!(mended.is_some(), is_torn, "{end}");
            let kept = if end < whole.len() - 1 { vec![1] } else { vec![1, 2] };
            assert_eq!(steps(&history), kept, "{end}");
            history.append(&line(3)).unwrap();
            history.write().unwrap();
            drop(history);
            let text = fs::read_to_string(&path).unwrap();
            assert_eq!(text, kept.iter().chain(&[3]).map(|&step| line(step)).collect::<String>());
        }
    }

    #[test]
    fn a_history_that_is_removed_or_emptied_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let (mut history, _) = History::open(&path).unwrap();
        let mut add = |step: u64| {
            history.append(&line(step)).unwrap();
            history
                .write()
                .map(|()| history.waiting())
                .map_err(|error| (error.to_string(), history.waiting()))
        };
        assert_eq!(add(1), Ok(0));
        fs::remove_file(&path).unwrap();
        assert_eq!(add(2), Ok(0));
        fs::write(&path, "").unwrap();
        assert_eq!(add(3), Ok(0));
        assert_eq!(fs::read_to_string(&path).unwrap(), line(1) + &line(2) + &line(3));
        // What somebody else has put there is left alone, and the lines wait.
        fs::write(folder.path().join("other"), "notes\n").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        assert_eq!(add(4), Err(("another file was put in its place".to_owned(), 1)));
        assert_eq!(fs::read_to_string(&path).unwrap(), "notes\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(add(5), Ok(0));
        assert_eq!(fs::read_to_string(&path).unwrap(), (1..6).map(line).collect::<String>());
    }

    #[test]
    fn two_cannot_append_to_one_and_what_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let told = |path: &Path| History::open(path).err().map(|error| error.to_string()).unwrap();
        let held = History::open(&path).unwrap();
        assert!(told(&path).contains("another attnscope"));
        drop(held);
        fs::write(&path, line(1) + "{\"step\":1}\n" + &line(2)).unwrap();
        assert!(told(&path).contains("line 2 is no line of a watch"));
        assert!(told(folder.path()).contains("no regular file"));
        assert!(told(&folder.path().join("none/history")).contains("cannot be written"));
    }

    #[test]
    fn the_last_line_of_a_snapshot_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (mut history, _) = History::open(&folder.path().join("history.jsonl")).unwrap();
        for step in [2, 1, 3, 1] {
            history.append(&line(step)).unwrap();
        }
        assert_eq!(history.curve().iter().filter_map(|one| one.step).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(history.before(3).unwrap().step, Some(2));
        assert!(history.before(1).is_none());
    }
}
