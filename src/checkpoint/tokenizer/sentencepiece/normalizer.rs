//! What SentencePiece does to a text before it looks for pieces.

use super::{charsmap::Charsmap, dictionary::Dictionary};

/// The space in pieces.
const SPACE: &str = "▁";

/// The steps of a vocabulary.
pub(in super::super) struct Normalizer {
    /// Characters that are rewritten.
    pub(in super::super) charsmap: Option<Charsmap>,
    /// Whether a space comes before the text (`add_dummy_prefix`).
    pub(in super::super) adds_space: bool,
    /// Whether that space comes after the text instead (`treat_whitespace_as_suffix`).
    pub(in super::super) space_is_last: bool,
    /// Whether spaces at the ends are dropped and several become one (`remove_extra_whitespaces`).
    pub(in super::super) trims: bool,
    /// Whether a space is written `▁` (`escape_whitespaces`).
    pub(in super::super) escapes: bool,
}

impl Normalizer {
    /// The text that pieces are looked for in. `user_defined` pieces are left as they are.
    pub(super) fn normalize(&self, text: &str, user_defined: &Dictionary) -> String {
        let space = if self.escapes { SPACE } else { " " };
        let mut rest = text;
        if self.trims {
            while let (" ", length) = self.first(rest, user_defined) {
                rest = &rest[length..];
            }
        }
        if rest.is_empty() {
            return String::new();
        }
        let mut normal = String::with_capacity(rest.len() + rest.len() / 2);
        if self.adds_space && !self.space_is_last {
            normal.push_str(space);
        }
        let mut after_space = self.trims;
        while !rest.is_empty() {
            let (mut first, length) = self.first(rest, user_defined);
            rest = &rest[length..];
            if after_space {
                first = first.trim_start_matches(' ');
            }
            if !first.is_empty() {
                normal.push_str(&first.replace(' ', space));
                after_space = self.trims && first.ends_with(' ');
            }
        }
        if self.trims {
            normal.truncate(normal.trim_end_matches(space).len());
        }
        if self.adds_space && self.space_is_last {
            normal.push_str(space);
        }
        normal
    }

    /// What the beginning of `text` becomes, and the bytes of that beginning; both are nothing where `text` is.
    fn first<'a>(&'a self, text: &'a str, user_defined: &Dictionary) -> (&'a str, usize) {
        if let Some((length, _)) = user_defined.longest_prefix(text) {
            return (&text[..length], length);
        }
        if let Some((length, becomes)) = self.charsmap.as_ref().and_then(|map| map.longest_prefix(text)) {
            return (becomes, length);
        }
        let length = text.chars().next().map_or(0, char::len_utf8);
        (&text[..length], length)
    }
}
