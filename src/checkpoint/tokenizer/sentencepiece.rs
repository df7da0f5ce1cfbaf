//! SentencePiece: a text as a row of pieces that have scores, `▁` for a space in them.
//!
//! Written out here because ids have to be the original's to the last tie, and because the `tokenizers` crate has no place
//! for its user-defined pieces and unused pieces and trusts the tables of a damaged file.
//! Source: Kudo and Richardson, 2018 (arXiv:1808.06226); unigram: Kudo, 2018 (arXiv:1804.10959).

mod bpe;
mod charsmap;
mod dictionary;
mod file;
mod normalizer;
mod unigram;

use anyhow::{Result, anyhow};

pub(super) use charsmap::Charsmap;
use dictionary::Dictionary;
pub(super) use file::read;
pub(super) use normalizer::Normalizer;

use super::Encode;
use super::tokens::{Kind, Tokens};

/// How pieces are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The neighbours that make the piece with the best score become one, again and again.
    Bpe,
    /// The pieces whose scores have the largest sum.
    Unigram,
}

/// What a file says of a SentencePiece vocabulary.
pub(super) struct Description {
    /// The pieces.
    pub(super) tokens: Tokens,
    /// Log probabilities (unigram) or negative ranks (BPE), by id; ids past its end have none.
    pub(super) scores: Vec<f32>,
    /// How pieces are chosen.
    pub(super) algorithm: Algorithm,
    /// What is done to a text first.
    pub(super) normalizer: Normalizer,
    /// Whether a character without a piece is its bytes.
    pub(super) byte_fallback: bool,
}

/// An encoder for one vocabulary.
pub(super) struct SentencePiece {
    pieces: Pieces,
    algorithm: Algorithm,
    normalizer: Normalizer,
    /// Tokens that part a text before anything else; what lies between them is encoded on its own.
    markers: Dictionary,
    /// The id of each byte.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
}

/// What a text may be cut into.
struct Pieces {
    /// All of it: normal, user-defined and unused pieces.
    ids: Dictionary,
    /// Pieces that are found first and never become part of another.
    user_defined: Dictionary,
    scores: Vec<f32>,
    kinds: Vec<Kind>,
    /// The worst score of a normal piece.
    worst: f32,
}

impl Pieces {
    fn score(&self, id: u32) -> f32 {
        self.scores.get(id as usize).copied().unwrap_or_default()
    }

    fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Unused)
    }
}

impl SentencePiece {
    /// The encoder of a vocabulary; tokens of the kinds that `is_marker` names are found in a text by their names.
    pub(super) fn new(described: Description, is_marker: impl Fn(Kind) -> bool) -> Self {
        let Description { tokens, scores, algorithm, normalizer, byte_fallback } = described;
        let (mut markers, mut user_defined, mut ids) = <(Dictionary, Dictionary, Dictionary)>::default();
        let mut bytes = vec![None; 256];
        let mut unknown = None;
        let mut worst = f32::MAX;
        for (at, (text, &kind)) in tokens.texts.iter().zip(&tokens.kinds).enumerate() {
            let id = at as u32;
            if is_marker(kind) {
                markers.insert(tokens.written(at), id);
            }
            match kind {
                Kind::Normal => {
                    worst = worst.min(scores.get(at).copied().unwrap_or_default());
                    ids.insert(text.clone(), id);
                }
                Kind::Unused => ids.insert(text.clone(), id),
                Kind::UserDefined if !is_marker(kind) => {
                    user_defined.insert(text.clone(), id);
                    ids.insert(text.clone(), id);
                }
                Kind::Byte if byte_fallback => {
                    if let [byte] = tokens.spelling.bytes(text)[..] {
                        bytes[usize::from(byte)].get_or_insert(id);
                    }
                }
                Kind::Unknown => unknown = unknown.or(Some(id)),
                Kind::Byte | Kind::Control | Kind::UserDefined => {}
            }
        }
        let pieces = Pieces { ids, user_defined, scores, kinds: tokens.kinds, worst };
        Self { pieces, algorithm, normalizer, markers, bytes, unknown }
    }

    /// Appends the ids of a text that has no marker.
    fn encode_part(&self, text: &str, ids: &mut Vec<u32>) -> Result<()> {
        let text = self.normalizer.normalize(text, &self.pieces.user_defined);
        let cut = match self.algorithm {
            Algorithm::Bpe => bpe::segment(&self.pieces, &text),
            Algorithm::Unigram => unigram::segment(&self.pieces, &text),
        };
        let mut after_unknown = false;
        for (part, id) in cut {
            let bytes = || part.bytes().map(|byte| self.bytes[usize::from(byte)]).collect::<Option<Vec<_>>>();
            if let Some(known) = id.map(|id| vec![id]).or_else(bytes) {
                ids.extend(known);
                after_unknown = false;
            } else if !after_unknown {
                // Neighbours that nothing spells are one unknown token.
                let none = || {
                    anyhow!("the vocabulary has no piece for `{}` and no unknown token", part.escape_debug())
                };
                ids.push(self.unknown.ok_or_else(none)?);
                after_unknown = true;
            }
        }
        Ok(())
    }
}

impl Encode for SentencePiece {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut start = 0;
        for (at, _) in text.char_indices() {
            if at >= start
                && let Some((length, id)) = self.markers.longest_prefix(&text[at..])
            {
                self.encode_part(&text[start..at], &mut ids)?;
                ids.push(id);
                start = at + length;
            }
        }
        self.encode_part(&text[start..], &mut ids)?;
        Ok(ids)
    }
}
