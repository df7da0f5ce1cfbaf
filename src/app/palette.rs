//! The command palette: what fits what has been typed, and running it.

use super::{
    App, Effect,
    action::{Action, entries},
    command::commands,
    global,
    table::{Command, Entry, GLOBAL},
};

/// A row of the palette.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Choice {
    Action(&'static Entry<Action>),
    Command(&'static Command),
}

impl Choice {
    pub fn name(self) -> &'static str {
        match self {
            Self::Action(entry) => entry.name,
            Self::Command(command) => command.name,
        }
    }

    pub fn help(self) -> &'static str {
        match self {
            Self::Action(entry) => entry.help,
            Self::Command(command) => command.help,
        }
    }

    /// Its keys, or its argument.
    pub fn detail(self) -> String {
        match self {
            Self::Action(entry) => entry.labels(entry.keys.first().map_or(GLOBAL, |keys| keys.0)),
            Self::Command(command) => command.argument.to_owned(),
        }
    }
}

impl App {
    /// The rows of the palette that fit what has been typed, the best fit first.
    pub(crate) fn choices(&self, typed: &str) -> Vec<Choice> {
        let word = typed.split_whitespace().next().unwrap_or("");
        let palette = Action::App(global::Action::Palette);
        // What several rooms do by one name is one row.
        let first =
            |index: usize| !entries()[..index].iter().any(|before| before.name == entries()[index].name);
        let actions = entries()
            .iter()
            .enumerate()
            .filter(|(index, entry)| entry.in_palette() && entry.action != palette && first(*index));
        let mut found: Vec<(usize, Choice)> = commands()
            .map(Choice::Command)
            .chain(actions.map(|(_, entry)| Choice::Action(entry)))
            .filter_map(|choice| Some((misfit(word, choice.name(), choice.help())?, choice)))
            .collect();
        // Of several that begin alike the shortest is meant.
        found
            .sort_by_key(|(misfit, choice)| (*misfit, if word.is_empty() { 0 } else { choice.name().len() }));
        found.into_iter().map(|(_, choice)| choice).collect()
    }

    /// Runs what was typed into the palette: a command, an action's name, or else the row that was chosen.
    pub(super) fn run_command(&mut self, typed: &str, selected: usize) -> Vec<Effect> {
        let typed = typed.trim_start();
        let (name, argument) = typed.split_once(char::is_whitespace).unwrap_or((typed, ""));
        let choices = self.choices(typed);
        let named = commands().find(|command| command.name == name).map(Choice::Command);
        let chosen = named.or_else(|| choices.get(selected).or(choices.first()).copied());
        let result = match chosen {
            Some(Choice::Action(entry)) => {
                let here = Action::named(entry.name, self.screen);
                return self.perform(here.unwrap_or(entry.action));
            }
            Some(Choice::Command(command)) => (command.run)(self, argument.trim()),
            None => Err(format!("`{typed}` is no command; ? lists them")),
        };
        result.unwrap_or_else(|problem| {
            self.complain(problem);
            Vec::new()
        })
    }
}

/// How badly `word` fits: 0 the name, 1 its beginning, 2 within it, 3 its letters in order from the first on, 4 its letters in
/// order, 5 within the help.
fn misfit(word: &str, name: &str, help: &str) -> Option<usize> {
    let word = word.to_lowercase();
    let in_order = || {
        let mut letters = name.chars();
        word.chars().all(|char| letters.any(|letter| letter == char))
    };
    let tests: [&dyn Fn() -> bool; 6] = [
        &|| name == word,
        &|| name.starts_with(&word),
        &|| name.contains(&word),
        &|| name.chars().next() == word.chars().next() && in_order(),
        &in_order,
        &|| help.to_lowercase().contains(&word),
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
}
