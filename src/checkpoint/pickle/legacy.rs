//! Files of torch before 1.6, and of later ones that are asked for them: pickles in a row, then the bytes of storages.
//!
//! A magic number, a version, sizes of C types, the state dict, a list of storages; then each storage in the order of that
//! list, as its count of numbers in 8 bytes and the numbers, little-endian whatever the machine was that wrote them.

use std::{collections::HashMap, ops::Range};

use anyhow::{Context, Result, bail};

use super::machine::{Class, LONGEST, Pickle};

/// The magic number as the first pickle has it, with that pickle's end.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Where it stands: behind the protocol, from protocol 4 on behind the frame too.
const MAGIC_PLACES: [usize; 2] = [2, 11];
/// The version of the format; there has been no other.
const VERSION: i64 = 1001;
const DAMAGED: &str = "it is damaged: fetch it again";

/// Such a file: what its pickle says and where its storages lie.
pub struct Legacy<'a> {
    /// The pickle of the state dict.
    pub pickle: Pickle<'a>,
    storages: HashMap<&'a str, Range<usize>>,
}

impl<'a> Legacy<'a> {
    /// Reads `bytes`; `None` where they do not begin with the magic number.
    ///
    /// # Errors
    /// When the file is damaged or of a version that is not known.
    pub fn open(bytes: &'a [u8]) -> Result<Option<Self>> {
        let begins = |&at: &usize| bytes.get(at..).is_some_and(|rest| rest.starts_with(MAGIC));
        let Some(at) = MAGIC_PLACES.iter().find(|at| begins(at)) else { return Ok(None) };
        let mut place = at + MAGIC.len();
        let mut next = || -> Result<Pickle<'a>> {
            let rest = &bytes[place..];
            let (pickle, length) = Pickle::follow(&rest[..rest.len().min(LONGEST)])?;
            place += length;
            Ok(pickle)
        };
        let version = next()?;
        if version.int(version.root()) != Some(VERSION) {
            bail!("written by a torch before 1.6 in an unknown version: save it again with a newer torch");
        }
        // The sizes of C types, which say nothing of the storages.
        next()?;
        let (pickle, list) = (next()?, next()?);
        let storages = storages(bytes, place, &pickle, &list)?;
        Ok(Some(Self { pickle, storages }))
    }

    /// Where the numbers of the storage called `key` lie.
    pub fn storage(&self, key: &str) -> Result<Range<usize>> {
        self.storages.get(key).cloned().with_context(|| format!("it holds no storage {key}: {DAMAGED}"))
    }
}

/// Where the numbers of every storage of `list` lie, the first of which begins at `place`.
fn storages<'a>(
    bytes: &[u8],
    mut place: usize,
    pickle: &Pickle<'a>,
    list: &Pickle<'a>,
) -> Result<HashMap<&'a str, Range<usize>>> {
    let widths = widths(pickle)?;
    let keys = list.list(list.root()).with_context(|| format!("it has no list of storages: {DAMAGED}"))?;
    let mut storages = HashMap::new();
    for &key in keys {
        let known = list.text(key).and_then(|key| Some((key, *widths.get(key)?)));
        let (key, width) =
            known.with_context(|| format!("its list of storages has one of no tensor: {DAMAGED}"))?;
        let range = stored(bytes, place, width)
            .with_context(|| format!("storage {key} ends outside of it: {DAMAGED}"))?;
        place = range.end;
        if storages.insert(key, range).is_some() {
            bail!("its list of storages has {key} twice: {DAMAGED}");
        }
    }
    Ok(storages)
}

/// Where the numbers lie whose count is at `place`, each of `width` bytes.
fn stored(bytes: &[u8], place: usize, width: usize) -> Option<Range<usize>> {
    let (count, rest) = bytes.get(place..)?.split_first_chunk()?;
    let length = usize::try_from(i64::from_le_bytes(*count)).ok()?.checked_mul(width)?;
    let start = bytes.len() - rest.len();
    (length <= rest.len()).then(|| start..start + length)
}

/// Bytes of a number in each storage that the pickle names, `("storage", class, key, ...)`; it names the source text of
/// pickled modules in the same way.
fn widths<'a>(pickle: &Pickle<'a>) -> Result<HashMap<&'a str, usize>> {
    let mut widths = HashMap::new();
    for name in pickle.all_outside() {
        let Some(&[what, class, key, ..]) = pickle.tuple(name) else { continue };
        let (Some("storage"), Some(class), Some(key)) =
            (pickle.text(what), pickle.class(class), pickle.text(key))
        else {
            continue;
        };
        let width = width(class).with_context(|| {
            format!(
                "its numbers are of a type that is not known, {}: save it again with a newer torch",
                class.1
            )
        })?;
        if widths.insert(key, width).is_some_and(|other| other != width) {
            bail!("storage {key} is of two types: {DAMAGED}");
        }
    }
    Ok(widths)
}

/// Bytes of a storage's numbers; those of types that weights do not have are passed over too.
fn width((_, name): Class<'_>) -> Option<usize> {
    Some(match name {
        "ComplexDoubleStorage" => 16,
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => 8,
        "FloatStorage" | "IntStorage" | "QInt32Storage" => 4,
        "HalfStorage" | "BFloat16Storage" | "ShortStorage" => 2,
        "BoolStorage" | "ByteStorage" | "CharStorage" | "QInt8Storage" | "QUInt8Storage"
        | "UntypedStorage" => 1,
        _ => return None,
    })
}
