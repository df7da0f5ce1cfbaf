//! Files and folders that are whole or not there, whenever the program is killed and whatever the disk says.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Writes a file under another name, and gives it its own once it is on the disk. What was there stays until then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = beside(path, "", ".new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        // What went wrong is told already.
        let _ = fs::remove_file(&new);
        cannot_write(path, &error)
    })
}

/// Fills a folder under a hidden name, and gives it its own when `fill` is done, in place of one that was there.
pub fn folder_whole(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = beside(path, ".", ".new");
    let put = || -> Result<()> {
        remove(&new).map_err(|error| cannot_write(path, &error))?;
        fs::create_dir_all(&new).map_err(|error| cannot_write(path, &error))?;
        fill(&new)?;
        let place = || {
            remove(path)?;
            fs::rename(&new, path)
        };
        place().map_err(|error| cannot_write(path, &error))
    };
    put().inspect_err(|_| {
        // What went wrong is told already.
        let _ = remove(&new);
    })
}

/// Creates a folder and those above it.
pub fn create_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create the folder {}", path.display()))
}

/// That a file could not be written, with what the system says.
pub fn cannot_write(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!("cannot write {}: {error}; what was written before is whole", path.display())
}

/// Removes a folder, which need not be there.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path with something before and after its last part.
fn beside(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}
