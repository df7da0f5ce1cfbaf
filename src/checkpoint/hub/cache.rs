//! The cache that Python's `huggingface_hub` shares: its folders, pointers and locks, as that library lays them out.
//!
//! `models--org--model/blobs/ETAG` holds contents, `snapshots/COMMIT/path` are links to them, `refs/BRANCH` names a commit,
//! and `.no_exist/COMMIT/path` marks a file that a commit does not have. A download grows in `blobs/ETAG.incomplete` under
//! the lock `.locks/models--org--model/ETAG.lock`.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use super::name::{Name, is_commit, is_short};
use crate::{checkpoint::shards::is_inside, output};

/// Folders below a snapshot that are looked into.
const DEEPEST: usize = 4;

/// A repository's place in the cache.
#[derive(Clone, Debug)]
pub struct Shelf {
    folder: PathBuf,
    locks: PathBuf,
}

impl Shelf {
    /// The place of a repository in the cache at `root`.
    pub fn new(root: &Path, repository: &str) -> Self {
        let name = format!("models--{}", repository.replace('/', "--"));
        Self { locks: root.join(".locks").join(&name), folder: root.join(name) }
    }

    /// Its folder, which may not be there.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of its locks, which may not be there.
    pub fn locks(&self) -> &Path {
        &self.locks
    }

    /// The commit that a revision meant when it was last asked for.
    pub fn commit(&self, name: &Name) -> Option<String> {
        if is_commit(&name.revision) {
            return Some(name.revision.clone());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(&name.revision)).unwrap_or_default();
        let named = Some(text.trim().to_owned()).filter(|commit| is_commit(commit));
        named.or_else(|| self.beginning_with(&name.revision))
    }

    /// The only commit here whose hash begins with `short`.
    fn beginning_with(&self, short: &str) -> Option<String> {
        let entries = fs::read_dir(self.folder.join("snapshots")).ok().filter(|_| is_short(short))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut found = names.filter(|name| is_commit(name) && name.starts_with(short));
        found.next().filter(|_| found.next().is_none())
    }

    /// Remembers which commit a revision means.
    pub fn remember(&self, name: &Name, commit: &str) -> io::Result<()> {
        let is_hash =
            is_commit(&name.revision) || is_short(&name.revision) && commit.starts_with(&name.revision);
        if is_hash || self.commit(name).as_deref() == Some(commit) {
            return Ok(());
        }
        write_whole(&self.folder.join("refs").join(&name.revision), commit.as_bytes())
    }

    /// The folder of a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The files of a commit that are here; a link to contents that are gone is none.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let mut files = Vec::new();
        list(&self.snapshot(commit), "", DEEPEST, &mut files);
        files.sort();
        files
    }

    /// Whether a commit is known not to have a file.
    pub fn lacks(&self, commit: &str, path: &str) -> bool {
        self.folder.join(".no_exist").join(commit).join(path).is_file()
    }

    /// Remembers that a commit does not have a file.
    pub fn remember_lack(&self, commit: &str, path: &str) -> io::Result<()> {
        if self.lacks(commit, path) {
            return Ok(());
        }
        write_whole(&self.folder.join(".no_exist").join(commit).join(path), b"")
    }

    /// Where contents lie.
    pub fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Where contents grow until they are whole.
    pub fn part(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{etag}.incomplete"))
    }

    /// Whether a path of a commit leads to contents that are here.
    pub fn has(&self, commit: &str, path: &str, etag: &str) -> bool {
        let link = fs::read_link(self.snapshot(commit).join(path));
        link.is_ok_and(|link| link.file_name().is_some_and(|name| name == etag)) && self.blob(etag).is_file()
    }

    /// Makes the folders that downloads need; the error names the one that cannot be made.
    pub fn prepare(&self) -> io::Result<()> {
        let folders = [self.folder.join("blobs"), self.folder.join("snapshots"), self.locks.clone()];
        folders.iter().try_for_each(|folder| {
            fs::create_dir_all(folder)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
        })
    }

    /// Takes the lock on contents, which other processes and Python respect; `None` while another holds it. The lock goes
    /// with the file.
    pub fn lock(&self, etag: &str) -> io::Result<Option<File>> {
        let path = self.locks.join(format!("{etag}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o664).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            // A file system without locks: the rename of whole contents keeps the cache right, as it does for Python.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(Some(file)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Puts contents that are whole at a path of a commit.
    pub fn place(&self, commit: &str, path: &str, etag: &str) -> io::Result<()> {
        let snapshot = self.snapshot(commit);
        let pointer = snapshot.join(path);
        let parent = pointer.parent().unwrap_or(&snapshot);
        fs::create_dir_all(parent)?;
        // A folder inside the snapshot that is a link would lead out of the cache.
        if !parent.canonicalize()?.starts_with(snapshot.canonicalize()?) {
            return Err(io::Error::other(format!("{} leads out of the snapshot", parent.display())));
        }
        let up = "../".repeat(path.matches('/').count() + 2);
        let beside = parent.join(format!(".{etag}.{}", std::process::id()));
        let _ = fs::remove_file(&beside);
        symlink(format!("{up}blobs/{etag}"), &beside)?;
        fs::rename(&beside, &pointer)
    }
}

/// Whether an ETag can be a file name, as those of the hub are.
pub fn is_etag(etag: &str) -> bool {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&etag.len())
        && etag.bytes().all(character)
        && !etag.starts_with('.')
        && !etag.ends_with(".incomplete")
}

/// Writes a small file so that nobody sees half of it.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    output::write_bytes(path, bytes)
}

fn list(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, relative) = (entry.path(), format!("{prefix}{name}"));
        if path.is_file() && is_inside(&relative) {
            files.push(relative);
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&path, &format!("{relative}/"), depth - 1, files);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_revision_is_remembered_and_a_foreign_one_is_not_believed() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path(), "org/m");
        let name = Name::parse("org/m@refs/pr/1").unwrap();
        assert_eq!(shelf.commit(&name), None);
        shelf.remember(&name, COMMIT).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("models--org--m/refs/refs/pr/1")).unwrap(), COMMIT);
        assert_eq!(shelf.commit(&name).as_deref(), Some(COMMIT));
        shelf.remember(&name, "../../../etc").unwrap();
        assert_eq!(shelf.commit(&name), None);
        // The beginning of a hash, as lists show it, is enough for a commit that is here.
        fs::create_dir_all(shelf.snapshot(COMMIT)).unwrap();
        let short = Name::parse("org/m@0123456").unwrap();
        assert_eq!(shelf.commit(&short).as_deref(), Some(COMMIT));
        assert_eq!(shelf.commit(&Name::parse("org/m@0123457").unwrap()), None);
    }

    #[test]
    fn pointers_lead_to_the_contents_from_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path(), "org/m");
        shelf.prepare().unwrap();
        fs::write(shelf.blob("e1"), "contents").unwrap();
        for path in ["a.json", "sub/deep/b.json", "a.json"] {
            shelf.place(COMMIT, path, "e1").unwrap();
            assert_eq!(fs::read_to_string(shelf.snapshot(COMMIT).join(path)).unwrap(), "contents");
        }
        shelf.place(COMMIT, "gone.json", "e2").unwrap();
        assert_eq!(shelf.files(COMMIT), ["a.json", "sub/deep/b.json"]);
    }

    #[test]
    fn a_link_in_a_snapshot_does_not_lead_out_of_it() {
        let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shelf = Shelf::new(root.path(), "org/m");
        fs::create_dir_all(shelf.snapshot(COMMIT)).unwrap();
        symlink(elsewhere.path(), shelf.snapshot(COMMIT).join("sub")).unwrap();
        assert!(shelf.place(COMMIT, "sub/a.json", "e1").is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn one_holds_a_lock_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(root.path(), "org/m");
        shelf.prepare().unwrap();
        let held = shelf.lock("e1").unwrap();
        assert!(held.is_some());
        assert!(shelf.lock("e1").unwrap().is_none());
        assert!(shelf.lock("e2").unwrap().is_some());
        drop(held);
        assert!(shelf.lock("e1").unwrap().is_some());
    }

    #[test]
    fn an_etag_is_a_plain_file_name() {
        assert!(is_etag("a3f5") && is_etag(&"f".repeat(64)));
        for odd in ["", "..", ".locks", "a/b", "a\\b", "x.incomplete", "a b", "\"q\""] {
            assert!(!is_etag(odd), "{odd}");
        }
    }
}
