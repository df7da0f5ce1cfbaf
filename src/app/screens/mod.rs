//! The rooms of the screens, all of them at once: each line here goes through the list in `app/screen.rs`.

use super::{
    App, Effect, Options,
    room::{Room, Work},
    screen::{Screen, screens},
    table::{Command, Context, Entry},
};
use crate::engine::protocol::{Event, ModelInfo};

macro_rules! rooms {
    ($($module:ident $Room:ident $key:literal $name:literal $help:literal;)*) => {
        $(pub(crate) mod $module;)*

        /// The rooms, with what each remembers.
        #[derive(Debug)]
        pub(crate) struct Rooms { $(pub $module: $module::$Room,)* }

        /// What the keys of a screen can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Action { $($Room(<$module::$Room as Room>::Action),)* }

        impl Action {
            /// The screen that it belongs to.
            pub fn screen(self) -> Screen {
                match self { $(Self::$Room(_) => Screen::$Room,)* }
            }
        }

        /// The tables, one after the other.
        pub(crate) fn entries() -> Vec<Entry<Action>> {
            let mut entries = Vec::new();
            $(entries.extend($module::$Room::ENTRIES.iter().map(|entry| entry.of(Action::$Room)));)*
            entries
        }

        /// What the footer offers.
        pub(crate) fn hints() -> Vec<(Context, Vec<Action>, &'static str)> {
            let mut hints = Vec::new();
            $(for &(context, actions, word) in $module::$Room::HINTS {
                hints.push((context, actions.iter().copied().map(Action::$Room).collect(), word));
            })*
            hints
        }

        /// The commands.
        pub(crate) fn commands() -> impl Iterator<Item = &'static Command> {
            let commands: &[&[Command]] = &[$($module::$Room::COMMANDS,)*];
            commands.iter().copied().flatten()
        }

        /// Contexts that can be active together, by screen.
        pub(crate) fn contexts() -> impl Iterator<Item = &'static [Context]> {
            let contexts: &[&[&[Context]]] = &[$($module::$Room::CONTEXTS,)*];
            contexts.iter().copied().flatten().copied()
        }

        impl Rooms {
            /// The rooms before anything has happened.
            pub fn new(options: &Options) -> Self {
                Self { $($module: Room::new(options),)* }
            }

            /// The contexts that are active on a screen, innermost first.
            pub fn contexts(&self, screen: Screen) -> &'static [Context] {
                match screen { $(Screen::$Room => self.$module.contexts(),)* }
            }

            /// Leaves what lies over the rest of a screen; `false` where nothing does.
            pub fn leave(&mut self, screen: Screen) -> bool {
                match screen { $(Screen::$Room => self.$module.leave(),)* }
            }

            /// Whether the engine is at something whose progress is shown.
            pub fn are_busy(&self) -> bool {
                [$(self.$module.is_busy(),)*].contains(&true)
            }

            /// Another model could not be opened.
            pub fn kept(&mut self) {
                $(self.$module.kept();)*
            }

            /// A request has failed.
            pub fn failed(&mut self) {
                $(self.$module.failed();)*
            }
        }

        /// Does what a key asks for.
        pub(crate) fn perform(app: &mut App, action: Action) -> Vec<Effect> {
            match action { $(Action::$Room(action) => $module::$Room::perform(app, action),)* }
        }

        /// Whether an action is worth a hint.
        pub(crate) fn offer(app: &App, action: Action) -> bool {
            match action { $(Action::$Room(action) => $module::$Room::offers(app, action),)* }
        }

        /// Gives a screen the text that it asked for.
        pub(crate) fn accept(app: &mut App, screen: Screen, text: &str) -> Result<Vec<Effect>, String> {
            match screen { $(Screen::$Room => $module::$Room::accept(app, text),)* }
        }

        /// Tells an event to the room that it is for; gives it back where it is of no use.
        pub(crate) fn hear(app: &mut App, event: Event) -> Option<Event> {
            $(let event = $module::$Room::hear(app, event)?;)*
            Some(event)
        }

        /// What the rooms want from the engine after any message.
        pub(crate) fn wishes(app: &mut App) -> Vec<Effect> {
            let mut wishes = Vec::new();
            $(wishes.extend($module::$Room::wishes(app));)*
            wishes
        }

        /// Stops the first work of a kind that the engine is at.
        pub(crate) fn stop(app: &mut App, work: Work) -> Option<Vec<Effect>> {
            let stop: &[fn(&mut App, Work) -> Option<Vec<Effect>>] = &[$($module::$Room::stop,)*];
            stop.iter().find_map(|stop| stop(app, work))
        }

        /// Forgets what is about the model before.
        pub(crate) fn reopened(app: &mut App, info: &ModelInfo) {
            $($module::$Room::reopened(app, info);)*
        }

        /// A model is open: what is due at once.
        pub(crate) fn opened(app: &mut App) -> Vec<Effect> {
            let mut effects = Vec::new();
            $(effects.extend($module::$Room::opened(app));)*
            effects
        }
    };
}
screens!(rooms);
