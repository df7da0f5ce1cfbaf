//! What lies over a screen: the help, the palette, the prompt being edited.

use super::{
    App,
    action::{Action, Context, ENTRIES, Entry},
    command::COMMANDS,
    editor::Editor,
};
use crate::analysis::score::Score;

/// A layer over the screen; the last one has the keys.
#[derive(Clone, Debug)]
pub(crate) enum Overlay {
    Help(Help),
    Palette(Palette),
    Prompt(Editor),
    /// The token that the Circuits screen looks up.
    Token(Editor),
}

/// The help.
#[derive(Clone, Debug, Default)]
pub(crate) struct Help {
    pub filter: Editor,
    /// The filter is being typed.
    pub typing: bool,
    pub scroll: usize,
}

/// The command palette.
#[derive(Clone, Debug, Default)]
pub(crate) struct Palette {
    pub line: Editor,
    pub selected: usize,
}

/// A line of the help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HelpLine {
    Heading(&'static str),
    /// Keys or a name, and what they mean.
    Entry(String, String),
}

/// A row of the palette.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Action(&'static Entry),
    /// A command's name, its argument and what it does.
    Command(&'static str, &'static str, &'static str),
}

impl Choice {
    pub fn name(self) -> &'static str {
        match self {
            Self::Action(entry) => entry.name,
            Self::Command(name, ..) => name,
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Self::Action(entry) => entry.help,
            Self::Command(.., help) => help,
        }
    }

    /// Its keys, or its argument.
    pub fn detail(self) -> String {
        match self {
            Self::Action(entry) => {
                let context = entry.keys.first().map_or(Context::Global, |keys| keys.0);
                entry.labels(context)
            }
            Self::Command(_, argument, _) => argument.to_owned(),
        }
    }
}

impl App {
    /// The lines of the help that contain the filter, those for the screen behind it first.
    pub(crate) fn help_lines(&self, filter: &str) -> Vec<HelpLine> {
        let wanted = filter.to_lowercase();
        let here = match self.screen {
            _ if self.is_asked() => Context::Question,
            _ if self.info().is_none() => Context::Explore,
            super::Screen::Explore => Context::Explore,
            super::Screen::Rank => Context::Rank,
            super::Screen::Circuits => Context::Circuits,
            super::Screen::Training => Context::Training,
        };
        let mut contexts = Context::ALL.to_vec();
        contexts.sort_by_key(|&context| context != here);
        let mut lines = Vec::new();
        let mut group = |title, entries: &mut dyn Iterator<Item = (String, String)>| {
            let heading = lines.len();
            lines.extend(
                entries
                    .filter(|(name, text)| {
                        name.to_lowercase().contains(&wanted) || text.to_lowercase().contains(&wanted)
                    })
                    .map(|(name, text)| HelpLine::Entry(name, text)),
            );
            if lines.len() > heading {
                lines.insert(heading, HelpLine::Heading(title));
            }
        };
        for context in contexts {
            let rows = ENTRIES.iter().map(|entry| (entry.labels(context), entry.help.to_owned()));
            group(context.title(), &mut rows.filter(|(keys, _)| !keys.is_empty()));
        }
        let commands =
            COMMANDS.iter().map(|command| (format!(":{} {}", command.0, command.1), command.2.into()));
        group("Commands", &mut commands.into_iter());
        let scores = Score::ALL.iter().map(|score| (score.name().to_owned(), score.definition().to_owned()));
        group("Scores", &mut scores.into_iter());
        lines
    }

    /// The rows of the palette that fit what has been typed, the best fit first.
    pub(crate) fn choices(&self, typed: &str) -> Vec<Choice> {
        let word = typed.split_whitespace().next().unwrap_or("");
        let commands = COMMANDS.iter().map(|&(name, argument, help)| Choice::Command(name, argument, help));
        let actions = ENTRIES.iter().filter(|entry| entry.in_palette()).map(Choice::Action);
        let mut found: Vec<(usize, Choice)> = commands
            .chain(actions)
            .filter(|choice| !matches!(choice, Choice::Action(entry) if entry.action == Action::Palette))
            .filter_map(|choice| Some((misfit(word, choice.name(), choice.help())?, choice)))
            .collect();
        // Of several that begin alike the shortest is meant.
        found
            .sort_by_key(|(misfit, choice)| (*misfit, if word.is_empty() { 0 } else { choice.name().len() }));
        found.into_iter().map(|(_, choice)| choice).collect()
    }
}

/// How badly `word` fits: 0 the name, 1 its beginning, 2 within it, 3 its letters in order, 4 within the help.
fn misfit(word: &str, name: &str, help: &str) -> Option<usize> {
    let word = word.to_lowercase();
    let mut letters = name.chars();
    let tests: [&mut dyn FnMut() -> bool; 5] = [
        &mut || name == word,
        &mut || name.starts_with(&word),
        &mut || name.contains(&word),
        &mut || word.chars().all(|char| letters.any(|letter| letter == char)),
        &mut || help.to_lowercase().contains(&word),
    ];
    tests.into_iter().position(|test| test())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Options;

    #[test]
    fn the_palette_finds_the_best_fit_first() {
        let app = App::new(Options::default());
        let first = |typed| app.choices(typed).first().map(|choice| choice.name());
        assert_eq!(first("head 5.3"), Some("head"));
        assert_eq!(first("abl"), Some("ablate"));
        assert_eq!(first("nind"), Some("next-induction"));
        assert_eq!(first("TSV"), Some("copy-all"));
        assert_eq!(first("zzz"), None);
    }

    #[test]
    fn the_help_can_be_filtered_and_begins_here() {
        let mut app = App::new(Options::default());
        assert_eq!(app.help_lines("")[0], HelpLine::Heading("Explore"));
        let found = app.help_lines("pooling");
        assert!(found.is_empty() || found.len() < app.help_lines("").len());
        let found = app.help_lines("mean over the prompt");
        assert!(matches!(&found[1], HelpLine::Entry(keys, _) if keys == "x"), "{found:?}");
        app.screen = crate::app::Screen::Rank;
        assert!(app.help_lines("zzzz").is_empty());
    }
}
