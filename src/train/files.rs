//! Files and folders that are whole or not there, whenever the program is killed and whatever the disk says.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::output;

/// Writes a file that is whole or not there. What was there stays until then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    output::write_bytes(path, bytes).map_err(|error| cannot_write(path, &error))
}

/// Fills a folder under a hidden name, and gives it its own when `fill` is done, in place of one that was there.
pub fn folder_whole(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = hidden(path);
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

/// The name of a folder that is being filled: hidden, and with `.new` behind it.
fn hidden(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}
