//! The keys of the Explore screen.

use crate::app::{
    motion::Motion,
    screen::Screen,
    table::{Context, Entry, GLOBAL, Hint, entries},
    words::{
        COPY, COPY_ALL, EARLIER_SNAPSHOT, LATER_SNAPSHOT, NEXT_HEAD, NEXT_LAYER, NEXT_SCORE, PREVIOUS_HEAD,
        PREVIOUS_LAYER, PREVIOUS_SCORE,
    },
};

/// What they can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Of the query token.
    Move(Motion),
    Head(isize),
    Layer(isize),
    Induction(isize),
    Key(isize),
    StrongestKey,
    ToggleText,
    Turn,
    Pool,
    Scale,
    Score(isize),
    GridSource,
    Ablate,
    RestoreAll,
    Generate,
    AppendCandidate,
    /// Of the chosen next token.
    Choose(Motion),
    StepBack,
    EditPrompt,
    ToggleBos,
    Focus(isize),
    Zoom,
    Copy,
    CopyAll,
    Snapshot(isize),
}

const EXPLORE: Context = Screen::Explore.context();
/// The grid of heads is in focus.
const HEADS: Context = Context("Explore, heads in focus");
/// The next tokens are in focus.
const NEXT: Context = Context("Explore, next tokens in focus");

/// By focus: elsewhere, on the heads, on the next tokens.
pub(super) const CONTEXTS: [&[Context]; 3] =
    [&[EXPLORE, GLOBAL], &[HEADS, EXPLORE, GLOBAL], &[NEXT, EXPLORE, GLOBAL]];

use Action as A;
use Motion as M;

pub(super) const ENTRIES: &[Entry<Action>] = entries! {
    A::Move(M::Left), ("previous-token", "previous token", "query one token back") [EXPLORE "<Left> h"];
    A::Move(M::Right), ("next-token", "next token", "query one token on") [EXPLORE "<Right> l"];
    A::Move(M::First), ("first-token", "first token", "query the first token") [EXPLORE "<Home> 0"];
    A::Move(M::Last), ("last-token", "last token", "query the last token") [EXPLORE "<End> $"];
    A::Move(M::PageUp), ("back-tokens", "16 tokens back", "query 16 tokens back") [EXPLORE "<PageUp> <C-u>"];
    A::Move(M::PageDown), ("forward-tokens", "16 tokens on", "query 16 tokens on") [EXPLORE "<PageDown> <C-d>"];
    A::Head(-1), PREVIOUS_HEAD [EXPLORE "<Up> k [h", HEADS "<Left> h"];
    A::Head(1), NEXT_HEAD [EXPLORE "<Down> j ]h", HEADS "<Right> l"];
    A::Layer(-1), PREVIOUS_LAYER [EXPLORE "[l", HEADS "<Up> k"];
    A::Layer(1), NEXT_LAYER [EXPLORE "]l", HEADS "<Down> j"];
    A::Induction(1), ("next-induction", "next induction head", "down the ranking by induction score") [EXPLORE "]i"];
    A::Induction(-1), ("previous-induction", "stronger induction head", "up the ranking by induction score") [EXPLORE "[i"];
    A::Key(-1), ("key-left", "key left", "move the key cursor, whose value is shown, left") [EXPLORE "H <S-Left>"];
    A::Key(1), ("key-right", "key right", "move the key cursor right") [EXPLORE "L <S-Right>"];
    A::StrongestKey, ("strongest-key", "strongest key", "put the key cursor on the strongest key again") [EXPLORE "m"];
    A::ToggleText, ("toggle-text", "matrix or text", "show the head as a matrix or as shaded text") [EXPLORE "t"];
    A::Turn, ("direction", "direction", "text: what the token attends to, or what attends to it") [EXPLORE "d"];
    A::Pool, ("pool", "pooling", "matrix too large for the screen: cells show the maximum or the mean") [EXPLORE "p"];
    A::Scale, ("scale", "value scale", "shade by attention or by its square root") [EXPLORE "v"];
    A::Score(1), NEXT_SCORE [EXPLORE "s"];
    A::Score(-1), PREVIOUS_SCORE [EXPLORE "S"];
    A::GridSource, ("grid-source", "grid source", "colour the grid by the benchmark ranking or by this token alone") [EXPLORE "g"];
    A::Ablate, ("ablate", "ablate", "ablate the head: replace its output by its mean over the prompt; again restores it") [EXPLORE "x"];
    A::RestoreAll, ("restore-all", "restore all", "restore every ablated head") [EXPLORE "X"];
    A::Generate, ("generate", "generate", "append the most probable next token") [EXPLORE "n"];
    A::AppendCandidate, ("append-candidate", "append choice", "append the chosen next token") [EXPLORE "<Enter>", NEXT "<Enter> <Space>"];
    A::Choose(M::Up), ("previous-candidate", "choice up", "choose a more probable next token") [EXPLORE "(", NEXT "<Up> k"];
    A::Choose(M::Down), ("next-candidate", "choice down", "choose a less probable next token") [EXPLORE ")", NEXT "<Down> j"];
    A::StepBack, ("step-back", "take back", "take back the last generated token") [EXPLORE "u <Backspace>"];
    A::EditPrompt, ("edit-prompt", "edit prompt", "edit the prompt; Enter runs it, Esc leaves it as it was") [EXPLORE "i e"];
    A::ToggleBos, ("toggle-bos", "BOS", "run the prompt with or without a BOS token") [EXPLORE "b"];
    A::Focus(1), ("focus-next", "next panel", "focus the next panel") [EXPLORE "<Tab>"];
    A::Focus(-1), ("focus-previous", "previous panel", "focus the previous panel") [EXPLORE "<S-Tab>"];
    A::Zoom, ("zoom", "zoom", "give the panel in focus the whole screen") [EXPLORE "z"];
    A::Copy, COPY [EXPLORE "y"];
    A::CopyAll, COPY_ALL [EXPLORE "Y"];
    A::Snapshot(-1), EARLIER_SNAPSHOT [EXPLORE "<lt> {"];
    A::Snapshot(1), LATER_SNAPSHOT [EXPLORE "> }"];
};

pub(super) const HINTS: &[Hint<Action>] = &[
    (EXPLORE, &[A::Move(M::Left), A::Move(M::Right)], "step"),
    (EXPLORE, &[A::Head(-1), A::Head(1)], "head"),
    (EXPLORE, &[A::Snapshot(-1), A::Snapshot(1)], "snapshot"),
    (EXPLORE, &[A::Induction(1)], "next induction"),
    (EXPLORE, &[A::ToggleText], "text"),
    (EXPLORE, &[A::Ablate], "ablate"),
    (EXPLORE, &[A::Generate], "generate"),
    (EXPLORE, &[A::EditPrompt], "edit prompt"),
    (EXPLORE, &[A::Score(1)], "score"),
    (EXPLORE, &[A::GridSource], "this token"),
    (EXPLORE, &[A::Focus(1)], "focus"),
    (EXPLORE, &[A::Zoom], "zoom"),
    (HEADS, &[A::Head(-1), A::Head(1), A::Layer(-1), A::Layer(1)], "move in the grid"),
    (NEXT, &[A::Choose(M::Up), A::Choose(M::Down)], "choose"),
    (NEXT, &[A::AppendCandidate], "append"),
];
