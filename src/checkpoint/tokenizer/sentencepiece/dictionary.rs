//! Texts with ids, and those of them that a text begins with.

use tokenizers::models::bpe::Vocab;

/// A set of texts that have ids.
#[derive(Default)]
pub(super) struct Dictionary {
    ids: Vocab,
    /// Bytes of the longest text.
    longest: usize,
}

impl Dictionary {
    /// Adds a text; the first id stays where it comes twice, and an empty one is left out.
    pub(super) fn insert(&mut self, text: String, id: u32) {
        if !text.is_empty() {
            self.longest = self.longest.max(text.len());
            self.ids.entry(text).or_insert(id);
        }
    }

    /// The id of a text.
    pub(super) fn get(&self, text: &str) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The entries that `text` begins with, the shortest first: their bytes and their ids.
    pub(super) fn prefixes<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (usize, u32)> + 'a {
        let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
        ends.take_while(|&end| end <= self.longest).filter_map(|end| Some((end, self.get(&text[..end])?)))
    }

    /// The longest entry that `text` begins with: its bytes and its id.
    pub(super) fn longest_prefix(&self, text: &str) -> Option<(usize, u32)> {
        self.prefixes(text).last()
    }
}
