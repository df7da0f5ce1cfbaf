//! Themes: what each part of the screen looks like, on terminals of every colour depth.
//!
//! A theme file names colours once and gives each part a style; it may inherit from another. The same file serves every
//! depth: colours are brought to the palette that the terminal has, and without colours only bold, underline and
//! reverse are left, so nothing may depend on colour alone.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use ratatui::style::{Color, Modifier, Style};
use toml::{Table, Value};

use super::color::{Ramp, Rgb, indexed, nearest_ansi, nearest_index};
use crate::app::THEMES;

/// Colours that a terminal can show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Depth {
    /// 24 bits.
    #[default]
    Truecolor,
    /// The 256-colour palette.
    Indexed,
    /// The sixteen named colours.
    Ansi,
    /// None; also what `NO_COLOR` asks for.
    Mono,
}

/// Levels of the heat ramp in truecolor: few enough that neighbours often agree and frames stay small.
pub const LEVELS: usize = 32;

/// Levels of a change in either direction.
pub const CHANGES: usize = 6;

/// Glyphs from empty to full, for terminals without a gradient.
pub const SHADES: [&str; 6] = [" ", "·", "░", "▒", "▓", "█"];

macro_rules! parts {
    ($($part:ident $name:literal,)*) => {
        /// A part of the screen with a style of its own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Part { $($part,)* }

        /// The parts as theme files name them.
        const PARTS: &[(Part, &str)] = &[$((Part::$part, $name),)*];
    };
}

parts! {
    Text "text",
    Dim "dim",
    Border "border",
    Focus "focus",
    Title "title",
    Accent "accent",
    Selection "selection",
    Query "query",
    Mark "mark",
    Key "key",
    Bar "bar",
    Warning "warning",
    Error "error",
    Curve1 "curve1",
    Curve2 "curve2",
    Curve3 "curve3",
    Curve4 "curve4",
    Curve5 "curve5",
    Better "better",
    Worse "worse",
}

/// A colour of the palette: what it is, and which of the sixteen stands for it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ink {
    rgb: Rgb,
    ansi: Option<Color>,
}

/// A style before it is brought to a depth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Look {
    fg: Option<Ink>,
    bg: Option<Ink>,
    modifier: Modifier,
}

/// How the screen looks at one depth.
#[derive(Clone, Debug)]
pub struct Theme {
    /// Its name.
    pub name: String,
    /// What was not understood in its file.
    pub warnings: Vec<String>,
    looks: [Look; PARTS.len()],
    ramp: Ramp,
    depth: Depth,
    heat: Vec<(Color, Color)>,
}

const FILES: [(&str, &str); 4] = [
    (THEMES[0], include_str!("../../themes/default-dark.toml")),
    (THEMES[1], include_str!("../../themes/default-light.toml")),
    (THEMES[2], include_str!("../../themes/high-contrast.toml")),
    (THEMES[3], include_str!("../../themes/mono.toml")),
];

impl Default for Theme {
    /// The dark theme; without styles if its file is broken, which a test excludes.
    fn default() -> Self {
        Self::load(THEMES[0]).unwrap_or_else(|_| Self {
            name: String::new(),
            warnings: Vec::new(),
            looks: [Look::default(); PARTS.len()],
            ramp: Ramp(vec![Rgb(0, 0, 0), Rgb(255, 255, 255)]),
            depth: Depth::Mono,
            heat: Vec::new(),
        })
    }
}

impl Theme {
    /// The shipped theme of that name, in truecolor.
    pub fn load(name: &str) -> Result<Self> {
        Self::resolve(name, &FILES)
    }

    /// The theme `name` among `files` (name and text), with what it inherits.
    fn resolve(name: &str, files: &[(&str, &str)]) -> Result<Self> {
        let mut chain: Vec<(&str, Table)> = Vec::new();
        let mut next = Some(name.to_owned());
        while let Some(wanted) = next {
            let Some(&(file, text)) = files.iter().find(|file| file.0 == wanted) else {
                let known: Vec<&str> = files.iter().map(|file| file.0).collect();
                bail!("no theme `{wanted}`: there are {}", known.join(", "));
            };
            if chain.iter().any(|seen| seen.0 == file) {
                bail!("theme `{name}` inherits from itself by way of `{file}`");
            }
            let table: Table = text.parse().with_context(|| format!("theme `{file}` is no valid TOML"))?;
            next = table.get("inherits").and_then(Value::as_str).map(str::to_owned);
            chain.push((file, table));
        }
        let mut merged = Table::new();
        for (_, table) in chain.into_iter().rev() {
            merge(&mut merged, table);
        }
        Ok(Reader::default().read(name, &merged))
    }

    /// The same theme for a terminal of this depth; `levels` is the length of the heat ramp in truecolor.
    #[must_use]
    pub fn at(mut self, depth: Depth, levels: usize) -> Self {
        self.depth = depth;
        self.heat = match depth {
            Depth::Truecolor => {
                self.ramp.levels(levels).into_iter().map(|rgb| (rgb.into(), rgb.ink().into())).collect()
            }
            Depth::Indexed => {
                let ink = |index: u8| if indexed(index).ink() == Rgb(0, 0, 0) { 16 } else { 231 };
                let pair = |index| (Color::Indexed(index), Color::Indexed(ink(index)));
                self.ramp.indices().into_iter().map(pair).collect()
            }
            Depth::Ansi | Depth::Mono => Vec::new(),
        };
        self
    }

    /// The depth that the theme has been brought to.
    pub fn depth(&self) -> Depth {
        self.depth
    }

    /// Whether a cell can be filled with a graded colour; else a glyph of [`SHADES`] stands for the value.
    pub fn is_graded(&self) -> bool {
        !self.heat.is_empty()
    }

    /// The style of a part of the screen.
    pub fn style(&self, part: Part) -> Style {
        let look = self.looks[part as usize];
        let mut style = Style::new().add_modifier(look.modifier);
        if let Some(color) = look.fg.and_then(|ink| self.color(ink)) {
            style = style.fg(color);
        }
        if let Some(color) = look.bg.and_then(|ink| self.color(ink)) {
            style = style.bg(color);
        }
        style
    }

    fn color(&self, ink: Ink) -> Option<Color> {
        match self.depth {
            Depth::Truecolor => Some(ink.rgb.into()),
            Depth::Indexed => Some(Color::Indexed(nearest_index(ink.rgb))),
            Depth::Ansi => Some(ink.ansi.unwrap_or_else(|| nearest_ansi(ink.rgb))),
            Depth::Mono => None,
        }
    }

    fn level(value: f32, count: usize) -> usize {
        let value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        (value * (count.max(1) - 1) as f32).round() as usize
    }

    /// The colour that stands for `value`, 0 to 1, where the terminal has graded colours.
    pub fn heat(&self, value: f32) -> Option<Color> {
        self.heat.get(Self::level(value, self.heat.len())).map(|pair| pair.0)
    }

    /// A cell that shows `value`, 0 to 1: a filled one, or a glyph.
    pub fn shade(&self, value: f32) -> (&'static str, Style) {
        match self.heat(value) {
            Some(color) => (" ", Style::new().bg(color)),
            None => (SHADES[Self::level(value, SHADES.len())], self.style(Part::Bar)),
        }
    }

    /// The style of running text on which `value` is shown: plain where it rounds to nothing.
    pub fn tint(&self, value: f32) -> Style {
        if Self::level(value, self.heat.len()) == 0 && self.is_graded() {
            return self.style(Part::Text);
        }
        self.over(value)
    }

    /// The style of text on which a change, -1 to 1, is shown: `better` below zero, `worse` above, from the ground to the
    /// colour of that part; plain where it rounds to nothing. The 256-colour palette has greys where such shades are dark.
    pub fn change(&self, value: f32) -> Style {
        let (part, size) = (if value < 0.0 { Part::Better } else { Part::Worse }, value.abs());
        let level = Self::level(size, CHANGES + 1);
        let plain = self.style(Part::Text);
        let hue = self.looks[part as usize].fg.filter(|_| self.depth == Depth::Truecolor);
        match hue.zip(self.looks[Part::Text as usize].fg) {
            _ if level == 0 => plain,
            Some((hue, text)) => {
                let ground = text.rgb.ink();
                let color = Ramp(vec![ground, hue.rgb]).at(0.25 + 0.75 * level as f32 / CHANGES as f32);
                Style::new().bg(color.into()).fg(color.ink().into())
            }
            None if 3 * level <= CHANGES => self.style(part),
            None if 3 * level <= 2 * CHANGES => self.style(part).add_modifier(Modifier::BOLD),
            None => self.style(part).add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }

    /// The style of text on which `value`, 0 to 1, is shown.
    pub fn over(&self, value: f32) -> Style {
        if let Some(&(back, ink)) = self.heat.get(Self::level(value, self.heat.len())) {
            return Style::new().bg(back).fg(ink);
        }
        let bar = self.style(Part::Bar);
        match value {
            value if value >= 0.5 => bar.add_modifier(Modifier::BOLD | Modifier::REVERSED),
            value if value >= 0.25 => bar.add_modifier(Modifier::REVERSED),
            value if value >= 0.1 => bar.add_modifier(Modifier::BOLD),
            value if value >= 0.03 => bar,
            _ => self.style(Part::Text),
        }
    }
}

/// Lays `over` upon `under`, table by table.
fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above))
                if key == "palette" || key == "styles" || key == "heat" =>
            {
                merge(below, above);
            }
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Reads a theme's table and notes what it does not understand.
#[derive(Default)]
struct Reader {
    palette: BTreeMap<String, Ink>,
    warnings: Vec<String>,
}

impl Reader {
    fn read(mut self, name: &str, table: &Table) -> Theme {
        for key in
            table.keys().filter(|key| !["inherits", "palette", "styles", "heat"].contains(&key.as_str()))
        {
            self.warn(format!("`{key}` is not known"));
        }
        let section = |key: &str| table.get(key).and_then(Value::as_table).cloned().unwrap_or_default();
        for (key, value) in section("palette") {
            match palette_ink(&value) {
                Some(ink) => drop(self.palette.insert(key, ink)),
                None => self.warn(format!("palette.{key} is no colour: {value}")),
            }
        }
        let mut looks = [Look::default(); PARTS.len()];
        for (key, value) in section("styles") {
            match PARTS.iter().find(|part| part.1 == key) {
                Some(part) => looks[part.0 as usize] = self.look(&key, &value),
                None => self.warn(format!("styles.{key} is not known")),
            }
        }
        let heat = section("heat");
        for key in heat.keys().filter(|key| !["ramp", "reverse"].contains(&key.as_str())) {
            self.warn(format!("heat.{key} is not known"));
        }
        let wanted = heat.get("ramp").and_then(Value::as_str).unwrap_or("viridis");
        let mut ramp = Ramp::named(wanted).unwrap_or_else(|| {
            self.warn(format!("heat.ramp `{wanted}` is not known"));
            Ramp(vec![Rgb(0x12, 0x12, 0x12), Rgb(0xf5, 0xf5, 0xf5)])
        });
        if heat.get("reverse").and_then(Value::as_bool) == Some(true) {
            ramp.0.reverse();
        }
        let theme = Theme {
            name: name.to_owned(),
            warnings: self.warnings,
            looks,
            ramp,
            depth: Depth::Truecolor,
            heat: Vec::new(),
        };
        theme.at(Depth::Truecolor, LEVELS)
    }

    fn warn(&mut self, problem: String) {
        self.warnings.push(problem);
    }

    /// `"accent"`, `"#7aa2f7"`, or `{ fg, bg, bold, underline, reverse, dim }`.
    fn look(&mut self, part: &str, value: &Value) -> Look {
        let mut look = Look::default();
        let Value::Table(fields) = value else {
            look.fg = self.ink(part, value);
            return look;
        };
        for (key, value) in fields {
            let modifier = match key.as_str() {
                "fg" => {
                    look.fg = self.ink(part, value);
                    continue;
                }
                "bg" => {
                    look.bg = self.ink(part, value);
                    continue;
                }
                "bold" => Modifier::BOLD,
                "underline" => Modifier::UNDERLINED,
                "reverse" => Modifier::REVERSED,
                "dim" => Modifier::DIM,
                _ => {
                    self.warn(format!("styles.{part}.{key} is not known"));
                    continue;
                }
            };
            look.modifier.set(modifier, value.as_bool() == Some(true));
        }
        look
    }

    fn ink(&mut self, part: &str, value: &Value) -> Option<Ink> {
        let named = value.as_str().and_then(|name| self.palette.get(name).copied());
        let ink = named.or_else(|| palette_ink(value));
        if ink.is_none() {
            self.warn(format!("styles.{part} names no colour: {value}"));
        }
        ink
    }
}

/// `"#7aa2f7"`, or `{ rgb = "#7aa2f7", ansi = "blue" }`.
fn palette_ink(value: &Value) -> Option<Ink> {
    let rgb = value.as_str().or_else(|| value.get("rgb")?.as_str());
    let ansi = value.get("ansi").and_then(Value::as_str);
    let ansi = match ansi {
        Some(name) => Some(name.parse().ok()?),
        None => None,
    };
    Some(Ink { rgb: Rgb::parse(rgb?)?, ansi })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_theme_loads_without_warnings_and_is_readable() {
        for name in THEMES {
            let theme = Theme::load(name).unwrap();
            assert_eq!(theme.warnings, Vec::<String>::new(), "{name}");
            let light = name.ends_with("light");
            let ground = if light { Rgb(255, 255, 255) } else { Rgb(0x1d, 0x1f, 0x21) };
            for &(part, part_name) in PARTS {
                let look = theme.looks[part as usize];
                let fg = look.fg.map_or(ground.ink(), |ink| ink.rgb);
                let bg = look.bg.map_or(ground, |ink| ink.rgb);
                let least = if matches!(part, Part::Border) { 1.5 } else { 4.5 };
                assert!(fg.contrast(bg) >= least, "{name}: {part_name} has contrast {}", fg.contrast(bg));
            }
        }
    }

    #[test]
    fn without_colours_nothing_has_one() {
        for name in THEMES {
            let theme = Theme::load(name).unwrap().at(Depth::Mono, LEVELS);
            let shades = [0.0, 0.2, 0.5, 1.0].map(|value| theme.shade(value).1);
            let overs = [0.0, 0.05, 0.2, 0.3, 1.0].map(|value| theme.over(value));
            let parts = PARTS.iter().map(|part| theme.style(part.0));
            for style in shades.into_iter().chain(overs).chain(parts) {
                assert_eq!((style.fg, style.bg), (None, None), "{name}");
            }
        }
    }

    #[test]
    fn changes_are_told_apart_by_size_and_direction() {
        for depth in [Depth::Truecolor, Depth::Indexed, Depth::Ansi] {
            let theme = Theme::default().at(depth, LEVELS);
            let mut seen = [-1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0].map(|value| theme.change(value)).to_vec();
            assert_eq!(seen[3], theme.style(Part::Text));
            seen.dedup();
            assert_eq!(seen.len(), 7, "{depth:?}");
            assert_eq!(theme.change(f32::NAN), theme.style(Part::Text));
        }
    }

    #[test]
    fn values_rise_through_every_level() {
        for depth in [Depth::Truecolor, Depth::Indexed] {
            let theme = Theme::default().at(depth, LEVELS);
            let mut seen: Vec<Color> =
                (0..=1000).filter_map(|value| theme.heat(value as f32 / 1000.0)).collect();
            seen.dedup();
            assert_eq!(seen.len(), theme.heat.len());
        }
        let mono = Theme::default().at(Depth::Mono, LEVELS);
        let mut glyphs: Vec<&str> = (0..=1000).map(|value| mono.shade(value as f32 / 1000.0).0).collect();
        glyphs.dedup();
        assert_eq!(glyphs, SHADES);
        assert_eq!(mono.shade(f32::NAN).0, " ");
    }

    #[test]
    fn inheritance_overrides_and_cycles_are_refused() {
        let files = [
            (
                "base",
                "[palette]\nred = { rgb = \"#ff0000\", ansi = \"red\" }\n[styles]\ntitle = \"red\"\ntext = \"#eeeeee\"",
            ),
            (
                "child",
                "inherits = \"base\"\n[styles]\ntitle = { fg = \"#00ff00\", bold = true, wavy = true }\nnose = \"red\"",
            ),
            ("one", "inherits = \"two\""),
            ("two", "inherits = \"one\""),
        ];
        let child = Theme::resolve("child", &files).unwrap();
        assert_eq!(child.style(Part::Title).fg, Some(Color::Rgb(0, 255, 0)));
        assert_eq!(child.style(Part::Text).fg, Some(Color::Rgb(0xee, 0xee, 0xee)));
        assert_eq!(child.warnings, ["styles.nose is not known", "styles.title.wavy is not known"]);
        let base = Theme::resolve("base", &files).unwrap().at(Depth::Ansi, LEVELS);
        assert_eq!(base.style(Part::Title).fg, Some(Color::Red));
        assert!(Theme::resolve("one", &files).unwrap_err().to_string().contains("inherits from itself"));
        assert!(Theme::load("nothing").is_err());
    }
}
