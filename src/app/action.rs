//! The action registry: everything a key can do, once. Keys, footer hints, help, palette and the README's key table all
//! come from here.

use std::{fmt::Write as _, sync::LazyLock};

use super::key::Key;

/// Where a key means something; the innermost context that is active is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// Everywhere but where text is typed.
    Global,
    /// The Explore screen.
    Explore,
    /// The Explore screen with the grid of heads in focus.
    Heads,
    /// The Explore screen with the next tokens in focus.
    Next,
    /// The Rank screen.
    Rank,
    /// The Circuits screen.
    Circuits,
    /// The Training screen.
    Training,
    /// The loading screen with a question on it.
    Question,
    /// The help.
    Help,
    /// The command palette.
    Palette,
    /// Wherever text is typed.
    Edit,
}

impl Context {
    /// Every context, in the order of the help.
    pub const ALL: [Self; 11] = [
        Self::Explore,
        Self::Heads,
        Self::Next,
        Self::Rank,
        Self::Circuits,
        Self::Training,
        Self::Question,
        Self::Global,
        Self::Help,
        Self::Palette,
        Self::Edit,
    ];

    /// The heading in the help and the README.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Global => "Everywhere",
            Self::Explore => "Explore",
            Self::Heads => "Explore, heads in focus",
            Self::Next => "Explore, next tokens in focus",
            Self::Rank => "Rank",
            Self::Circuits => "Circuits",
            Self::Training => "Training",
            Self::Question => "Question",
            Self::Help => "Help",
            Self::Palette => "Palette",
            Self::Edit => "Typing text",
        }
    }
}

/// One row of the registry.
#[derive(Debug)]
pub struct Entry {
    /// The action.
    pub action: Action,
    /// Its name in the palette.
    pub name: &'static str,
    /// Its keys, by context; several are separated by spaces, the first is the one that hints show.
    pub keys: &'static [(Context, &'static str)],
    /// A few words for hints and the palette.
    pub title: &'static str,
    /// A line for the help.
    pub help: &'static str,
}

macro_rules! actions {
    ($($action:ident $name:literal [$($context:ident $keys:literal),*] $title:literal, $help:literal;)*) => {
        /// Something a key can do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $(#[doc = $help] $action,)* }

        /// Every action; within a context the order is that of the help.
        pub const ENTRIES: &[Entry] = &[$(Entry {
            action: Action::$action,
            name: $name,
            keys: &[$((Context::$context, $keys)),*],
            title: $title,
            help: $help,
        },)*];
    };
}

actions! {
    PreviousToken "previous-token" [Explore "<Left> h"] "previous token", "query one token back";
    NextToken "next-token" [Explore "<Right> l"] "next token", "query one token on";
    FirstToken "first-token" [Explore "<Home> 0"] "first token", "query the first token";
    LastToken "last-token" [Explore "<End> $"] "last token", "query the last token";
    BackTokens "back-tokens" [Explore "<PageUp> <C-u>"] "16 tokens back", "query 16 tokens back";
    ForwardTokens "forward-tokens" [Explore "<PageDown> <C-d>"] "16 tokens on", "query 16 tokens on";
    PreviousHead "previous-head" [Explore "<Up> k [h", Heads "<Left> h", Circuits "<Left> h [h"] "previous head", "the head before, in layer order";
    NextHead "next-head" [Explore "<Down> j ]h", Heads "<Right> l", Circuits "<Right> l ]h"] "next head", "the head after, in layer order";
    PreviousLayer "previous-layer" [Explore "[l", Heads "<Up> k", Circuits "[l"] "layer below", "the same head one layer lower";
    NextLayer "next-layer" [Explore "]l", Heads "<Down> j", Circuits "]l"] "layer above", "the same head one layer higher";
    NextInduction "next-induction" [Explore "]i"] "next induction head", "down the ranking by induction score";
    PreviousInduction "previous-induction" [Explore "[i"] "stronger induction head", "up the ranking by induction score";
    KeyLeft "key-left" [Explore "H <S-Left>"] "key left", "move the key cursor, whose value is shown, left";
    KeyRight "key-right" [Explore "L <S-Right>"] "key right", "move the key cursor right";
    StrongestKey "strongest-key" [Explore "m"] "strongest key", "put the key cursor on the strongest key again";
    ToggleText "toggle-text" [Explore "t"] "matrix or text", "show the head as a matrix or as shaded text";
    Direction "direction" [Explore "d"] "direction", "text: what the token attends to, or what attends to it";
    Pool "pool" [Explore "p"] "pooling", "matrix too large for the screen: cells show the maximum or the mean";
    Scale "scale" [Explore "v"] "value scale", "shade by attention or by its square root";
    NextScore "next-score" [Explore "s", Training "s"] "next score", "the next score: of the grid of heads, or of the curves";
    PreviousScore "previous-score" [Explore "S", Training "S"] "previous score", "the previous score";
    GridSource "grid-source" [Explore "g"] "grid source", "colour the grid by the benchmark ranking or by this token alone";
    Ablate "ablate" [Explore "x"] "ablate", "ablate the head: replace its output by its mean over the prompt; again restores it";
    RestoreAll "restore-all" [Explore "X"] "restore all", "restore every ablated head";
    Generate "generate" [Explore "n"] "generate", "append the most probable next token";
    AppendCandidate "append-candidate" [Explore "<Enter>", Next "<Enter> <Space>"] "append choice", "append the chosen next token";
    PreviousCandidate "previous-candidate" [Explore "(", Next "<Up> k"] "choice up", "choose a more probable next token";
    NextCandidate "next-candidate" [Explore ")", Next "<Down> j"] "choice down", "choose a less probable next token";
    StepBack "step-back" [Explore "u <Backspace>"] "take back", "take back the last generated token";
    EditPrompt "edit-prompt" [Explore "i e"] "edit prompt", "edit the prompt; Enter runs it, Esc leaves it as it was";
    ToggleBos "toggle-bos" [Explore "b"] "BOS", "run the prompt with or without a BOS token";
    FocusNext "focus-next" [Explore "<Tab>"] "next panel", "focus the next panel";
    FocusPrevious "focus-previous" [Explore "<S-Tab>"] "previous panel", "focus the previous panel";
    Zoom "zoom" [Explore "z"] "zoom", "give the panel in focus the whole screen";
    Copy "copy" [Explore "y", Rank "y", Circuits "y", Training "y"] "copy", "copy the value at the key cursor, the head's scores, the row, or what is known of the snapshot";
    CopyAll "copy-all" [Explore "Y", Rank "Y", Circuits "Y", Training "Y"] "copy all", "copy the head's row at this token, the whole ranking, the list, all curves, or the changes, as TSV";
    EarlierSnapshot "earlier-snapshot" [Explore "<lt> {", Training "<lt> {"] "earlier snapshot", "open the snapshot of the run before this one, with the same prompt and head";
    LaterSnapshot "later-snapshot" [Explore "> }", Training "> }"] "later snapshot", "open the snapshot of the run after this one";
    RankDown "rank-down" [Rank "<Down> j"] "down", "next head of the table";
    RankUp "rank-up" [Rank "<Up> k"] "up", "previous head of the table";
    OpenHead "open-head" [Rank "<Enter>"] "open head", "show this head in Explore";
    SortNext "sort-next" [Rank "o <Right> l"] "sort column", "sort by the column to the right";
    SortPrevious "sort-previous" [Rank "<Left> h"] "sort column left", "sort by the column to the left";
    SortReverse "sort-reverse" [Rank "O"] "reverse", "reverse the order";
    RankPageDown "rank-page-down" [Rank "<PageDown> <C-d>"] "page down", "a page down the table";
    RankPageUp "rank-page-up" [Rank "<PageUp> <C-u>"] "page up", "a page up the table";
    RankTop "rank-top" [Rank "gg <Home>"] "top", "first head of the table";
    RankBottom "rank-bottom" [Rank "G <End>"] "bottom", "last head of the table";
    NextView "next-view" [Circuits "<Tab> ]v"] "next view", "the next view of the circuits";
    PreviousView "previous-view" [Circuits "<S-Tab> [v"] "previous view", "the previous view of the circuits";
    CircuitsDown "circuits-down" [Circuits "<Down> j"] "down", "next row of the list; in a list of heads, that head";
    CircuitsUp "circuits-up" [Circuits "<Up> k"] "up", "previous row of the list; in a list of heads, that head";
    CircuitsPageDown "circuits-page-down" [Circuits "<PageDown> <C-d>"] "page down", "a page down the list";
    CircuitsPageUp "circuits-page-up" [Circuits "<PageUp> <C-u>"] "page up", "a page up the list";
    CircuitsTop "circuits-top" [Circuits "gg <Home>"] "top", "first row of the list";
    CircuitsBottom "circuits-bottom" [Circuits "G <End>"] "bottom", "last row of the list";
    CircuitsOpen "circuits-open" [Circuits "<Enter>"] "open", "show the head in Explore, of an edge the one that reads; of a bigram, look up the next token";
    TypeToken "type-token" [Circuits "i /"] "type a token", "look up a token that is typed; nothing typed is the query token";
    SwitchCircuits "switch" [Circuits "s"] "switch", "skip-trigrams: strongest, or by source, destination, output; composition: Q, K or V";
    GoOn "go-on" [Circuits "c"] "go on", "go on with what was stopped";
    SnapshotBack "snapshot-back" [Training "<Left> h"] "snapshot back", "cursor to the snapshot before";
    SnapshotOn "snapshot-on" [Training "<Right> l"] "snapshot on", "cursor to the snapshot after";
    FirstSnapshot "first-snapshot" [Training "<Home> 0"] "first snapshot", "cursor to the first snapshot";
    LastSnapshot "last-snapshot" [Training "<End> $"] "last snapshot", "cursor to the last snapshot";
    OpenSnapshot "open-snapshot" [Training "<Enter>"] "open snapshot", "open the snapshot under the cursor in Explore, with the same prompt and head";
    CurveUp "curve-up" [Training "<Up> k"] "head up", "select the head above in the list, or the token in that of changes";
    CurveDown "curve-down" [Training "<Down> j"] "head down", "select the head below in the list, or the token in that of changes";
    MarkBefore "mark-before" [Training "b"] "mark as before", "compare the open snapshot with the one under the cursor on the prompt; again: with the last before the change";
    BeforeAfter "before-after" [Training "<Tab> <S-Tab>"] "before and after", "losses over the steps, or the prompt coloured by its loss before and after the change";
    StepScale "step-scale" [Training "v"] "step scale", "spread the steps evenly, or by their logarithm";
    MeasureRun "measure-run" [Training "m"] "measure", "measure every snapshot, also those that the log tells of; or stop measuring";
    AnswerYes "answer-yes" [Question "y"] "yes", "answer yes to what is asked while a model is opened";
    AnswerNo "answer-no" [Question "n <Esc>"] "no", "answer no";
    Rank "rank" [Global "r"] "rank", "score every head on benchmark sequences, or stop doing so";
    ScreenExplore "explore" [Global "1"] "Explore", "the screen of one prompt and one head";
    ScreenRank "ranking" [Global "2"] "Rank", "the table of all heads";
    ScreenCircuits "circuits" [Global "3"] "Circuits", "the screen of what the weights alone say";
    ScreenTraining "training" [Global "5"] "Training", "the screen of the training run that the model is a snapshot of";
    TourNext "next-stop" [Global "."] "next stop", "the next stop of the tour, while one is on";
    TourPrevious "previous-stop" [Global ","] "previous stop", "the stop of the tour before";
    Palette "palette" [Global ": <C-p>"] "palette", "run any action or command by name";
    Help "help" [Global "? <F1>"] "help", "this help; / filters it";
    Back "back" [Global "<Esc>"] "back", "leave the top layer; never quits";
    Close "close" [Global "q"] "close", "close the top layer, or quit where there is none";
    Quit "quit" [Global "Q"] "quit", "quit at once";
    Interrupt "interrupt" [Global "<C-c>"] "cancel", "stop what is computed: circuits, the ranking, the measuring of snapshots; where nothing runs, pressed twice, quit; while a model is opened, quit at once";
    Suspend "suspend" [Global "<C-z>"] "suspend", "stop the program and return to the shell";
    Repaint "repaint" [Global "<C-l>"] "repaint", "draw the whole screen again";
    HelpDown "help-down" [Help "<Down> j"] "down", "scroll down";
    HelpUp "help-up" [Help "<Up> k"] "up", "scroll up";
    HelpPageDown "help-page-down" [Help "<PageDown> <C-d> <Space>"] "page down", "scroll a page down";
    HelpPageUp "help-page-up" [Help "<PageUp> <C-u>"] "page up", "scroll a page up";
    HelpTop "help-top" [Help "gg <Home>"] "top", "to the top";
    HelpBottom "help-bottom" [Help "G <End>"] "bottom", "to the bottom";
    HelpFilter "help-filter" [Help "/"] "filter", "show only the lines that contain what is typed";
    PaletteDown "palette-down" [Palette "<Down> <C-n>"] "down", "next entry";
    PaletteUp "palette-up" [Palette "<Up> <C-p>"] "up", "previous entry";
    Complete "complete" [Palette "<Tab>"] "complete", "complete the name of the chosen entry";
    Accept "accept" [Edit "<Enter>"] "run", "run what has been typed";
    Newline "newline" [Edit "<C-j>"] "newline", "a line break, in a prompt";
    CursorLeft "cursor-left" [Edit "<Left> <C-b>"] "left", "one character left";
    CursorRight "cursor-right" [Edit "<Right> <C-f>"] "right", "one character right";
    CursorHome "cursor-home" [Edit "<Home> <C-a>"] "start", "to the start";
    CursorEnd "cursor-end" [Edit "<End> <C-e>"] "end", "to the end";
    Backspace "backspace" [Edit "<Backspace> <C-h>"] "delete back", "delete the character before the cursor";
    Delete "delete" [Edit "<Delete> <C-d>"] "delete", "delete the character at the cursor";
    KillWord "kill-word" [Edit "<C-w>"] "delete word", "delete the word before the cursor";
    KillToStart "kill-to-start" [Edit "<C-u>"] "delete to start", "delete everything before the cursor";
    KillToEnd "kill-to-end" [Edit "<C-k>"] "delete to end", "delete everything after the cursor";
}

impl Action {
    /// Its row in the registry.
    pub fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }

    /// The action of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|entry| entry.name == name).map(|entry| entry.action)
    }
}

impl Entry {
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
        let inner = [Context::Question, Context::Help, Context::Palette, Context::Edit];
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
pub struct Binding {
    /// Where it holds.
    pub context: Context,
    /// The keys, one after the other.
    pub keys: Vec<Key>,
    /// What they do.
    pub action: Action,
}

/// All bindings of the registry.
pub static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
    let mut bindings = Vec::new();
    for entry in ENTRIES {
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
pub enum Resolved {
    /// This action.
    Action(Action),
    /// Some sequence begins like this.
    Prefix,
    /// Nothing.
    Nothing,
}

/// What `keys` mean where `contexts` are active, innermost first.
pub fn resolve(contexts: &[Context], keys: &[Key]) -> Resolved {
    for context in contexts {
        let exact = |binding: &&Binding| binding.context == *context && binding.keys == keys;
        if let Some(binding) = BINDINGS.iter().find(exact) {
            return Resolved::Action(binding.action);
        }
    }
    if followers(contexts, keys).next().is_some() { Resolved::Prefix } else { Resolved::Nothing }
}

/// The bindings that go on after `keys`.
pub fn followers(contexts: &[Context], keys: &[Key]) -> impl Iterator<Item = &'static Binding> {
    BINDINGS.iter().filter(move |binding| {
        contexts.contains(&binding.context)
            && binding.keys.len() > keys.len()
            && binding.keys.starts_with(keys)
    })
}

/// What the footer offers in a context, the most useful first: actions of a kind, and one word for them.
pub fn hints(context: Context) -> &'static [(&'static [Action], &'static str)] {
    use Action as A;
    match context {
        Context::Explore => &[
            (&[A::PreviousToken, A::NextToken], "step"),
            (&[A::PreviousHead, A::NextHead], "head"),
            (&[A::EarlierSnapshot, A::LaterSnapshot], "snapshot"),
            (&[A::NextInduction], "next induction"),
            (&[A::ToggleText], "text"),
            (&[A::Ablate], "ablate"),
            (&[A::Generate], "generate"),
            (&[A::EditPrompt], "edit prompt"),
            (&[A::NextScore], "score"),
            (&[A::GridSource], "this token"),
            (&[A::FocusNext], "focus"),
            (&[A::Zoom], "zoom"),
        ],
        Context::Heads => {
            &[(&[A::PreviousHead, A::NextHead, A::PreviousLayer, A::NextLayer], "move in the grid")]
        }
        Context::Next => {
            &[(&[A::PreviousCandidate, A::NextCandidate], "choose"), (&[A::AppendCandidate], "append")]
        }
        Context::Rank => &[
            (&[A::RankUp, A::RankDown], "move"),
            (&[A::OpenHead], "open"),
            (&[A::SortNext], "sort column"),
            (&[A::SortReverse], "reverse"),
            (&[A::CopyAll], "copy table"),
        ],
        Context::Circuits => &[
            (&[A::NextView], "view"),
            (&[A::CircuitsUp, A::CircuitsDown], "move"),
            (&[A::PreviousHead, A::NextHead], "head"),
            (&[A::CircuitsOpen], "open"),
            (&[A::TypeToken], "token"),
            (&[A::SwitchCircuits], "switch"),
            (&[A::CopyAll], "copy table"),
        ],
        Context::Training => &[
            (&[A::SnapshotBack, A::SnapshotOn], "snapshot"),
            (&[A::OpenSnapshot], "open"),
            (&[A::BeforeAfter], "before/after"),
            (&[A::CurveUp, A::CurveDown], "list"),
            (&[A::NextScore], "score"),
            (&[A::MarkBefore], "mark before"),
            (&[A::StepScale], "log steps"),
            (&[A::MeasureRun], "measure"),
            (&[A::CopyAll], "copy"),
        ],
        Context::Question => &[(&[A::AnswerYes], "yes"), (&[A::AnswerNo], "no")],
        Context::Global => &[(&[A::Rank], "rank"), (&[A::Palette], "commands"), (&[A::Close], "quit")],
        Context::Help => &[(&[A::HelpFilter], "filter"), (&[A::HelpUp, A::HelpDown], "scroll")],
        Context::Palette => &[(&[A::PaletteUp, A::PaletteDown], "choose"), (&[A::Complete], "complete")],
        Context::Edit => {
            &[(&[A::Accept], "run"), (&[A::KillWord], "delete word"), (&[A::KillToStart], "delete to start")]
        }
    }
}

/// The first key of an action in a context, as the help shows it.
pub fn first_key(action: Action, context: Context) -> String {
    action.entry().sequences(context).next().map_or(String::new(), label)
}

/// Every key and what it does, as the README shows it.
pub fn key_table_markdown() -> String {
    let mut table = String::from("| Keys | Where | What they do |\n|---|---|---|\n");
    for context in Context::ALL {
        for entry in ENTRIES {
            let keys: Vec<String> =
                entry.sequences(context).map(|sequence| format!("`{}`", label(sequence))).collect();
            if !keys.is_empty() {
                let _ = writeln!(table, "| {} | {} | {} |", keys.join(" "), context.title(), entry.help);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contexts that are active together, as `App::contexts` gives them.
    const TOGETHER: [&[Context]; 9] = [
        &[Context::Heads, Context::Explore, Context::Global],
        &[Context::Next, Context::Explore, Context::Global],
        &[Context::Rank, Context::Global],
        &[Context::Circuits, Context::Global],
        &[Context::Training, Context::Global],
        &[Context::Question, Context::Global],
        &[Context::Help, Context::Global],
        &[Context::Palette, Context::Edit],
        &[Context::Edit],
    ];

    /// Pairs that take each other's keys: the same keys in one context, or a sequence that another one cuts short.
    fn conflicts(bindings: &[Binding]) -> Vec<(Action, Action)> {
        let mut found = Vec::new();
        for (index, one) in bindings.iter().enumerate() {
            for other in &bindings[index + 1..] {
                let together = TOGETHER
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
        let clash = [
            bind(Context::Explore, "x", Action::Ablate),
            bind(Context::Explore, "x", Action::Zoom),
            bind(Context::Global, "xy", Action::Quit),
            bind(Context::Rank, "x", Action::Copy),
        ];
        assert_eq!(conflicts(&clash).len(), 4);
    }

    #[test]
    fn every_binding_reads_and_every_name_is_unique() {
        for binding in BINDINGS.iter() {
            assert!(!binding.keys.is_empty(), "{:?} has a sequence that cannot be read", binding.action);
        }
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert_eq!(entry.action.entry().name, entry.name);
            assert!(ENTRIES[index + 1..].iter().all(|other| other.name != entry.name), "{}", entry.name);
        }
    }

    #[test]
    fn prefixes_wait_and_the_innermost_context_wins() {
        let contexts = TOGETHER[0];
        let keys = |text| Key::sequence(text).unwrap();
        assert_eq!(resolve(contexts, &keys("]")), Resolved::Prefix);
        assert_eq!(resolve(contexts, &keys("]i")), Resolved::Action(Action::NextInduction));
        assert_eq!(resolve(contexts, &keys("]q")), Resolved::Nothing);
        assert_eq!(resolve(contexts, &keys("l")), Resolved::Action(Action::NextHead));
        assert_eq!(resolve(&contexts[1..], &keys("l")), Resolved::Action(Action::NextToken));
    }

    #[test]
    fn every_hint_has_a_key() {
        for context in Context::ALL {
            for action in hints(context).iter().flat_map(|hint| hint.0) {
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
