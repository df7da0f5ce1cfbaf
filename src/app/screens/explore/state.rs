//! How the Explore screen shows what is selected.

use crate::{
    analysis::score::Score,
    engine::protocol::{HeadView, Pool},
};

/// The panels, in the order of the Tab key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Focus {
    Heads,
    #[default]
    Pattern,
    Prompt,
    Next,
    Sentence,
}

const PANELS: [Focus; 5] = [Focus::Heads, Focus::Pattern, Focus::Prompt, Focus::Next, Focus::Sentence];

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

/// The state of the screen.
#[derive(Clone, Debug)]
pub(crate) struct Explore {
    pub text: bool,
    pub direction: Direction,
    pub pool: Pool,
    /// Shade by the square root of the attention.
    pub sqrt: bool,
    pub score: Score,
    pub source: Source,
    pub focus: Focus,
    pub zoom: bool,
}

impl Default for Explore {
    fn default() -> Self {
        Self {
            text: false,
            direction: Direction::default(),
            pool: Pool::default(),
            sqrt: false,
            score: Score::Induction,
            source: Source::default(),
            focus: Focus::default(),
            zoom: false,
        }
    }
}

impl Explore {
    /// The shade, 0 to 1, of an attention value.
    pub fn scaled(&self, value: f32) -> f32 {
        if self.sqrt { value.max(0.0).sqrt() } else { value }
    }

    /// Whether the shaded text shows what attends to the query token.
    pub fn is_attended_by(&self) -> bool {
        self.text && self.direction == Direction::AttendedBy
    }

    /// The attention values that are read, and the position of the first: the query's row, or its column.
    pub fn line<'a>(&self, view: &'a HeadView) -> (&'a [f32], usize) {
        if self.is_attended_by() { (&view.column, view.look.query) } else { (&view.row, 0) }
    }

    /// The scores that the grid can show: one row alone has no benchmark stripes.
    pub fn scores(&self) -> &'static [Score] {
        const TOKEN: &[Score] = &[
            Score::Induction,
            Score::Previous,
            Score::Duplicate,
            Score::Sink,
            Score::Itself,
            Score::Entropy,
        ];
        match self.source {
            Source::Ranking => &Score::ALL,
            Source::Token => TOKEN,
        }
    }

    pub(super) fn step_score(&mut self, by: isize) {
        let scores = self.scores();
        let at = scores.iter().position(|&score| score == self.score).unwrap_or(0);
        self.score = scores[(at as isize + by).rem_euclid(scores.len() as isize) as usize];
    }

    pub(super) fn switch_source(&mut self) {
        self.source = match self.source {
            Source::Ranking => Source::Token,
            Source::Token => Source::Ranking,
        };
        if !self.scores().contains(&self.score) {
            self.score = Score::Induction;
        }
    }

    /// Shows the text, read the other way.
    pub(super) fn turn(&mut self) {
        self.text = true;
        self.direction = match self.direction {
            Direction::AttendsTo => Direction::AttendedBy,
            Direction::AttendedBy => Direction::AttendsTo,
        };
    }

    pub(super) fn switch_pool(&mut self) {
        self.pool = match self.pool {
            Pool::Max => Pool::Mean,
            Pool::Mean => Pool::Max,
        };
    }

    pub(super) fn move_focus(&mut self, by: isize) {
        let at = PANELS.iter().position(|&panel| panel == self.focus).unwrap_or(0);
        self.focus = PANELS[(at as isize + by).rem_euclid(PANELS.len() as isize) as usize];
    }
}
