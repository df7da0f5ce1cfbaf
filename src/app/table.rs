//! What the tables of the rooms consist of: rows of actions with their keys, hints, and commands.

use super::{App, Effect};

/// Where a key means something, by its heading in the help; of the contexts that are active the innermost is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Context(pub &'static str);

/// Everywhere but where text is typed.
pub(crate) const GLOBAL: Context = Context("Everywhere");

/// One row: an action of one room and the keys that ask for it.
#[derive(Clone, Debug)]
pub(crate) struct Entry<A> {
    /// The action.
    pub action: A,
    /// Its name in the palette.
    pub name: &'static str,
    /// Its keys, by context; several are separated by spaces, the first is the one that hints show.
    pub keys: &'static [(Context, &'static str)],
    /// A few words for hints and the palette.
    pub title: &'static str,
    /// A line for the help.
    pub help: &'static str,
}

impl<A: Copy> Entry<A> {
    /// The same row for the sum of all actions.
    pub fn of<B>(&self, sum: impl Fn(A) -> B) -> Entry<B> {
        let &Self { action, name, keys, title, help } = self;
        Entry { action: sum(action), name, keys, title, help }
    }
}

/// Rows of a table: the action, its name, title and help, and its keys in each context.
macro_rules! entries {
    ($($action:expr, $words:tt [$($context:ident $keys:literal),*];)*) => {
        &[$({
            let (name, title, help) = $words;
            crate::app::table::Entry { action: $action, name, keys: &[$(($context, $keys)),*], title, help }
        }),*]
    };
}
pub(crate) use entries;

/// What the footer offers in a context: actions of a kind, and one word for them.
pub(crate) type Hint<A> = (Context, &'static [A], &'static str);

/// A command that is typed with an argument.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name.
    pub name: &'static str,
    /// What goes after it.
    pub argument: &'static str,
    /// A line for the help.
    pub help: &'static str,
    /// Runs it with its argument; an error is a line for the user.
    pub run: fn(&mut App, &str) -> Result<Vec<Effect>, String>,
}
