//! Drawing that cannot leave its rectangle, whatever the sizes and the text.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    widgets::{Block, BorderType, Widget},
};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use super::theme::{Part, Theme};

/// A buffer to draw into and the theme to draw with.
pub struct Canvas<'a> {
    /// The cells.
    pub buf: &'a mut Buffer,
    /// How everything looks.
    pub theme: &'a Theme,
}

impl Canvas<'_> {
    /// Writes `text` from column `x` of row `y` of `rect`, as far as it fits; returns the columns it would take.
    pub fn put(&mut self, rect: Rect, x: usize, y: usize, text: &str, style: Style) -> usize {
        let rect = rect.intersection(self.buf.area);
        if x < usize::from(rect.width) && y < usize::from(rect.height) {
            let room = usize::from(rect.width) - x;
            self.buf.set_stringn(rect.x + x as u16, rect.y + y as u16, text, room, style);
        }
        text.width()
    }

    /// Writes `text` in the style of a part.
    pub fn text(&mut self, rect: Rect, x: usize, y: usize, text: &str, part: Part) -> usize {
        self.put(rect, x, y, text, self.theme.style(part))
    }

    /// Writes pieces one after the other; returns the column after them.
    pub fn pieces(&mut self, rect: Rect, mut x: usize, y: usize, pieces: &[(String, Part)]) -> usize {
        for (text, part) in pieces {
            x += self.text(rect, x, y, text, *part);
        }
        x
    }

    /// Makes `rect` empty.
    pub fn clear(&mut self, rect: Rect) {
        let rect = rect.intersection(self.buf.area);
        for position in rect.positions() {
            self.buf[position].reset();
        }
        self.buf.set_style(rect, self.theme.style(Part::Text));
    }

    /// Adds `style` to a row of `rect`.
    pub fn tint(&mut self, rect: Rect, y: usize, style: Style) {
        if y < usize::from(rect.height) {
            let row = Rect { y: rect.y + y as u16, height: 1, ..rect };
            self.buf.set_style(row.intersection(self.buf.area), style);
        }
    }

    /// A frame with a title; returns what is inside. In focus its lines are thick, so that colour need not tell.
    pub fn panel(&mut self, rect: Rect, title: &str, focused: bool) -> Rect {
        let rect = rect.intersection(self.buf.area);
        if rect.width < 2 || rect.height < 2 {
            return Rect { width: 0, height: 0, ..rect };
        }
        let (kind, border) =
            if focused { (BorderType::Thick, Part::Focus) } else { (BorderType::Plain, Part::Border) };
        let block = Block::bordered().border_type(kind).border_style(self.theme.style(border));
        let inner = block.inner(rect);
        block.render(rect, self.buf);
        let room = Rect { x: rect.x + 1, width: rect.width - 2, height: 1, ..rect };
        let title = format!(" {} ", shorten(title, usize::from(room.width).saturating_sub(2)));
        let part = if focused { Part::Focus } else { Part::Title };
        self.text(room, 0, 0, &title, part);
        inner
    }
}

/// `text` in at most `width` columns, with `…` where it was cut.
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    let mut used = 1;
    for grapheme in text.graphemes(true) {
        used += grapheme.width();
        if used > width {
            break;
        }
        short.push_str(grapheme);
    }
    if width > 0 {
        short.push('…');
    }
    short
}

/// `text` in lines of at most `width` columns, broken at spaces where there are any.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        if used > 0 && used + word.trim_end_matches(' ').width() > width {
            lines.push(String::new());
            used = 0;
        }
        for grapheme in word.graphemes(true) {
            if grapheme == " " && used >= width {
                // The end of the line takes the place of the space.
                continue;
            }
            if used + grapheme.width() > width && used > 0 {
                lines.push(String::new());
                used = 0;
            }
            if let Some(line) = lines.last_mut().filter(|_| grapheme.width() <= width) {
                line.push_str(grapheme);
            }
            used += grapheme.width();
        }
    }
    lines
}

/// A bar of `value`, 0 to 1, in at most `width` columns and eighths of them; empty for what rounds to nothing.
pub fn bar(value: f32, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    let eighths = (value * 8.0 * width as f32).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

/// A value from 0 to 1 in three columns: `.88`, `1.0`, or nothing for what rounds to nothing.
pub fn decimals(value: f32) -> String {
    match value {
        value if value >= 0.995 => "1.0".into(),
        value if value >= 0.005 => format!("{value:.2}").trim_start_matches('0').into(),
        _ => String::new(),
    }
}

/// A standard error as it stands behind its score: `±.012`.
pub fn plus_minus(error: f32) -> String {
    format!("±{}", format!("{error:.3}").trim_start_matches('0'))
}

/// The rows of a list of `count` that `height` rows show so that `chosen` is among them: the first of them.
pub fn scrolled(chosen: usize, count: usize, height: usize) -> usize {
    chosen.saturating_sub(height / 2).min(count.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bars_and_decimals() {
        assert_eq!([bar(0.0, 8), bar(0.5, 8), bar(1.0, 3), bar(0.06, 2)], ["", "████", "███", "▏"]);
        assert_eq!([0.004, 0.884, 0.999].map(decimals), ["", ".88", "1.0"]);
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(
            [scrolled(0, 100, 10), scrolled(50, 100, 10), scrolled(99, 100, 10), scrolled(2, 3, 10)],
            [0, 45, 90, 0]
        );
    }

    proptest! {
        #[test]
        fn text_never_exceeds_its_width(text in "\\PC{0,40}", width in 0..30usize) {
            prop_assert!(shorten(&text, width).width() <= width);
            for line in wrap(&text, width) {
                prop_assert!(line.trim_end().width() <= width.max(1), "{line:?}");
            }
        }
    }
}
