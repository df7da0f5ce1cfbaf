//! The members of a file of `torch.save` since torch 1.6, which is a zip archive that compresses nothing.

use std::{io::Cursor, ops::Range};

use anyhow::{Context, Result, anyhow, bail};
use zip::{CompressionMethod, ZipArchive};

use super::machine::LONGEST;
use crate::checkpoint::signature;

/// The member that describes the tensors.
const PICKLE: &str = "data.pkl";
/// How every zip archive begins.
const ZIP: &[u8] = b"PK\x03\x04";

/// A file of `torch.save` and where its members lie.
pub struct Archive<'a> {
    bytes: &'a [u8],
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// What the names of all members begin with: the archive's own name and `/`.
    folder: String,
}

impl<'a> Archive<'a> {
    /// Reads the list of members at the end of `bytes`.
    ///
    /// # Errors
    /// When `torch.save` did not write it, or on a machine of the other byte order.
    pub fn open(bytes: &'a [u8]) -> Result<Self> {
        if !bytes.starts_with(ZIP) {
            bail!(
                signature::tell(bytes).unwrap_or(
                    "no file of torch.save: fetch it again, or name the file that holds the weights"
                )
            );
        }
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| anyhow!("no whole zip archive ({error}): fetch it again"))?;
        let folder = zip.file_names().flatten().find_map(|name| folder_of(&name));
        let folder = folder.context("a zip archive, but not one of torch.save: it holds no data.pkl")?;
        let mut archive = Self { bytes, zip, folder };
        if archive.member("byteorder")?.is_some_and(|range| bytes[range].starts_with(b"big")) {
            bail!(
                "written on a big-endian machine: save it there as safetensors, which is the same everywhere"
            );
        }
        Ok(archive)
    }

    /// The bytes of the pickle.
    pub fn pickle(&mut self) -> Result<&'a [u8]> {
        let range = self.member(PICKLE)?.with_context(|| format!("it holds no {PICKLE}: fetch it again"))?;
        if range.len() > LONGEST {
            bail!("its {PICKLE} has {} bytes, too many for a state dict", range.len());
        }
        Ok(&self.bytes[range])
    }

    /// Where the bytes of the storage called `key` lie.
    pub fn storage(&mut self, key: &str) -> Result<Range<usize>> {
        let range = self.member(&format!("data/{key}"))?;
        range.with_context(|| format!("it holds no data/{key}: it is damaged; fetch it again"))
    }

    /// Where the bytes of a member lie; `None` where there is no such member.
    fn member(&mut self, name: &str) -> Result<Option<Range<usize>>> {
        let full = format!("{}{name}", self.folder);
        let Some(index) = self.zip.index_for_name_raw(full.as_bytes()) else { return Ok(None) };
        let damaged = || format!("{name} in it is damaged: fetch it again");
        let member = self.zip.by_index_raw(index).with_context(damaged)?;
        if member.encrypted() {
            bail!("{name} in it is encrypted: unpack it with its password, or fetch it from elsewhere");
        }
        if member.compression() != CompressionMethod::Stored {
            bail!("{name} in it is compressed, which torch.save never does: save it again with torch");
        }
        let range = member.data_start().and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(member.size()).ok()?)?;
            (end <= self.bytes.len()).then_some(start..end)
        });
        Ok(Some(range.with_context(damaged)?))
    }
}

/// What precedes the name of the pickle, if this is one.
fn folder_of(name: &str) -> Option<String> {
    let folder = name.strip_suffix(PICKLE)?;
    (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
}
