//! The names of the head scores, with the text that the help and the reports show for each.

use serde::{Deserialize, Serialize};

/// A number that describes one attention head on benchmark sequences `[BOS] r r`.
///
/// `A[q, k]` is attention after softmax, `length` the number of tokens in `r`, `b` is 1 with a BOS token and 0 without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Score {
    /// Attention to the token after the earlier copy of the current one.
    Induction,
    /// Attention to the token just before.
    Previous,
    /// Attention to the earlier copy of the current token.
    Duplicate,
    /// Attention to position 0.
    Sink,
    /// Attention to the token itself.
    #[serde(rename = "self")]
    Itself,
    /// Spread of the attention, 0 (one key) to 1 (uniform).
    Entropy,
    /// Prefix matching as the 2022 paper measures it.
    Prefix,
    /// TransformerLens's demonstration stripe.
    Tl,
}

impl Score {
    /// Every score, in the order of the reports' columns.
    pub const ALL: [Self; 8] = [
        Self::Induction,
        Self::Previous,
        Self::Duplicate,
        Self::Sink,
        Self::Itself,
        Self::Entropy,
        Self::Prefix,
        Self::Tl,
    ];

    /// The name on the command line, in JSON and in column headings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Induction => "induction",
            Self::Previous => "previous",
            Self::Duplicate => "duplicate",
            Self::Sink => "sink",
            Self::Itself => "self",
            Self::Entropy => "entropy",
            Self::Prefix => "prefix",
            Self::Tl => "tl",
        }
    }

    /// The definition in a line, as the help shows it.
    pub const fn definition(self) -> &'static str {
        match self {
            Self::Induction => {
                "mean over the second copy of A[p, p-length+1]: the token after the earlier one"
            }
            Self::Previous => "mean over q >= 1 of A[q, q-1]",
            Self::Duplicate => "mean over the second copy of A[p, p-length]: the earlier one itself",
            Self::Sink => "mean over q >= 1 of A[q, 0]",
            Self::Itself => "mean over q of A[q, q]",
            Self::Entropy => "mean over q >= 1 of H(A[q,:]) / ln(visible keys): 0 one key, 1 uniform",
            Self::Prefix => "25 tokens x 4, attention summed over all earlier targets (Olsson et al. 2022)",
            Self::Tl => {
                "TransformerLens's stripe: r r without BOS, mean of A[q, q-length+1] from q = length-1"
            }
        }
    }

    /// The score of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|score| score.name() == name)
    }
}

/// The scores of one head, in the order of [`Score::ALL`], and the chance level of its induction score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadScores {
    values: [f32; Score::ALL.len()],
    /// The induction stripe on `[BOS] r s`, where nothing repeats.
    pub chance: f32,
}

impl Default for HeadScores {
    /// Nothing measured: every value is not a number.
    fn default() -> Self {
        Self { values: [f32::NAN; Score::ALL.len()], chance: f32::NAN }
    }
}

impl HeadScores {
    /// The value of `score`; not a number where it was not measured.
    pub fn get(&self, score: Score) -> f32 {
        self.values[score as usize]
    }

    /// The value of `score`, where it was measured.
    pub fn measured(&self, score: Score) -> Option<f32> {
        Some(self.get(score)).filter(|value| !value.is_nan())
    }

    /// Puts `value` in the place of `score`.
    pub fn set(&mut self, score: Score, value: f32) {
        self.values[score as usize] = value;
    }
}
