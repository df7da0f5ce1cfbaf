//! Commands that are typed with an argument: `:head 5.3`, `:token 12`.

use std::iter;

use super::{App, Effect, THEMES, opening::OPEN, screens, table::Command, tour::TOUR};

const THEME: Command = Command {
    name: "theme",
    argument: "NAME",
    help: "default-dark, default-light, high-contrast or mono",
    run: theme,
};

/// Every command, in the order of the help.
pub(super) fn commands() -> impl Iterator<Item = &'static Command> {
    iter::once(&OPEN).chain(screens::commands()).chain([&TOUR, &THEME])
}

fn theme(_app: &mut App, name: &str) -> Result<Vec<Effect>, String> {
    let theme = THEMES.into_iter().find(|&theme| theme == name);
    let theme = theme.ok_or_else(|| format!("no theme `{name}`: {}", THEMES.join(", ")))?;
    Ok(vec![Effect::Theme(theme)])
}
