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

/// Rows with their columns aligned, each as `align` says of its number, two spaces between them; the cells are clean
/// already.
pub fn aligned(rows: impl Iterator<Item = Vec<String>>, align: impl Fn(usize) -> Align) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.width()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or_default()).collect();
    let mut text = String::new();
    for row in &rows {
        let mut printed = String::new();
        for (at, cell) in row.iter().enumerate() {
            let space = " ".repeat(widths[at] - cell.width());
            match align(at) {
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
        let rows =
            [["name", "size"], ["日本", "7"], ["a", "1234"]].map(|row| row.map(str::to_owned).to_vec());
        let text = aligned(rows.into_iter(), |at| if at == 0 { Align::Left } else { Align::Right });
        assert_eq!(text, "name  size\n日本     7\na     1234\n");
    }
}
