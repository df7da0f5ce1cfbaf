//! Quoting and escaping of cleaned text for the formats that it is put into.

use unicode_width::UnicodeWidthStr;

use crate::text::clean;

/// A token's text in double quotes, so that spaces at its ends show.
pub fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", clean(bytes).replace('"', "\\\""))
}

/// `text` with spaces after it, up to `width` cells.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Text for the inside of an XML or HTML element or of a quoted attribute.
pub fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

/// A field of a CSV row: in quotes where it holds a comma, a quote, a space at an end or a line break (RFC 4180).
pub fn csv(field: &str) -> String {
    let plain = !field.contains([',', '"', '\n', '\r']) && field.trim() == field;
    if plain { field.to_owned() } else { format!("\"{}\"", field.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_quoted() {
        assert_eq!(quoted(b" Gig"), "\" Gig\"");
        assert_eq!(quoted(b"say \"hi\""), "\"say \\\"hi\\\"\"");
        assert!(!quoted(b"a\nb\x1b[2J").contains(['\n', '\u{1b}']));
    }

    #[test]
    fn fields_are_escaped() {
        assert_eq!(csv("plain"), "plain");
        assert_eq!(csv(" a"), "\" a\"");
        assert_eq!(csv("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(xml("<a b='c'>&\""), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;");
    }
}
