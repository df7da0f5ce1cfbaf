//! Columns of text that line up.

use unicode_width::UnicodeWidthStr;

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows with their columns aligned, two spaces between them; the cells are clean already.
pub fn aligned<const N: usize>(rows: impl Iterator<Item = [String; N]>, align: [Align; N]) -> String {
    let rows: Vec<[String; N]> = rows.collect();
    let widths: [usize; N] =
        std::array::from_fn(|at| rows.iter().map(|row| row[at].width()).max().unwrap_or_default());
    let mut text = String::new();
    for row in &rows {
        let mut printed = String::new();
        for (at, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[at] - cell.width());
            match align[at] {
                Align::Left => printed.extend([cell, &space, "  "]),
                Align::Right => printed.extend([&space, cell, "  "]),
            }
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_also_with_wide_characters() {
        let rows = [["name", "size"], ["日本", "7"], ["a", "1234"]].map(|row| row.map(str::to_owned));
        let text = aligned(rows.into_iter(), [Align::Left, Align::Right]);
        assert_eq!(text, "name  size\n日本     7\na     1234\n");
    }
}
