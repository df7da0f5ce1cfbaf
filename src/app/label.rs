//! How tokens are written on the screen; all text passes [`clean`] here.

use crate::{engine::protocol::Token, text::clean};

/// A token as it stands in running text: spaces at its edges are `·`, one without bytes is `#id`.
pub fn label(token: &Token) -> String {
    let text = plain(token);
    let inner = text.trim_matches(' ');
    if inner.is_empty() {
        return "·".repeat(text.len());
    }
    let before = text.len() - text.trim_start_matches(' ').len();
    let after = text.len() - text.trim_end_matches(' ').len();
    format!("{}{inner}{}", "·".repeat(before), "·".repeat(after))
}

/// A token as it stands in a sentence: `" Doctor"`, or `#id`.
pub fn quoted(token: &Token) -> String {
    if token.bytes.is_empty() { plain(token) } else { format!("\"{}\"", clean(&token.bytes)) }
}

/// A token in a column of a table.
pub fn plain(token: &Token) -> String {
    if token.bytes.is_empty() { format!("#{}", token.id) } else { clean(&token.bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Token {
        Token { id: 7, bytes: text.as_bytes().to_vec() }
    }

    #[test]
    fn spaces_at_the_edges_show() {
        let labels = [" Doctor", "a b ", "   ", ""].map(|text| label(&token(text)));
        assert_eq!(labels, ["·Doctor", "a b·", "···", "#7"]);
        assert_eq!(quoted(&token(" \x1b")), "\" ␛\"");
        assert_eq!(quoted(&token("")), "#7");
    }
}
