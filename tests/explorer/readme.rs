//! What the README shows comes from the program: the picture of the screen from its own buffer, the key table from the
//! registry of actions. `ATTNSCOPE_UPDATE=1 cargo test --test readme` writes both anew.

use std::{fmt::Write, fs, path::PathBuf};

use attnscope::app::{Options, action::key_table_markdown};
use ratatui::{
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};

use crate::live::{Live, lines};

const COLUMNS: u16 = 120;
const ROWS: u16 = 40;

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn updating() -> bool {
    std::env::var_os("ATTNSCOPE_UPDATE").is_some()
}

/// The explorer on the shipped model, its real engine behind it.
fn screen() -> Buffer {
    let mut live = Live::new(COLUMNS, ROWS, None, Options { title: "attn-2l".into(), ..Options::default() });
    live.settle();
    live.draw()
}

fn hex(color: Color, otherwise: &str) -> String {
    match color {
        Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        _ => otherwise.into(),
    }
}

/// A picture of a buffer as SVG: runs of cells of one style, half blocks as rectangles so that no font's gaps show.
fn svg(buffer: &Buffer) -> String {
    const WIDTH: f32 = 8.4;
    const HEIGHT: f32 = 17.0;
    const PAPER: &str = "#14161b";
    const INK: &str = "#c8ccd4";
    let (columns, rows) = (buffer.area.width, buffer.area.height);
    let (width, height) = (f32::from(columns) * WIDTH, f32::from(rows) * HEIGHT);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"monospace\" \
         font-size=\"14\">\n<rect width=\"100%\" height=\"100%\" fill=\"{PAPER}\"/>\n"
    );
    for y in 0..rows {
        let mut x = 0;
        while x < columns {
            let cell = &buffer[(x, y)];
            let same = |other: &Cell| {
                (other.fg, other.bg, other.modifier) == (cell.fg, cell.bg, cell.modifier)
                    && (other.symbol() == "▀") == (cell.symbol() == "▀")
            };
            let mut end = x + 1;
            while end < columns && same(&buffer[(end, y)]) {
                end += 1;
            }
            let (mut ink, mut paper) = (hex(cell.fg, INK), hex(cell.bg, PAPER));
            if cell.modifier.contains(Modifier::REVERSED) {
                std::mem::swap(&mut ink, &mut paper);
            }
            let (left, top) = (f32::from(x) * WIDTH, f32::from(y) * HEIGHT);
            let length = f32::from(end - x) * WIDTH;
            if paper != PAPER {
                let _ = writeln!(
                    out,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{HEIGHT}\" fill=\"{paper}\"/>"
                );
            }
            let text: String = (x..end).map(|x| buffer[(x, y)].symbol()).collect();
            if cell.symbol() == "▀" {
                let half = HEIGHT / 2.0;
                let _ = writeln!(
                    out,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"{half}\" fill=\"{ink}\"/>"
                );
            } else if !text.trim().is_empty() {
                let bold = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
                let faint = if cell.modifier.contains(Modifier::DIM) { " opacity=\"0.6\"" } else { "" };
                let line = if cell.modifier.contains(Modifier::UNDERLINED) {
                    " text-decoration=\"underline\""
                } else {
                    ""
                };
                let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                let _ = writeln!(
                    out,
                    "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{length:.1}\" xml:space=\"preserve\" fill=\"{ink}\"\
                     {bold}{faint}{line}>{text}</text>",
                    top + 13.0
                );
            }
            x = end;
        }
    }
    out + "</svg>\n"
}

#[test]
fn the_picture_shows_the_screen_that_opens() {
    let buffer = screen();
    let screen = lines(&buffer).join("\n");
    let path = root("tests/explorer/snapshots/explore.svg");
    let picture = svg(&buffer);
    if updating() {
        fs::write(&path, &picture).unwrap();
    }
    // Figures differ in the last digit between processors; what the panels are does not.
    let stored = fs::read_to_string(&path).unwrap();
    for part in ["Heads · induction", "Pattern", "Prompt", "Next token", "does here"] {
        assert!(screen.contains(part), "`{part}` is not on the screen:\n{screen}");
        assert!(stored.contains(part), "`{part}` is not in the picture: run with ATTNSCOPE_UPDATE=1");
    }
    let head =
        |text: &str| text.split("Pattern ").nth(1).and_then(|rest| rest.split(' ').next().map(str::to_owned));
    assert!(
        head(&picture).is_some_and(|head| head.starts_with("1.")),
        "no head of layer 1 is shown:\n{screen}"
    );
    assert_eq!(head(&picture), head(&stored), "the picture is old: run with ATTNSCOPE_UPDATE=1");
}

#[test]
fn the_key_table_is_the_registry_s() {
    const BEGIN: &str = "<!-- keys: written by tests/explorer/readme.rs -->\n";
    const END: &str = "<!-- end of keys -->";
    let path = root("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let start = readme.find(BEGIN).expect("the README has a place for the keys") + BEGIN.len();
    let end = start + readme[start..].find(END).expect("the README's key table ends");
    let table = format!("\n{}\n", key_table_markdown());
    if updating() {
        fs::write(&path, format!("{}{table}{}", &readme[..start], &readme[end..])).unwrap();
    } else {
        assert_eq!(&readme[start..end], table, "run with ATTNSCOPE_UPDATE=1");
    }
}
