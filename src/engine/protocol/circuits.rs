//! What the Circuits screen asks of the engine, one view at a time, and what it is answered.

use std::sync::Arc;

use super::{Candidate, PromptInput, Token};
pub use crate::analysis::circuits::{
    composition::{Composition, Edge, Kind},
    corner::Point,
    spectrum::{Eigenvalue, Spectrum},
    terms::Terms,
    trigram::Role,
};
use crate::head::{Head, PerHead};

/// What a view of the screen needs. Except for [`Ask::Terms`] the answer depends on the model alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The next tokens of a token along the direct path.
    Bigram {
        /// The token, the one that the input is.
        token: PromptInput,
    },
    /// Skip-trigrams of a head.
    Trigrams {
        /// The head.
        head: Head,
        /// A token and its role in them; without one, the strongest of all.
        token: Option<(PromptInput, Role)>,
    },
    /// Eigenvalues of the OV circuit of every head.
    Copying,
    /// The positional profile of every head.
    Positions,
    /// Composition of every pair of heads.
    Composition,
    /// The corner plot of the heads after the first layer.
    Corner,
    /// Term importance at a token of the prompt.
    Terms {
        /// The epoch that the prompt belongs to.
        epoch: u64,
        /// The token after which is predicted.
        query: usize,
    },
}

impl Ask {
    /// Whether the answer is about the whole model, not about one token or prompt.
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Copying | Self::Positions | Self::Composition | Self::Corner)
    }
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug)]
pub struct Circuit {
    /// Whether later layers take a token for its embedding with what the first MLP makes of it.
    pub effective: bool,
    /// What the model has and the numbers leave out, in words.
    pub left_out: Vec<&'static str>,
    /// The numbers.
    pub facts: Facts,
}

/// The numbers of a view.
#[derive(Clone, Debug)]
pub enum Facts {
    /// See `analysis::circuits::bigram`.
    Bigram {
        /// The token.
        token: Token,
        /// The most probable next tokens of the direct path, best first.
        next: Vec<Candidate>,
    },
    /// See `analysis::circuits::trigram`.
    Trigrams {
        /// The token that was asked about.
        token: Option<Token>,
        /// The skip-trigrams, strongest first.
        rows: Vec<Trigram>,
        /// The bugs that they force, the clearest first; `None` while they are looked for.
        bugs: Option<Vec<Bug>>,
    },
    /// See `analysis::circuits::spectrum`.
    Copying {
        /// The eigenvalues of each head.
        spectra: PerHead<Spectrum>,
        /// Heads by copying score, the most first.
        order: Vec<Head>,
    },
    /// See `analysis::circuits::position`.
    Positions {
        /// Attention of each head by distance.
        profiles: PerHead<Vec<f32>>,
        /// Heads, the distance that each attends to most and how much, the most first.
        peaks: Vec<(Head, usize, f32)>,
    },
    /// See `analysis::circuits::composition`.
    Composition {
        /// Every score.
        scores: Composition,
        /// The strongest edges of each kind.
        edges: [Vec<Edge>; 3],
    },
    /// See `analysis::circuits::corner`; the nearest to the corner first.
    Corner {
        /// The heads.
        points: Vec<Point>,
    },
    /// See `analysis::circuits::terms`.
    Terms {
        /// The query token.
        token: Token,
        /// The token whose prediction is taken apart: the next one of the prompt, or the model's best after the last.
        target: Token,
        /// The losses.
        terms: Terms,
    },
}

/// A skip-trigram `source ... destination -> out`.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigram {
    /// The token that is attended to.
    pub source: Token,
    /// The token that attends.
    pub destination: Token,
    /// The QK entry, above the destination's mean.
    pub attention: f32,
    /// The token that comes next.
    pub out: Token,
    /// The OV entry, above the source's mean.
    pub logit: f32,
}

/// A skip-trigram bug: with `source ... B -> C` and `source ... B' -> C'` a head raises the crossed pairs too.
#[derive(Clone, Debug, PartialEq)]
pub struct Bug {
    /// The token that is attended to.
    pub source: Token,
    /// `B` and `B'`.
    pub destinations: [Token; 2],
    /// `C` and `C'`.
    pub outs: [Token; 2],
    /// By how many nats of the direct path the fitting pairs beat the crossed ones.
    pub margin: f32,
}

/// How far the engine is with an [`Ask`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// What it is at.
    pub stage: &'static str,
    /// Steps taken of it.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// What a step is, in the plural.
    pub unit: &'static str,
}

/// What the engine tells the Circuits screen.
#[derive(Clone, Debug)]
pub enum News {
    /// It is at work.
    Working(Steps),
    /// An answer, or why there is none; of skip-trigrams there are two, the second with bugs.
    Answer(Result<Arc<Circuit>, String>),
    /// It was stopped.
    Stopped,
}
