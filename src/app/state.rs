//! What the state consists of: the stage, the screen, and what is selected on the Explore screen.

use std::sync::Arc;

use super::loading::Loading;
use crate::{
    analysis::score::Score,
    engine::protocol::{ModelInfo, Pool},
    head::Head,
};

/// Whether there is a model yet.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// It is being opened.
    Loading(Loading),
    /// It is open.
    Open(Arc<ModelInfo>),
    /// It could not be opened, or the engine broke down.
    Fatal(String),
}

/// The screens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Screen {
    #[default]
    Explore,
    Rank,
    Circuits,
    Training,
}

/// The panels of the Explore screen, in the order of the Tab key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Focus {
    Heads,
    #[default]
    Pattern,
    Prompt,
    Next,
    Sentence,
}

/// Which way the shaded text reads the pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What the query token attends to.
    #[default]
    AttendsTo,
    /// Which later tokens attend to it.
    AttendedBy,
}

/// What colours the grid of heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// The benchmark ranking.
    #[default]
    Ranking,
    /// The query token's row alone.
    Token,
}

/// What is selected on the Explore screen, and how it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Explore {
    pub head: Head,
    /// Whether a head was chosen by hand; until then it is the first of the ranking.
    pub chosen: bool,
    pub query: usize,
    /// The key cursor, where it was moved off the strongest key.
    pub key: Option<usize>,
    pub text: bool,
    pub direction: Direction,
    pub pool: Pool,
    /// Shade by the square root of the attention.
    pub sqrt: bool,
    pub score: Score,
    pub source: Source,
    pub candidate: usize,
    pub focus: Focus,
    pub zoom: bool,
}

impl Default for Explore {
    fn default() -> Self {
        Self {
            head: Head::new(0, 0),
            chosen: false,
            query: 0,
            key: None,
            text: false,
            direction: Direction::default(),
            pool: Pool::default(),
            sqrt: false,
            score: Score::Induction,
            source: Source::default(),
            candidate: 0,
            focus: Focus::default(),
            zoom: false,
        }
    }
}

/// A line for the user, until the next key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub text: String,
    pub error: bool,
}
