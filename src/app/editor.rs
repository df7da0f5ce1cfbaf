//! One line of text being typed: the prompt, the palette, a filter. Moves by grapheme, so no character is ever cut.

use unicode_segmentation::UnicodeSegmentation;

use super::motion::Motion;

/// Text and a cursor in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Editor {
    text: String,
    /// Byte offset, always between graphemes.
    cursor: usize,
}

impl Editor {
    /// An editor that holds `text`, with the cursor at its end.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { cursor: text.len(), text }
    }

    /// What has been typed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before the cursor and the text from it on.
    pub fn around(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Types `text`; control characters other than newline and tab are left out.
    pub fn insert(&mut self, text: &str) {
        let kept: String = text
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .chars()
            .filter(|&char| !char.is_control() || char == '\n' || char == '\t')
            .collect();
        self.text.insert_str(self.cursor, &kept);
        self.cursor += kept.len();
        // What was typed may join the character before or after it.
        while !self.text.is_char_boundary(self.cursor) || self.inside_grapheme() {
            self.cursor += 1;
        }
    }

    fn inside_grapheme(&self) -> bool {
        self.cursor != self.text.len()
            && !self.text.grapheme_indices(true).any(|(start, _)| start == self.cursor)
    }

    fn before(&self) -> usize {
        let start = self.around().0.grapheme_indices(true).next_back();
        start.map_or(0, |(start, _)| start)
    }

    fn after(&self) -> usize {
        let next = self.around().1.graphemes(true).next();
        self.cursor + next.map_or(0, str::len)
    }

    /// Moves one grapheme left.
    pub fn left(&mut self) {
        self.cursor = self.before();
    }

    /// Moves one grapheme right.
    pub fn right(&mut self) {
        self.cursor = self.after();
    }

    /// Moves to the start.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// Moves to the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Moves as a key says.
    pub(crate) fn go(&mut self, motion: Motion) {
        match motion {
            Motion::Left => self.left(),
            Motion::Right => self.right(),
            Motion::First => self.home(),
            Motion::Last => self.end(),
            Motion::Up | Motion::Down | Motion::PageUp | Motion::PageDown => {}
        }
    }

    /// Removes the grapheme before the cursor.
    pub fn backspace(&mut self) {
        self.cut(self.before());
    }

    /// Removes the grapheme at the cursor.
    pub fn delete(&mut self) {
        let after = self.after();
        self.text.replace_range(self.cursor..after, "");
    }

    /// Removes the word before the cursor and the spaces after it.
    pub fn kill_word(&mut self) {
        let before = self.around().0.trim_end();
        let start = before.rfind(char::is_whitespace);
        let start = start.map_or(0, |space| space + before[space..].chars().next().map_or(1, char::len_utf8));
        self.cut(start);
    }

    /// Removes everything before the cursor.
    pub fn kill_to_start(&mut self) {
        self.cut(0);
    }

    /// Removes everything from the cursor on.
    pub fn kill_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    fn cut(&mut self, from: usize) {
        self.text.replace_range(from..self.cursor, "");
        self.cursor = from;
        while self.inside_grapheme() {
            self.cursor = self.after();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edits_by_grapheme() {
        let mut line = Editor::new("naïve 👩‍🔬 e\u{301}");
        line.backspace();
        assert_eq!(line.text(), "naïve 👩‍🔬 ");
        line.left();
        line.backspace();
        assert_eq!(line.text(), "naïve  ");
        line.kill_word();
        assert_eq!(line.text(), " ");
        line.insert("a\x1b[31m\r\nb");
        assert_eq!(line.around(), ("a[31m\nb", " "));
        line.home();
        line.delete();
        assert_eq!(line.around(), ("", "[31m\nb "));
    }

    proptest! {
        #[test]
        fn the_cursor_never_cuts_a_character(text in ".{0,12}", typed in "\\PC{0,4}", keys in proptest::collection::vec(0..10u8, 0..40)) {
            let mut line = Editor::new(text);
            for key in keys {
                match key {
                    0 => line.left(), 1 => line.right(), 2 => line.home(), 3 => line.end(),
                    4 => line.backspace(), 5 => line.delete(), 6 => line.kill_word(),
                    7 => line.insert(&typed), 8 => line.kill_to_start(), _ => line.kill_to_end(),
                }
                prop_assert!(!line.inside_grapheme());
                let (before, after) = line.around();
                prop_assert_eq!(format!("{before}{after}"), line.text());
            }
        }
    }
}
