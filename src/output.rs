//! Files that are whole or not there: what every command writes goes through [`write()`].

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, ErrorKind, Write},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Links that are followed before they are taken for a circle, as many as Linux follows.
const LINKS: usize = 40;

/// Neighbours that are being filled, for [`discard_unfinished`].
static UNFINISHED: Mutex<Vec<CString>> = Mutex::new(Vec::new());

/// Writes what `fill` writes to `path`.
///
/// A regular file, or nothing yet: a neighbour is filled and renamed once it is on the disk, so that nobody sees half a
/// file and what was there stays until then. It keeps the mode of the file that it takes the place of; a new one has what
/// the umask leaves. Links are followed to what they name and stay links. Devices, pipes and open descriptors
/// (`/dev/stdout`) are written to as they are.
///
/// # Errors
/// What `fill` says, or the system, without the path.
pub fn write<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    match place(path)? {
        Place::Straight(mut file) => fill(&mut file),
        Place::File { path, was } => {
            let neighbour = Neighbour::beside(&path)?;
            if let Some(was) = was {
                neighbour.file.set_permissions(was)?;
            }
            let mut buffered = BufWriter::new(&neighbour.file);
            fill(&mut buffered)?;
            buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            Ok(neighbour.rename(&path)?)
        }
    }
}

/// Writes `bytes` to `path`, as [`write()`] does.
///
/// # Errors
/// What the system says, without the path.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, |out| out.write_all(bytes))
}

/// Removes what is half written, for a program that ends at once. Safe to call from a signal handler: where another
/// thread holds the list that moment, the neighbour stays.
pub fn discard_unfinished() {
    if let Ok(unfinished) = UNFINISHED.try_lock() {
        for path in unfinished.iter() {
            // SAFETY: the path ends in NUL and outlives the call.
            unsafe { libc::unlink(path.as_ptr()) };
        }
    }
}

/// Where bytes go.
enum Place {
    /// Into what is open.
    Straight(File),
    /// To a path that is no link, in the place of a file with those permissions.
    File { path: PathBuf, was: Option<fs::Permissions> },
}

/// What a path stands for.
fn place(path: &Path) -> io::Result<Place> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS {
        let kind = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Place::File { path, was: None }),
            found => found?,
        };
        if kind.is_file() {
            return Ok(Place::File { path, was: Some(kind.permissions()) });
        }
        if kind.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        // The links of a process to what it has open: the name behind them is none to be replaced.
        let is_descriptor =
            kind.is_symlink() && folder.canonicalize().is_ok_and(|at| at.starts_with("/proc"));
        if is_descriptor || !kind.is_symlink() {
            return OpenOptions::new().append(true).open(&path).map(Place::Straight);
        }
        path = folder.join(fs::read_link(&path)?);
    }
    Err(io::Error::other("its links lead in a circle"))
}

/// A file under a name of its own beside the one that it becomes; dropped before that, it is removed.
struct Neighbour {
    file: File,
    path: PathBuf,
    listed: CString,
}

impl Neighbour {
    fn beside(path: &Path) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!(".attnscope-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Relative to where the program is: it never changes its folder.
        let path = path.with_file_name(name);
        let listed = CString::new(path.as_os_str().as_bytes())?;
        list(|unfinished| unfinished.push(listed.clone()));
        let file =
            OpenOptions::new().write(true).create_new(true).open(&path).inspect_err(|_| unlist(&listed))?;
        Ok(Self { file, path, listed })
    }

    fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Gone where it has been renamed.
        let _ = fs::remove_file(&self.path);
        unlist(&self.listed);
    }
}

fn list(change: impl FnOnce(&mut Vec<CString>)) {
    change(&mut UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner));
}

fn unlist(path: &CString) {
    list(|unfinished| unfinished.retain(|one| one != path));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::tempdir;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        fs::write(at("usual"), "").unwrap();
        write_bytes(&at("new"), b"1").unwrap();
        assert_eq!(mode(&at("new")), mode(&at("usual")));
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/old"), "0").unwrap();
        fs::set_permissions(at("folder/old"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("folder/old", at("link")).unwrap();
        symlink("link", at("second")).unwrap();
        write_bytes(&at("second"), b"2").unwrap();
        assert_eq!(fs::read(at("folder/old")).unwrap(), b"2");
        assert_eq!(mode(&at("folder/old")), 0o640);
        // A link to nothing yet.
        symlink("folder/made", at("dangling")).unwrap();
        write_bytes(&at("dangling"), b"3").unwrap();
        assert_eq!(fs::read(at("folder/made")).unwrap(), b"3");
        assert_eq!(names(folder.path()), ["dangling", "folder", "link", "new", "second", "usual"]);
        assert_eq!(names(&at("folder")), ["made", "old"]);
        assert!(["link", "second", "dangling"].iter().all(|name| at(name).is_symlink()));
    }

    #[test]
    fn circles_folders_and_lost_paths_are_errors_that_leave_nothing() {
        let folder = tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("a", at("b")).unwrap();
        symlink("b", at("a")).unwrap();
        assert!(write_bytes(&at("a"), b"1").unwrap_err().to_string().contains("circle"));
        assert_eq!(write_bytes(folder.path(), b"1").unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(write_bytes(&at("none/file"), b"1").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(names(folder.path()), ["a", "b"]);
    }

    #[test]
    fn what_fails_leaves_the_old_file() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["file"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn devices_are_written_to_and_stay() {
        use std::os::unix::fs::FileTypeExt;

        let folder = tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/dev/full", &link).unwrap();
        for path in [Path::new("/dev/full"), &link] {
            assert_eq!(write_bytes(path, b"1").unwrap_err().kind(), ErrorKind::StorageFull);
        }
        write_bytes(Path::new("/dev/null"), b"1").unwrap();
        for path in ["/dev/full", "/dev/null"] {
            assert!(fs::symlink_metadata(path).unwrap().file_type().is_char_device());
        }
        assert!(link.is_symlink());
    }
}
