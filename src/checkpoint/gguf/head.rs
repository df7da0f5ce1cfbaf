//! What a GGUF file has that is not read: looked for before it is read, so that it can be named.
//!
//! The file begins with `GGUF`, a version, the counts of its tensors and of its keys; then come the keys with their values
//! and, for each tensor, its name, sides, type and place.

use anyhow::{Result, anyhow, bail};

/// The versions that are read.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=3;
/// The key that says on multiples of how many bytes tensors begin.
const ALIGNMENT: &str = "general.alignment";
/// Bytes of the values of each type; texts and lists have no fixed ones.
const WIDTHS: [usize; 13] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const TEXT: u32 = 8;
const LIST: u32 = 9;
/// Most lists in one another.
const DEEPEST: usize = 8;
/// The name of a type of tensors that is not read, by its number; the others are plain numbers, and blocks with one or two
/// levels of scales.
fn unread(kind: u32) -> Option<String> {
    Some(match kind {
        0..=3 | 6..=15 | 30 => return None,
        16 => "IQ2_XXS".into(),
        17 => "IQ2_XS".into(),
        18 => "IQ3_XXS".into(),
        19 => "IQ1_S".into(),
        20 => "IQ4_NL".into(),
        21 => "IQ3_S".into(),
        22 => "IQ2_S".into(),
        23 => "IQ4_XS".into(),
        24 => "I8".into(),
        25 => "I16".into(),
        26 => "I32".into(),
        27 => "I64".into(),
        28 => "F64".into(),
        29 => "IQ1_M".into(),
        34 => "TQ1_0".into(),
        35 => "TQ2_0".into(),
        39 => "MXFP4".into(),
        _ => format!("number {kind}"),
    })
}

/// Refuses a file by its version, its alignment or the type of a tensor. What is damaged is left to the reader.
pub fn check(bytes: &[u8]) -> Result<()> {
    let mut head = Head { rest: bytes.get(4..).unwrap_or_default(), width: 8 };
    let Some(version) = head.number(4) else { return Ok(()) };
    let version = version as u32;
    if VERSIONS.contains(&version.swap_bytes()) {
        bail!("a big-endian GGUF file: turn it round with `gguf_convert_endian.py FILE little` of llama.cpp");
    }
    if !VERSIONS.contains(&version) {
        bail!(
            "of version {version} of GGUF, and versions {} to {} are read: convert the model again",
            VERSIONS.start(),
            VERSIONS.end()
        );
    }
    head.width = if version == 1 { 4 } else { 8 };
    head.walk().unwrap_or(Ok(()))
}

/// The rest of a head; its methods answer `None` where the file is damaged.
struct Head<'a> {
    rest: &'a [u8],
    /// Bytes of counts and lengths.
    width: usize,
}

impl<'a> Head<'a> {
    fn walk(&mut self) -> Option<Result<()>> {
        let (tensors, keys) = (self.number(self.width)?, self.number(self.width)?);
        for _ in 0..keys {
            let (key, kind) = (self.text()?, self.number(4)? as u32);
            let value = self.rest;
            self.skip(kind, DEEPEST)?;
            if key == ALIGNMENT.as_bytes() && value.iter().take(self.width_of(kind)).all(|&byte| byte == 0) {
                return Some(Err(anyhow!("key `{ALIGNMENT}` is 0: convert the model again")));
            }
        }
        for _ in 0..tensors {
            let name = self.text()?;
            let sides = self.number(4)? as usize;
            self.take(sides.checked_mul(self.width)?)?;
            let kind = self.number(4)? as u32;
            self.take(8)?;
            if let Some(kind) = unread(kind) {
                return Some(Err(anyhow!(
                    "tensor `{}` is of type {kind}, which is not read: take a file in F16, Q8_0 or Q4_K_M",
                    String::from_utf8_lossy(name).escape_debug()
                )));
            }
        }
        Some(Ok(()))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    /// A number of `width` bytes, 8 at most.
    fn number(&mut self, width: usize) -> Option<u64> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.take(width)?);
        Some(u64::from_le_bytes(number))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number(self.width)?;
        self.take(usize::try_from(length).ok()?)
    }

    fn width_of(&self, kind: u32) -> usize {
        WIDTHS.get(kind as usize).copied().unwrap_or_default()
    }

    /// Passes over a value of which lists may be `deep` in one another.
    fn skip(&mut self, kind: u32, deep: usize) -> Option<()> {
        match kind {
            TEXT => drop(self.text()?),
            LIST => {
                let (kind, count) = (self.number(4)? as u32, self.number(self.width)?);
                let width = self.width_of(kind);
                if width > 0 {
                    self.take(usize::try_from(count).ok()?.checked_mul(width)?)?;
                } else {
                    let deep = deep.checked_sub(1)?;
                    (0..count).try_for_each(|_| self.skip(kind, deep))?;
                }
            }
            _ => drop(self.take(*WIDTHS.get(kind as usize)?)?),
        }
        Some(())
    }
}
