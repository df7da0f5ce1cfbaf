//! The action registry: everything a key can do, the sum of the rooms' own tables. Keys, footer hints, help, palette and
//! the README's key table all come from here.

use std::{fmt::Write as _, sync::LazyLock};

use super::{
    App, global,
    key::Key,
    screen::Screen,
    screens,
    table::{Context, Entry},
};

/// Something a key can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Of a screen.
    Room(screens::Action),
    /// Go to a screen.
    Show(Screen),
    /// Of the app itself.
    App(global::Action),
}

impl Action {
    /// Its row.
    pub fn entry(self) -> Option<&'static Entry<Self>> {
        entries().iter().find(|entry| entry.action == self)
    }

    /// The action of that name, on the screen that is shown where it has one.
    pub fn named(name: &str, screen: Screen) -> Option<Self> {
        let mut named = entries().iter().filter(|entry| entry.name == name).map(|entry| entry.action);
        let here = |action: &Self| matches!(action, Self::Room(action) if action.screen() == screen);
        named.clone().find(here).or_else(|| named.next())
    }

    /// Whether it is worth a hint.
    pub fn is_offered(self, app: &App) -> bool {
        match self {
            Self::Room(action) => screens::offer(app, action),
            // Little can be done before the model is open.
            Self::App(global::Action::Palette) => app.info().is_some(),
            Self::Show(_) | Self::App(_) => true,
        }
    }
}

/// Every context, in the order of the help.
pub(crate) fn contexts() -> Vec<Context> {
    let screens = screens::contexts().filter_map(|active| active.first().copied());
    screens.chain(global::CONTEXTS).collect()
}

/// Every row; within a context the order is that of the help.
pub(crate) fn entries() -> &'static [Entry<Action>] {
    static ENTRIES: LazyLock<Vec<Entry<Action>>> = LazyLock::new(|| {
        let rooms = screens::entries();
        let rooms = rooms.iter().map(|entry| entry.of(Action::Room));
        let screens = Screen::ENTRIES.iter().map(|entry| entry.of(Action::Show));
        let others = global::ENTRIES.iter().map(|entry| entry.of(Action::App));
        let mut entries: Vec<_> = rooms.chain(screens).chain(others).collect();
        let contexts = contexts();
        entries.sort_by_key(|entry| contexts.iter().position(|&context| context == entry.keys[0].0));
        entries
    });
    &ENTRIES
}

impl<A> Entry<A> {
    /// Its key sequences in `context`, as vim writes them.
    pub fn sequences(&self, context: Context) -> impl Iterator<Item = &'static str> {
        let here = self.keys.iter().filter(move |keys| keys.0 == context);
        here.flat_map(|keys| keys.1.split(' '))
    }

    /// Its keys in `context` as the help shows them: `↓ j ]h`.
    pub fn labels(&self, context: Context) -> String {
        let labels: Vec<String> = self.sequences(context).map(label).collect();
        labels.join(" ")
    }

    /// Whether it may be run by name: everything but an answer, and moving about in a text field or in the help.
    pub fn in_palette(&self) -> bool {
        let inner = [global::QUESTION, global::HELP, global::PALETTE, global::EDIT];
        self.keys.iter().any(|keys| !inner.contains(&keys.0))
    }
}

/// A key sequence as the help shows it.
fn label(sequence: &str) -> String {
    let keys = Key::sequence(sequence).unwrap_or_default();
    keys.into_iter().map(Key::label).collect()
}

/// One key sequence in one context.
#[derive(Debug)]
pub(crate) struct Binding {
    /// Where it holds.
    pub context: Context,
    /// The keys, one after the other.
    pub keys: Vec<Key>,
    /// What they do.
    pub action: Action,
}

/// All bindings of the registry.
static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    let mut bindings = Vec::new();
    for entry in entries() {
        for &(context, sequences) in entry.keys {
            bindings.extend(sequences.split(' ').map(|sequence| Binding {
                context,
                keys: Key::sequence(sequence).unwrap_or_default(),
                action: entry.action,
            }));
        }
    }
    bindings
});

/// What the keys pressed so far mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// This action.
    Action(Action),
    /// Some sequence begins like this.
    Prefix,
    /// Nothing.
    Nothing,
}

/// What `keys` mean where `contexts` are active, innermost first.
pub(crate) fn resolve(contexts: &[Context], keys: &[Key]) -> Resolved {
    for context in contexts {
        let exact = |binding: &&Binding| binding.context == *context && binding.keys == keys;
        if let Some(binding) = BINDINGS.iter().find(exact) {
            return Resolved::Action(binding.action);
        }
    }
    if followers(contexts, keys).next().is_some() { Resolved::Prefix } else { Resolved::Nothing }
}

/// The bindings that go on after `keys`.
pub(crate) fn followers(contexts: &[Context], keys: &[Key]) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| {
        contexts.contains(&binding.context)
            && binding.keys.len() > keys.len()
            && binding.keys.starts_with(keys)
    })
}

/// What the footer offers in a context, the most useful first: actions of a kind, and one word for them.
pub(crate) fn hints(context: Context) -> impl Iterator<Item = (&'static [Action], &'static str)> {
    static HINTS: LazyLock<Vec<(Context, Vec<Action>, &str)>> = LazyLock::new(|| {
        let sum = |actions: &[_]| actions.iter().copied().map(Action::App).collect();
        let others = global::HINTS.iter().map(|&(context, actions, word)| (context, sum(actions), word));
        let sum = |actions: Vec<_>| actions.into_iter().map(Action::Room).collect();
        let rooms =
            screens::hints().into_iter().map(|(context, actions, word)| (context, sum(actions), word));
        rooms.chain(others).collect()
    });
    HINTS.iter().filter(move |hint| hint.0 == context).map(|hint| (&*hint.1, hint.2))
}

/// The first key of an action in a context, as the help shows it.
pub(crate) fn first_key(action: Action, context: Context) -> String {
    let first = action.entry().and_then(|entry| entry.sequences(context).next());
    first.map_or(String::new(), label)
}

/// Every key and what it does, as the README shows it.
pub fn key_table_markdown() -> String {
    let mut table = String::from("| Keys | Where | What they do |\n|---|---|---|\n");
    for context in contexts() {
        for entry in entries() {
            let keys: Vec<String> =
                entry.sequences(context).map(|sequence| format!("`{}`", label(sequence))).collect();
            if !keys.is_empty() {
                let _ = writeln!(table, "| {} | {} | {} |", keys.join(" "), context.0, entry.help);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{
        motion::Motion,
        screens::{explore, rank},
        table::GLOBAL,
    };

    /// Contexts that are active together, as `App::contexts` gives them.
    fn together() -> Vec<&'static [Context]> {
        use global::{EDIT, HELP, PALETTE, QUESTION};
        let others: [&[Context]; 4] = [&[QUESTION, GLOBAL], &[HELP, GLOBAL], &[PALETTE, EDIT], &[EDIT]];
        screens::contexts().chain(others).collect()
    }

    fn explore(action: explore::Action) -> Action {
        Action::Room(screens::Action::Explore(action))
    }

    /// Pairs that take each other's keys: the same keys in one context, or a sequence that another one cuts short.
    fn conflicts(bindings: &[Binding]) -> Vec<(Action, Action)> {
        let mut found = Vec::new();
        for (index, one) in bindings.iter().enumerate() {
            for other in &bindings[index + 1..] {
                let together = together()
                    .iter()
                    .any(|contexts| contexts.contains(&one.context) && contexts.contains(&other.context));
                let same = one.context == other.context && one.keys == other.keys;
                let cut = together
                    && one.keys.len() != other.keys.len()
                    && (one.keys.starts_with(&other.keys) || other.keys.starts_with(&one.keys));
                if same || cut {
                    found.push((one.action, other.action));
                }
            }
        }
        found
    }

    #[test]
    fn no_key_is_bound_twice() {
        assert_eq!(conflicts(&BINDINGS), []);
    }

    #[test]
    fn a_double_binding_would_be_found() {
        let bind =
            |context, keys: &str, action| Binding { context, keys: Key::sequence(keys).unwrap(), action };
        let rank = Action::Room(screens::Action::Rank(rank::Action::Copy));
        let clash = [
            bind(Screen::Explore.context(), "x", explore(explore::Action::Ablate)),
            bind(Screen::Explore.context(), "x", explore(explore::Action::Zoom)),
            bind(GLOBAL, "xy", Action::App(global::Action::Quit)),
            bind(Screen::Rank.context(), "x", rank),
        ];
        assert_eq!(conflicts(&clash).len(), 4);
    }

    #[test]
    fn every_binding_reads_and_every_name_means_one_thing() {
        for binding in BINDINGS.iter() {
            assert!(!binding.keys.is_empty(), "{:?} has a sequence that cannot be read", binding.action);
        }
        let screen = |action| match action {
            Action::Room(action) => Some(action.screen()),
            _ => None,
        };
        for (index, entry) in entries().iter().enumerate() {
            assert_eq!(entry.action.entry().map(|entry| entry.name), Some(entry.name));
            for other in entries()[index + 1..].iter().filter(|other| other.name == entry.name) {
                assert_eq!((other.title, other.help), (entry.title, entry.help), "{}", entry.name);
                let screens = [screen(entry.action), screen(other.action)];
                assert!(screens[0] != screens[1] && !screens.contains(&None), "{}", entry.name);
            }
        }
    }

    #[test]
    fn prefixes_wait_and_the_innermost_context_wins() {
        let contexts = together();
        let [plain, heads] = [contexts[0], contexts[1]];
        let keys = |text| Key::sequence(text).unwrap();
        let found = |action| Resolved::Action(explore(action));
        assert_eq!(resolve(heads, &keys("]")), Resolved::Prefix);
        assert_eq!(resolve(heads, &keys("]i")), found(explore::Action::Induction(1)));
        assert_eq!(resolve(heads, &keys("]q")), Resolved::Nothing);
        assert_eq!(resolve(heads, &keys("l")), found(explore::Action::Head(1)));
        assert_eq!(resolve(plain, &keys("l")), found(explore::Action::Move(Motion::Right)));
    }

    #[test]
    fn a_name_is_of_the_screen_that_is_shown() {
        let named = |screen| Action::named("copy", screen);
        assert_eq!(named(Screen::Explore), Some(explore(explore::Action::Copy)));
        assert_eq!(named(Screen::Rank), Some(Action::Room(screens::Action::Rank(rank::Action::Copy))));
        assert_eq!(Action::named("zoom", Screen::Rank), Some(explore(explore::Action::Zoom)));
        assert_eq!(Action::named("zzz", Screen::Rank), None);
    }

    #[test]
    fn every_hint_has_a_key() {
        for context in contexts() {
            for action in hints(context).flat_map(|hint| hint.0) {
                assert_ne!(first_key(*action, context), "", "{action:?} in {context:?}");
            }
        }
    }

    #[test]
    fn the_table_names_every_key() {
        let table = key_table_markdown();
        for binding in BINDINGS.iter() {
            let keys: String = binding.keys.iter().map(|key| key.label()).collect();
            assert!(table.contains(&format!("`{keys}`")), "{keys}");
        }
    }
}
