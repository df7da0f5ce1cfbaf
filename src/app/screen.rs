//! The screens. A new one is a line in the list here, a room of that name in `app/screens` and its views in
//! `ui/screens`. Since a macro declares the modules, `cargo fmt` has to be told of them, as `.ci/run` does.

use super::table::{Context, Entry, GLOBAL};

/// Hands the list to the macro `$with`: a screen's module, the room in it, its key, its name in the palette and its help.
macro_rules! screens {
    ($with:ident) => {
        $with! {
            explore Explore "1" "explore" "the screen of one prompt and one head";
            rank Rank "2" "ranking" "the table of all heads";
            circuits Circuits "3" "circuits" "the screen of what the weights alone say";
            training Training "5" "training" "the screen of the training run that the model is a snapshot of";
            health Health "6" "health" "the screen of what a check of the model finds";
        }
    };
}
pub(crate) use screens;

macro_rules! screen {
    ($($module:ident $Room:ident $key:literal $name:literal $help:literal;)*) => {
        /// A screen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Screen { $($Room,)* }

        impl Screen {
            /// A row for each, whose key leads to it from everywhere.
            pub const ENTRIES: &[Entry<Self>] = &[$(Entry {
                action: Self::$Room,
                name: $name,
                keys: &[(GLOBAL, $key)],
                title: stringify!($Room),
                help: $help,
            },)*];
        }
    };
}
screens!(screen);

impl Screen {
    /// Where the keys of the screen hold.
    pub const fn context(self) -> Context {
        Context(Self::ENTRIES[self as usize].title)
    }
}
