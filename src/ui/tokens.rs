//! Tokens in running text: wrapped, shaded by a weight, with the query underlined and the strongest ones numbered.

use ratatui::{layout::Rect, style::Modifier};
use unicode_width::UnicodeWidthStr;

use super::{
    canvas::{Canvas, scrolled},
    theme::Part,
};

/// Where a token stands: its line and column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Shaded text.
#[derive(Clone, Copy, Debug)]
pub struct Shaded<'a> {
    /// The tokens as they are written.
    pub labels: &'a [String],
    /// The weight of each from `from` on, 0 to 1.
    pub weights: &'a [f32],
    /// The first token that has a weight.
    pub from: usize,
    /// The query token.
    pub query: usize,
    /// The token under the key cursor.
    pub key: Option<usize>,
    /// Number the three strongest, and begin a line after each newline.
    pub detailed: bool,
}

impl Shaded<'_> {
    /// Draws as much as fits, with the query in sight; `scale` makes a weight into a shade.
    pub fn draw(&self, canvas: &mut Canvas, rect: Rect, scale: impl Fn(f32) -> f32) {
        let strongest = if self.detailed { strongest(self.weights) } else { Vec::new() };
        for (position, Place { line, column }) in in_sight(self.labels, self.query, rect, self.detailed) {
            let weight = position.checked_sub(self.from).and_then(|at| self.weights.get(at));
            let mut style = match weight {
                Some(&weight) => canvas.theme.tint(scale(weight)),
                None => canvas.theme.style(Part::Dim),
            };
            if position == self.query {
                style = style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED);
            } else if self.key == Some(position) {
                style = style.add_modifier(Modifier::UNDERLINED);
            }
            let width = canvas.put(rect, column, line, &self.labels[position], style);
            let rank = strongest.iter().position(|&at| at + self.from == position);
            if let Some(&digit) = rank.and_then(|rank| ["¹", "²", "³"].get(rank)) {
                canvas.text(rect, column + width, line, digit, Part::Mark);
            }
        }
    }
}

/// Lines that the tokens take at a width.
pub fn lines(labels: &[String], width: usize) -> usize {
    flow(labels, width, false).last().map_or(0, |place| place.line + 1)
}

/// The tokens that `rect` has room for when the one at `cursor` is to be in sight, and where they stand in it.
pub fn in_sight(labels: &[String], cursor: usize, rect: Rect, newlines: bool) -> Vec<(usize, Place)> {
    let places = flow(labels, usize::from(rect.width), newlines);
    let lines = places.last().map_or(0, |place| place.line + 1);
    let height = usize::from(rect.height);
    let first = scrolled(places.get(cursor).map_or(0, |place| place.line), lines, height);
    let seen = |place: &Place| (first..first + height).contains(&place.line);
    let places = places.into_iter().enumerate().filter(|(_, place)| seen(place));
    places.map(|(at, place)| (at, Place { line: place.line - first, ..place })).collect()
}

/// Places tokens in lines of `width`, a column apart; a token is broken over no two lines, one too wide is cut short.
fn flow(labels: &[String], width: usize, newlines: bool) -> Vec<Place> {
    let (mut line, mut column) = (0, 0);
    let mut places = Vec::with_capacity(labels.len());
    for label in labels {
        let wide = label.width();
        if column > 0 && column + wide > width {
            (line, column) = (line + 1, 0);
        }
        places.push(Place { line, column });
        column += wide + 1;
        if newlines && label.ends_with('⏎') {
            (line, column) = (line + 1, 0);
        }
    }
    places
}

/// The three largest of `weights`, largest first; those that round to nothing are left out.
fn strongest(weights: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weights.len()).filter(|&at| weights[at] >= 0.005).collect();
    order.sort_by(|&one, &other| weights[other].total_cmp(&weights[one]));
    order.truncate(3);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_wrapped_whole() {
        let labels = ["ab", "·cde", "⏎", "f", "ghijklmnop", "q"].map(str::to_owned);
        let places: Vec<(usize, usize)> =
            flow(&labels, 8, true).into_iter().map(|place| (place.line, place.column)).collect();
        assert_eq!(places, [(0, 0), (0, 3), (1, 0), (2, 0), (3, 0), (4, 0)]);
        assert_eq!(strongest(&[0.1, 0.5, 0.001, 0.3, 0.2]), [1, 3, 4]);
    }
}
