//! What one token or one head attends to, as terminal text, plain text and CSV.

use std::fmt::Write;

use ratatui::style::Color;
use unicode_width::UnicodeWidthStr;

use super::text::{csv, padded, quoted};
use crate::{
    engine::protocol::{PatternMap, Token},
    head::Head,
    text::clean,
};

/// Attention that one token gives to the tokens before it and to itself.
pub struct Row<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// The head.
    pub head: Head,
    /// The whole prompt.
    pub tokens: &'a [Token],
    /// Position of the token that attends.
    pub query: usize,
    /// Probability of each key `0..=query`.
    pub weights: &'a [f32],
    /// What goes to the head's sink, which is no token; `None` in models without sinks.
    pub sink: Option<f32>,
}

/// Attention of every token, perhaps pooled.
pub struct Matrix<'a> {
    /// Name of the model.
    pub model: &'a str,
    /// The head.
    pub head: Head,
    /// The whole prompt.
    pub tokens: &'a [Token],
    /// The pattern.
    pub map: &'a PatternMap,
}

/// Background and a foreground that can be read on it, for a level from 0 to 1.
pub type Ramp<'a> = &'a dyn Fn(f32) -> (Color, Color);

/// How strongly a weight is shown, 0 to 1: the root of its share of the largest, so that small weights are not lost.
pub(super) fn level(weight: f32, largest: f32) -> f32 {
    if weight > 0.0 && largest > 0.0 { (weight / largest).sqrt().min(1.0) } else { 0.0 }
}

pub(super) fn largest(weights: &[f32]) -> f32 {
    weights.iter().copied().filter(|weight| weight.is_finite()).fold(0.0, f32::max)
}

impl Row<'_> {
    /// What is shown, in a line.
    pub fn title(&self) -> String {
        format!(
            "{} · head {} · what {} at {} attends to{}",
            self.model,
            self.head,
            self.tokens.get(self.query).map_or_else(|| "?".to_owned(), |token| quoted(&token.bytes)),
            self.query,
            self.sink.map_or_else(String::new, |share| format!(" ({share:.3} on its sink)"))
        )
    }

    /// The keys with their weights, in the order of the prompt: position, token, weight.
    pub(super) fn keys(&self) -> impl Iterator<Item = (usize, &Token, f32)> {
        self.tokens.iter().zip(self.weights).enumerate().map(|(at, (token, weight))| (at, token, *weight))
    }

    /// The prompt with a shaded background, and below it the tokens attended to most. `None` draws without colour:
    /// reverse for the levels of the upper half, underline for those above an eighth.
    pub fn ansi(&self, ramp: Option<Ramp>) -> String {
        let largest = largest(self.weights);
        let mut out = format!("{}\n\n", self.title());
        for (at, token) in self.tokens.iter().enumerate() {
            let text = clean(&token.bytes);
            let text = if text.is_empty() { format!("[{}]", token.id) } else { text };
            let style = match self.weights.get(at) {
                None => "2".to_owned(),
                Some(weight) => style(level(*weight, largest), ramp),
            };
            let bold = if at == self.query { ";1;4" } else { "" };
            let _ = write!(out, "\x1b[{style}{bold}m{text}\x1b[0m");
            if token.bytes.ends_with(b"\n") {
                out.push('\n');
            }
        }
        out.push_str("\n\n");
        let mut best: Vec<_> = self.keys().collect();
        best.sort_by(|a, b| b.2.total_cmp(&a.2));
        for (at, token, weight) in best.into_iter().take(5) {
            let shade = style(level(weight, largest), ramp);
            let _ = writeln!(out, "\x1b[{shade}m {weight:.3} \x1b[0m {} at {at}", quoted(&token.bytes));
        }
        out
    }

    /// One line a key: position, token, weight, bar.
    pub fn text(&self) -> String {
        let largest = largest(self.weights);
        let names: Vec<_> = self.keys().map(|(_, token, _)| quoted(&token.bytes)).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0).max("token".len());
        let mut out = format!("{}\n\n{:>8}  {}  weight\n", self.title(), "position", padded("token", width));
        for ((at, _, weight), name) in self.keys().zip(&names) {
            let share = (weight / largest.max(f32::MIN_POSITIVE)).clamp(0.0, 1.0);
            let bar = "#".repeat((share * 30.0).round() as usize);
            let line = format!("{at:>8}  {}  {weight:.4}  {bar}", padded(name, width));
            let _ = writeln!(out, "{}", line.trim_end());
        }
        out
    }

    /// Heading `position,id,token,weight` and a row a key; the sink has no position and no token.
    pub fn csv(&self) -> String {
        let mut out = "position,id,token,weight\n".to_owned();
        for (at, token, weight) in self.keys() {
            let _ = writeln!(out, "{at},{},{},{weight}", token.id, csv(&clean(&token.bytes)));
        }
        if let Some(share) = self.sink {
            let _ = writeln!(out, "sink,,,{share}");
        }
        out
    }
}

impl Matrix<'_> {
    /// What is shown, in a line.
    pub fn title(&self) -> String {
        let pooled = match self.map.pooled {
            0 | 1 => String::new(),
            n => format!(", {n} x {n} tokens to a cell"),
        };
        let (model, head, tokens) = (self.model, self.head, self.map.tokens);
        format!("{model} · head {head} · {tokens} tokens: what each (down) attends to (across){pooled}")
    }

    /// Weights of one row of cells, up to the diagonal.
    pub(super) fn row(&self, query: usize) -> &[f32] {
        let start = query * self.map.side;
        self.map.values.get(start..=start + query).unwrap_or_default()
    }

    /// The token that a cell begins with.
    pub(super) fn token(&self, cell: usize) -> String {
        self.tokens.get(cell * self.map.pooled.max(1)).map_or_else(String::new, |token| clean(&token.bytes))
    }

    /// A shaded square, one character wide and half a line high a cell. `None` draws with shade characters, two wide.
    pub fn ansi(&self, ramp: Option<Ramp>) -> String {
        const SHADES: [&str; 5] = ["  ", "··", "░░", "▒▒", "██"];
        let (side, largest) = (self.map.side, largest(&self.map.values));
        let at = |query: usize, key: usize| self.row(query).get(key).map(|weight| level(*weight, largest));
        let mut out = format!("{}\n\n", self.title());
        match ramp {
            Some(ramp) => {
                let shade = |query: usize, key: usize| at(query, key).map(|level| ramp(level).0);
                for top in (0..side).step_by(2) {
                    let mut last = String::new();
                    for key in 0..=(top + 1).min(side - 1) {
                        // Two cells to a character; above the diagonal there is nothing to draw.
                        let (ink, paper, letter) = match (shade(top, key), shade(top + 1, key)) {
                            (Some(upper), lower) => (upper, lower.unwrap_or(Color::Reset), '▀'),
                            (None, lower) => (lower.unwrap_or(Color::Reset), Color::Reset, '▄'),
                        };
                        let style = format!("{};{}", sgr(ink, 30), sgr(paper, 40));
                        if style != last {
                            let _ = write!(out, "\x1b[{style}m");
                            last = style;
                        }
                        out.push(letter);
                    }
                    out.push_str("\x1b[0m\n");
                }
            }
            None => {
                for query in 0..side {
                    let shade = |key: usize| {
                        at(query, key).map_or(SHADES[0], |level| SHADES[(level * 4.0).ceil() as usize])
                    };
                    let line: String = (0..=query).map(shade).collect();
                    let _ = writeln!(out, "{}", line.trim_end());
                }
            }
        }
        let _ = writeln!(out, "\nstrongest {largest:.3}; shades show the square root");
        out
    }

    /// The numbers in columns, each row named by its token.
    pub fn text(&self) -> String {
        let side = self.map.side;
        let name = |cell: usize| format!("{:>5} \"{}\"", cell * self.map.pooled.max(1), self.token(cell));
        let width = (0..side).map(|cell| name(cell).width()).max().unwrap_or(0);
        let mut out = format!("{}\n\n{}", self.title(), " ".repeat(width));
        for key in 0..side {
            let _ = write!(out, " {:>5}", key * self.map.pooled.max(1));
        }
        out.push('\n');
        for query in 0..side {
            out.push_str(&padded(&name(query), width));
            for weight in self.row(query) {
                let _ = write!(out, " {weight:5.3}");
            }
            out.push('\n');
        }
        out
    }

    /// Heading `query,token,0,1,...` and a row a query; above the diagonal the weights are 0.
    pub fn csv(&self) -> String {
        let (side, pooled) = (self.map.side, self.map.pooled.max(1));
        let mut out = "query,token".to_owned();
        for key in 0..side {
            let _ = write!(out, ",{}", key * pooled);
        }
        out.push('\n');
        for query in 0..side {
            let _ = write!(out, "{},{}", query * pooled, csv(&self.token(query)));
            for key in 0..side {
                let _ = write!(out, ",{}", self.row(query).get(key).unwrap_or(&0.0));
            }
            out.push('\n');
        }
        out
    }
}

/// The SGR parameters that draw a level.
fn style(level: f32, ramp: Option<Ramp>) -> String {
    match ramp {
        Some(ramp) => {
            let (background, foreground) = ramp(level);
            format!("{};{}", sgr(foreground, 30), sgr(background, 40))
        }
        None if level >= 0.5 => "7".to_owned(),
        None if level >= 0.125 => "4".to_owned(),
        None => "0".to_owned(),
    }
}

/// The SGR parameters of a colour; `base` is 30 for the foreground and 40 for the background.
fn sgr(color: Color, base: u8) -> String {
    let basic = |number: u8| format!("{}", base + number);
    let bright = |number: u8| format!("{}", base + 60 + number);
    match color {
        Color::Reset => basic(9),
        Color::Black => basic(0),
        Color::Red => basic(1),
        Color::Green => basic(2),
        Color::Yellow => basic(3),
        Color::Blue => basic(4),
        Color::Magenta => basic(5),
        Color::Cyan => basic(6),
        Color::Gray => basic(7),
        Color::DarkGray => bright(0),
        Color::LightRed => bright(1),
        Color::LightGreen => bright(2),
        Color::LightYellow => bright(3),
        Color::LightBlue => bright(4),
        Color::LightMagenta => bright(5),
        Color::LightCyan => bright(6),
        Color::White => bright(7),
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
        Color::Indexed(number) => format!("{};5;{number}", base + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> Vec<Token> {
        let texts: [&[u8]; 5] = [b"<bos>", b" Doctor", b" Gig", b"\xe4\xbd\n", b" later"];
        texts.iter().enumerate().map(|(at, text)| Token { id: at as u32, bytes: text.to_vec() }).collect()
    }

    fn row(tokens: &[Token]) -> Row<'_> {
        Row {
            model: "tiny",
            head: Head::new(1, 3),
            tokens,
            query: 3,
            weights: &[0.04, 0.64, 0.16, 0.16],
            sink: None,
        }
    }

    fn map() -> PatternMap {
        let values = vec![1.0, 0.0, 0.0, 0.25, 0.75, 0.0, 0.0, 1.0, 0.0];
        PatternMap { tokens: 3, pooled: 1, side: 3, values }
    }

    fn ramp(level: f32) -> (Color, Color) {
        (Color::Indexed((level * 100.0) as u8), Color::Reset)
    }

    /// Escapes made visible, for the snapshots.
    fn shown(text: &str) -> String {
        text.replace('\x1b', "␛")
    }

    #[test]
    fn a_row_as_text() {
        let tokens = tokens();
        insta::assert_snapshot!(row(&tokens).text(), @r###"
        tiny · head 1.3 · what "<0xE4><0xBD>⏎" at 3 attends to

        position  token            weight
               0  "<bos>"          0.0400  ##
               1  " Doctor"        0.6400  ##############################
               2  " Gig"           0.1600  ########
               3  "<0xE4><0xBD>⏎"  0.1600  ########
        "###);
        insta::assert_snapshot!(row(&tokens).csv(), @r###"
        position,id,token,weight
        0,0,<bos>,0.04
        1,1," Doctor",0.64
        2,2," Gig",0.16
        3,3,<0xE4><0xBD>⏎,0.16
        "###);
    }

    #[test]
    fn a_row_in_colours() {
        let tokens = tokens();
        insta::assert_snapshot!(shown(&row(&tokens).ansi(Some(&ramp))), @r###"
        tiny · head 1.3 · what "<0xE4><0xBD>⏎" at 3 attends to

        ␛[39;48;5;25m<bos>␛[0m␛[39;48;5;100m Doctor␛[0m␛[39;48;5;50m Gig␛[0m␛[39;48;5;50;1;4m<0xE4><0xBD>⏎␛[0m
        ␛[2m later␛[0m

        ␛[39;48;5;100m 0.640 ␛[0m " Doctor" at 1
        ␛[39;48;5;50m 0.160 ␛[0m " Gig" at 2
        ␛[39;48;5;50m 0.160 ␛[0m "<0xE4><0xBD>⏎" at 3
        ␛[39;48;5;25m 0.040 ␛[0m "<bos>" at 0
        "###);
    }

    #[test]
    fn without_colours_no_colour_is_named() {
        let tokens = tokens();
        let text = row(&tokens).ansi(None);
        assert!(!text.contains("38;") && !text.contains("48;"), "{text:?}");
        assert!(text.contains("\x1b[7m Doctor\x1b[0m"), "{text:?}");
        let map = map();
        let matrix = Matrix { model: "tiny", head: Head::new(1, 3), tokens: &tokens, map: &map };
        insta::assert_snapshot!(matrix.ansi(None), @r###"
        tiny · head 1.3 · 3 tokens: what each (down) attends to (across)

        ██
        ░░██
          ██

        strongest 1.000; shades show the square root
        "###);
    }

    #[test]
    fn a_matrix_as_text() {
        let (tokens, map) = (tokens(), map());
        let matrix = Matrix { model: "tiny", head: Head::new(1, 3), tokens: &tokens, map: &map };
        insta::assert_snapshot!(matrix.text(), @r###"
        tiny · head 1.3 · 3 tokens: what each (down) attends to (across)

                            0     1     2
            0 "<bos>"   1.000
            1 " Doctor" 0.250 0.750
            2 " Gig"    0.000 1.000 0.000
        "###);
        insta::assert_snapshot!(matrix.csv(), @r###"
        query,token,0,1,2
        0,<bos>,1,0,0
        1," Doctor",0.25,0.75,0
        2," Gig",0,1,0
        "###);
        insta::assert_snapshot!(shown(&matrix.ansi(Some(&ramp))), @r###"
        tiny · head 1.3 · 3 tokens: what each (down) attends to (across)

        ␛[38;5;100;48;5;50m▀␛[38;5;86;49m▄␛[0m
        ␛[38;5;0;49m▀␛[38;5;100;49m▀␛[38;5;0;49m▀␛[0m

        strongest 1.000; shades show the square root
        "###);
    }

    #[test]
    fn the_sink_s_share_is_told() {
        let tokens = tokens();
        let row = Row { sink: Some(0.25), ..row(&tokens) };
        assert!(row.title().ends_with("attends to (0.250 on its sink)"), "{}", row.title());
        assert!(row.csv().ends_with("\nsink,,,0.25\n"), "{}", row.csv());
    }

    #[test]
    fn weights_that_are_no_numbers_do_no_harm() {
        let tokens = tokens();
        let row = Row { weights: &[f32::NAN, 0.0, f32::INFINITY, -1.0], ..row(&tokens) };
        assert!(row.ansi(Some(&ramp)).contains("NaN"));
        assert!(row.text().contains("NaN"));
    }
}
