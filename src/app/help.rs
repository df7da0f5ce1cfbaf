//! The lines of the help: keys, commands and scores.

use super::{
    App, Stage,
    action::{contexts, entries},
    command::commands,
    global::QUESTION,
    screen::Screen,
};
use crate::analysis::score::Score;

/// A line of the help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HelpLine {
    Heading(&'static str),
    /// Keys or a name, and what they mean.
    Entry(String, String),
}

impl App {
    /// The lines of the help that contain the filter, those for the screen behind it first.
    pub(crate) fn help_lines(&self, filter: &str) -> Vec<HelpLine> {
        let wanted = filter.to_lowercase();
        let here = match self.stage {
            _ if self.is_asked() => QUESTION,
            Stage::Open(_) => self.screen.context(),
            _ => Screen::Explore.context(),
        };
        let mut contexts = contexts();
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
            let rows = entries().iter().map(|entry| (entry.labels(context), entry.help.to_owned()));
            group(context.0, &mut rows.filter(|(keys, _)| !keys.is_empty()));
        }
        let commands = commands()
            .map(|command| (format!(":{} {}", command.name, command.argument), command.help.into()));
        group("Commands", &mut { commands });
        let scores = Score::ALL.iter().map(|score| (score.name().to_owned(), score.definition().to_owned()));
        group("Scores", &mut { scores });
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Options;

    #[test]
    fn the_help_can_be_filtered_and_begins_here() {
        let mut app = App::new(Options::default());
        assert_eq!(app.help_lines("")[0], HelpLine::Heading("Explore"));
        let found = app.help_lines("pooling");
        assert!(found.is_empty() || found.len() < app.help_lines("").len());
        let found = app.help_lines("mean over the prompt");
        assert!(matches!(&found[1], HelpLine::Entry(keys, _) if keys == "x"), "{found:?}");
        app.screen = Screen::Rank;
        assert!(app.help_lines("zzzz").is_empty());
    }
}
