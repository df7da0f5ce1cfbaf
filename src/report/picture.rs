//! What one token or one head attends to, as SVG and as HTML: each needs no other file, and no script.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{
    Rgb,
    heatmap::{Matrix, Row, largest, level},
    text::xml,
};
use crate::text::clean;

/// Background and a foreground that can be read on it, for a level from 0 to 1.
pub type Ramp<'a> = &'a dyn Fn(f32) -> (Rgb, Rgb);

/// Size of a character of the monospace font, and the height of a line, in pixels.
const ADVANCE: f32 = 8.4;
const LINE: f32 = 24.0;
/// Width that the tokens are wrapped to.
const WIDTH: f32 = 900.0;
const MARGIN: f32 = 16.0;
/// A matrix is about this large; its cells have a size to match.
const SQUARE: f32 = 640.0;
/// Largest number of cells on a side whose rows are named by their tokens.
const NAMED: usize = 64;
const FONT: &str = "font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"14\"";

fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The start of a picture with its title at the top.
fn svg_head(width: f32, height: f32, title: &str) -> String {
    let title = xml(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" {FONT}>\n<title>{title}</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{:.1}\" fill=\"#000000\">{title}</text>\n",
        MARGIN + 14.0
    )
}

fn page(title: &str, body: &str) -> String {
    let title = xml(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>\n\
         <style>body{{margin:2em;font:16px/1.9 ui-monospace,Menlo,Consolas,monospace;background:#fff;color:#000}}\
         p{{max-width:60em;white-space:pre-wrap;overflow-wrap:anywhere}}span{{padding:.2em 0}}\
         .query{{outline:2px solid #000}}.later{{color:#666}}</style></head>\n<body>\n{body}</body>\n</html>\n"
    )
}

impl Row<'_> {
    /// The prompt as a picture: every token on its shade, with its weight as a tooltip.
    pub fn svg(&self, ramp: Ramp) -> String {
        let largest = largest(self.weights);
        let (mut x, mut y, mut body) = (MARGIN, MARGIN + 2.0 * LINE, String::new());
        for (at, token) in self.tokens.iter().enumerate() {
            let text = clean(&token.bytes);
            let width = ADVANCE * text.width().max(1) as f32;
            if x > MARGIN && x + width > WIDTH - MARGIN {
                (x, y) = (MARGIN, y + LINE);
            }
            let (fill, ink) = match self.weights.get(at) {
                Some(weight) => ramp(level(*weight, largest)),
                None => ((255, 255, 255), (120, 120, 120)),
            };
            let edge = if at == self.query { " stroke=\"#000000\" stroke-width=\"2\"" } else { "" };
            let tip = self
                .weights
                .get(at)
                .map_or_else(|| format!("{at}: later"), |weight| format!("{at}: {weight:.4}"));
            let _ = writeln!(
                body,
                "<g><title>{tip}</title><rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\" \
                 fill=\"{}\"{edge}/><text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{width:.1}\" fill=\"{}\" \
                 xml:space=\"preserve\">{}</text></g>",
                y - 16.0,
                LINE - 2.0,
                hex(fill),
                hex(ink),
                xml(&text)
            );
            x += width;
        }
        format!("{}{body}</svg>\n", svg_head(WIDTH, y + MARGIN, &self.title()))
    }

    /// The prompt as a page: every token on its shade, with its weight as a tooltip.
    pub fn html(&self, ramp: Ramp) -> String {
        let largest = largest(self.weights);
        let mut body = format!("<h1>{}</h1>\n<p>", xml(&self.title()));
        for (at, token) in self.tokens.iter().enumerate() {
            let text = xml(&clean(&token.bytes));
            let query = if at == self.query { " query" } else { "" };
            let _ = match self.weights.get(at) {
                Some(weight) => {
                    let (fill, ink) = ramp(level(*weight, largest));
                    write!(
                        body,
                        "<span class=\"key{query}\" title=\"{at}: {weight:.4}\" style=\"background:{};color:{}\">{text}</span>",
                        hex(fill),
                        hex(ink)
                    )
                }
                None => write!(body, "<span class=\"later\" title=\"{at}\">{text}</span>"),
            };
            if token.bytes.ends_with(b"\n") {
                body.push('\n');
            }
        }
        body.push_str("</p>\n");
        page(&self.title(), &body)
    }
}

impl Matrix<'_> {
    /// The pattern as a picture; cells without attention are left out, equal neighbours are drawn as one.
    pub fn svg(&self, ramp: Ramp) -> String {
        let (side, largest) = (self.map.side, largest(&self.map.values));
        let cell = (SQUARE / side.max(1) as f32).clamp(2.0, 24.0);
        let names: Vec<_> =
            if side <= NAMED { (0..side).map(|at| self.token(at)).collect() } else { Vec::new() };
        let left = MARGIN + names.iter().map(|name| name.width()).max().unwrap_or(0) as f32 * ADVANCE;
        let top = MARGIN + 2.0 * LINE;
        let size = side as f32 * cell;
        let title = self.title();
        let width = (left + size).max(MARGIN + title.width() as f32 * ADVANCE) + MARGIN;
        let mut out = svg_head(width, top + size + MARGIN, &title);
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{size:.1}\" height=\"{size:.1}\" fill=\"{}\"/>",
            hex(ramp(0.0).0)
        );
        for query in 0..side {
            let y = top + query as f32 * cell;
            let row = self.row(query);
            let fill = |key: usize| ramp(level(row[key], largest)).0;
            let mut start = 0;
            while start < row.len() {
                let color = fill(start);
                let end = (start..row.len()).find(|key| fill(*key) != color).unwrap_or(row.len());
                if color != ramp(0.0).0 {
                    let _ = writeln!(
                        out,
                        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{cell:.1}\" fill=\"{}\"/>",
                        left + start as f32 * cell,
                        (end - start) as f32 * cell,
                        hex(color)
                    );
                }
                start = end;
            }
            if let Some(name) = names.get(query) {
                let _ = writeln!(
                    out,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" font-size=\"{:.1}\" xml:space=\"preserve\">{}</text>",
                    left - 4.0,
                    y + cell * 0.75,
                    cell.min(14.0),
                    xml(name)
                );
            }
        }
        out + "</svg>\n"
    }

    /// The picture as a page.
    pub fn html(&self, ramp: Ramp) -> String {
        page(&self.title(), &self.svg(ramp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::protocol::{PatternMap, Token},
        head::Head,
    };

    const HOSTILE: &str = "</text></svg><script>alert('x')</script>\"&\n";

    fn grey(level: f32) -> (Rgb, Rgb) {
        let shade = 255 - (level * 255.0) as u8;
        ((shade, shade, shade), if level > 0.5 { (255, 255, 255) } else { (0, 0, 0) })
    }

    fn tokens() -> Vec<Token> {
        let texts = ["<bos>", HOSTILE, " went", " later"];
        texts
            .iter()
            .enumerate()
            .map(|(at, text)| Token { id: at as u32, bytes: text.as_bytes().into() })
            .collect()
    }

    fn pictures() -> [String; 4] {
        let tokens = tokens();
        let row = Row {
            model: "<m>",
            head: Head::new(1, 3),
            tokens: &tokens,
            query: 2,
            weights: &[0.1, 0.8, 0.1],
            sink: None,
        };
        let values = vec![1.0, 0.0, 0.0, 0.25, 0.75, 0.0, 0.1, 0.8, 0.1];
        let map = PatternMap { tokens: 3, pooled: 1, side: 3, values };
        let matrix = Matrix { model: "<m>", head: Head::new(1, 3), tokens: &tokens, map: &map };
        [row.svg(&grey), row.html(&grey), matrix.svg(&grey), matrix.html(&grey)]
    }

    #[test]
    fn hostile_tokens_stay_text() {
        for picture in pictures() {
            assert!(!picture.contains("<script") && !picture.contains("<m>") && !picture.contains("<bos>"));
            assert!(picture.contains("&lt;script&gt;alert(&#39;x&#39;)"), "{picture}");
        }
    }

    #[test]
    fn elements_are_closed() {
        for picture in pictures() {
            let mut open = Vec::new();
            for tag in picture.split('<').skip(1).map(|rest| rest.split('>').next().unwrap()) {
                let name = tag.split_whitespace().next().unwrap();
                if let Some(name) = name.strip_prefix('/') {
                    assert_eq!(open.pop(), Some(name.to_owned()), "{picture}");
                } else if !tag.ends_with('/') && !tag.starts_with('!') && !name.starts_with("meta") {
                    open.push(name.to_owned());
                }
            }
            assert!(open.is_empty(), "{open:?}");
        }
    }

    #[test]
    fn the_strongest_cell_is_the_darkest() {
        let [row, _, matrix, _] = pictures();
        assert_eq!(row.matches("fill=\"#000000\"/>").count(), 1, "{row}");
        assert!(row.contains("<title>1: 0.8000</title><rect x=\"58.0\" y=\"48.0\" width=\"361.2\""), "{row}");
        assert!(matrix.contains("<rect x=\"") && matrix.contains("fill=\"#000000\"/>"));
    }
}
