//! The table of characters that a SentencePiece vocabulary rewrites, such as full-width letters to plain ones.

use anyhow::{Context, Result};

/// Rewritings by what they replace.
///
/// Stored as a trie in a double array, then the replacements, each ended by a zero byte. A unit of the array has in its low 8
/// bits the byte that leads to it, in bit 8 whether a replacement ends there and above that where its children lie; the
/// child at zero has the place of the replacement.
pub(in super::super) struct Charsmap {
    trie: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// Reads the stored form: the bytes of the trie (4, little-endian), the trie, the replacements.
    ///
    /// # Errors
    /// When the bytes are fewer than they should be or the replacements are no text.
    pub(in super::super) fn read(stored: &[u8]) -> Result<Self> {
        const BROKEN: &str = "its table of characters (precompiled_charsmap) is broken";
        let (size, rest) = stored.split_first_chunk().context(BROKEN)?;
        let (trie, replacements) =
            rest.split_at_checked(u32::from_le_bytes(*size) as usize).context(BROKEN)?;
        let (units, odd) = trie.as_chunks();
        let replacements = String::from_utf8(replacements.to_vec()).ok().filter(|_| odd.is_empty());
        Ok(Self {
            trie: units.iter().map(|unit| u32::from_le_bytes(*unit)).collect(),
            replacements: replacements.context(BROKEN)?,
        })
    }

    /// The replacement of the longest beginning of `text` that has one, and the bytes that it replaces.
    pub(super) fn longest_prefix(&self, text: &str) -> Option<(usize, &str)> {
        let children = |unit: u32| (unit >> 10) << ((unit & 1 << 9) >> 6);
        let unit = |at: u32| self.trie.get(at as usize).copied();
        let mut at = children(unit(0)?);
        let mut found = None;
        for (byte, length) in text.bytes().zip(1..) {
            at ^= u32::from(byte);
            let Some(here) = unit(at).filter(|here| here & (1 << 31 | 0xff) == u32::from(byte)) else {
                break;
            };
            at ^= children(here);
            if here & 1 << 8 != 0 {
                found = unit(at).map(|leaf| (length, leaf & !(1 << 31)));
            }
        }
        let (length, start) = found?;
        let replacement = self.replacements.get(start as usize..)?.split('\0').next()?;
        text.is_char_boundary(length).then_some((length, replacement))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_too_short_is_refused() {
        for stored in
            [&[][..], &[1, 0, 0], &[8, 0, 0, 0, 1, 2, 3, 4], &[2, 0, 0, 0, 1, 2], &[0, 0, 0, 0, 0xff]]
        {
            assert!(Charsmap::read(stored).is_err(), "{stored:?}");
        }
        assert_eq!(Charsmap::read(&[0; 4]).unwrap().longest_prefix("a"), None);
    }

    proptest! {
        #[test]
        fn any_table_is_safe(units in proptest::collection::vec(any::<u32>(), 0..300), rest in ".{0,20}", text: String) {
            let mut stored = (units.len() as u32 * 4).to_le_bytes().to_vec();
            stored.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
            stored.extend(rest.bytes());
            if let Some((length, _)) = Charsmap::read(&stored).unwrap().longest_prefix(&text) {
                prop_assert!(text.is_char_boundary(length));
            }
        }
    }
}
