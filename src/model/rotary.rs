//! Rotary position embedding (Su et al. 2021) and the ways to stretch it beyond the context of training.

use std::borrow::Cow;

/// How queries and keys are rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Which numbers of a head are rotated together.
    pub pairing: Pairing,
    /// Whether keys are stored in the other pairing, as a conversion leaves them that reorders one side alone. They are
    /// brought into the order of queries after they are rotated.
    pub keys_otherwise: bool,
    /// Whether angles are negative, so that a pair `(a, b)` becomes `(a cos + b sin, b cos - a sin)`.
    pub backwards: bool,
    /// How many numbers of a head come before those that are rotated.
    pub start: usize,
    /// How many numbers of a head are rotated; the others stay.
    pub size: usize,
    /// By how much.
    pub frequencies: Frequencies,
    /// Factor on rotated queries and keys.
    pub factor: f32,
    /// Another in sequences of more than so many tokens, where there is one.
    pub factor_beyond: Option<(usize, f32)>,
}

/// Which numbers of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Number `i` with `i + size / 2`.
    Halves,
    /// Number `2i` with `2i + 1`.
    Neighbours,
}

impl Pairing {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Halves => Self::Neighbours,
            Self::Neighbours => Self::Halves,
        }
    }
}

/// Angle per position of each pair, `[size / 2]`, in radians.
#[derive(Clone, Debug, PartialEq)]
pub enum Frequencies {
    /// The same for every sequence.
    Fixed(Vec<f32>),
    /// LongRoPE: other angles for sequences of more than `limit` tokens.
    ByLength {
        /// Longest sequence with the `short` angles.
        limit: usize,
        /// Angles up to it.
        short: Vec<f32>,
        /// Angles beyond it.
        long: Vec<f32>,
    },
    /// Dynamic NTK: beyond `limit` tokens the base grows with every token.
    Dynamic {
        /// Longest sequence with the base as it is.
        limit: usize,
        /// The base.
        theta: f64,
        /// How fast it grows.
        factor: f64,
    },
}

impl Rotary {
    /// The rotation of the original paper: angles `theta^(-2i / size)`.
    pub fn plain(theta: f64, size: usize) -> Self {
        let frequencies = Frequencies::Fixed(plain(theta, size));
        Self {
            pairing: Pairing::Halves,
            keys_otherwise: false,
            backwards: false,
            start: 0,
            size,
            frequencies,
            factor: 1.0,
            factor_beyond: None,
        }
    }

    /// The angles for a sequence of `tokens` tokens.
    pub fn frequencies(&self, tokens: usize) -> Cow<'_, [f32]> {
        match &self.frequencies {
            Frequencies::Fixed(angles) => angles.into(),
            Frequencies::ByLength { limit, short, long } => if tokens > *limit { long } else { short }.into(),
            Frequencies::Dynamic { limit, theta, factor } => {
                let stretch = factor * tokens.max(*limit) as f64 / *limit as f64 - (factor - 1.0);
                let size = self.size as f64;
                plain(theta * stretch.powf(size / (size - 2.0)), self.size).into()
            }
        }
    }

    /// The factor in a sequence of `tokens` tokens.
    pub fn factor(&self, tokens: usize) -> f32 {
        self.factor_beyond.filter(|&(limit, _)| tokens > limit).map_or(self.factor, |(_, factor)| factor)
    }

    /// The longest sequence that it is meant for, in tokens, in a model of that context: dynamic NTK stretches the context
    /// by its factor.
    pub fn reach(&self, context: usize) -> usize {
        match self.frequencies {
            Frequencies::Dynamic { limit, factor, .. } => context.max((limit as f64 * factor) as usize),
            _ => context,
        }
    }

    /// Whether sequences of these lengths are rotated alike.
    pub fn rotates_alike(&self, tokens: usize, others: usize) -> bool {
        if self.factor(tokens) != self.factor(others) {
            return false;
        }
        match self.frequencies {
            Frequencies::Fixed(_) => true,
            Frequencies::ByLength { limit, .. } => (tokens > limit) == (others > limit),
            Frequencies::Dynamic { limit, .. } => tokens.max(limit) == others.max(limit),
        }
    }
}

/// The angles of the original paper: `theta^(-2i / size)`, `[size / 2]`.
pub fn plain(theta: f64, size: usize) -> Vec<f32> {
    (0..size / 2).map(|pair| theta.powf(-2.0 * pair as f64 / size as f64) as f32).collect()
}
