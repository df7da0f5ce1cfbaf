//! How many colours the terminal shows, and why we think so.

use clap::ValueEnum;
use crossterm::style::{Color, Stylize, force_color_output};

use crate::ui::theme::Depth;

/// Width of the colour strip, in cells.
const STRIP: u8 = 48;

/// What `--color` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Choice {
    /// As the environment says: NO_COLOR, COLORTERM, TERM.
    #[default]
    Auto,
    /// 24-bit colours.
    Truecolor,
    /// The 256 indexed colours.
    #[value(name = "256")]
    Indexed,
    /// The terminal's own 16 colours.
    #[value(name = "16")]
    Ansi,
    /// No colours at all: shades are drawn with characters.
    Never,
}

/// A colour depth and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What to draw with.
    pub depth: Depth,
    /// The setting that decided, such as `COLORTERM=truecolor`.
    pub reason: String,
}

/// Decides the colour depth. The option wins over NO_COLOR, which wins over what the terminal says of itself; COLORTERM
/// wins over TERM because TERM often names less than the terminal does. `env` reads non-empty variables.
pub fn decide(choice: Choice, env: impl Fn(&str) -> Option<String>) -> Decision {
    let because = |depth, reason: &str| Decision { depth, reason: reason.to_owned() };
    match choice {
        Choice::Truecolor => return because(Depth::Truecolor, "--color truecolor"),
        Choice::Indexed => return because(Depth::Indexed, "--color 256"),
        Choice::Ansi => return because(Depth::Ansi, "--color 16"),
        Choice::Never => return because(Depth::Mono, "--color never"),
        Choice::Auto => {}
    }
    if env("NO_COLOR").is_some() {
        return because(Depth::Mono, "NO_COLOR is set");
    }
    let term = env("TERM").unwrap_or_default();
    if term == "dumb" {
        return because(Depth::Mono, "TERM=dumb");
    }
    if let Some(value) = env("COLORTERM").filter(|value| value == "truecolor" || value == "24bit") {
        return because(Depth::Truecolor, &format!("COLORTERM={value}"));
    }
    let depth = if term.ends_with("-direct") {
        Depth::Truecolor
    } else if term.contains("256color") {
        Depth::Indexed
    } else {
        Depth::Ansi
    };
    let named = if term.is_empty() { "unset".to_owned() } else { format!("={term}") };
    because(depth, &format!("TERM{}{named}", if term.is_empty() { " is " } else { "" }))
}

/// Colours side by side: with truecolor a smooth run from blue to yellow, else the colours that there are.
pub fn strip(depth: Depth) -> String {
    // Whether there are colours is decided; NO_COLOR is not asked again.
    force_color_output(true);
    let cell = |step: u8| {
        let level = u8::try_from(usize::from(step) * 255 / usize::from(STRIP - 1)).unwrap_or(u8::MAX);
        let color = match depth {
            Depth::Truecolor => Color::Rgb { r: level, g: level / 4 * 3 + 32, b: 160 - level / 2 },
            Depth::Indexed => Color::AnsiValue(16 + step * 4),
            Depth::Ansi | Depth::Mono => Color::AnsiValue(step / 3),
        };
        " ".on(color).to_string()
    };
    (0..STRIP).map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(variables: &[(&str, &str)]) -> Depth {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        decide(Choice::Auto, find).depth
    }

    #[test]
    fn the_environment_decides_in_order() {
        assert_eq!(auto(&[]), Depth::Ansi);
        assert_eq!(auto(&[("TERM", "xterm")]), Depth::Ansi);
        assert_eq!(auto(&[("TERM", "tmux-256color")]), Depth::Indexed);
        assert_eq!(auto(&[("TERM", "xterm-direct")]), Depth::Truecolor);
        assert_eq!(auto(&[("TERM", "xterm"), ("COLORTERM", "24bit")]), Depth::Truecolor);
        assert_eq!(auto(&[("TERM", "xterm-256color"), ("COLORTERM", "yes")]), Depth::Indexed);
        assert_eq!(auto(&[("TERM", "dumb"), ("COLORTERM", "truecolor")]), Depth::Mono);
        assert_eq!(auto(&[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]), Depth::Mono);
    }

    #[test]
    fn the_option_wins_and_says_so() {
        let decision = decide(Choice::Truecolor, |name| (name == "NO_COLOR").then(|| "1".to_owned()));
        assert_eq!(decision.depth, Depth::Truecolor);
        assert_eq!(decision.reason, "--color truecolor");
        assert_eq!(decide(Choice::Auto, |_| None).reason, "TERM is unset");
    }
}
