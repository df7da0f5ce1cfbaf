//! The tokens of a vocabulary by id, however the file that they come from lists them.

use anyhow::{Result, bail};
use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

use super::Piece;
use super::pieces::Spelling;

/// The largest vocabulary that is believed; the largest in use have some 260,000 tokens.
pub(super) const LARGEST: u32 = 1 << 24;

/// What a token is for. SentencePiece and GGUF number the kinds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

impl Kind {
    pub(super) fn from_number(number: u32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }

    /// Whether the token's name, written in a text, is the token.
    pub(super) fn is_added(self) -> bool {
        matches!(self, Self::Unknown | Self::Control | Self::UserDefined)
    }
}

/// The tokens of a vocabulary. Ids that it skips are unused and have no text.
pub(super) struct Tokens {
    /// As the vocabulary spells them, by id.
    pub(super) texts: Vec<String>,
    /// By id.
    pub(super) kinds: Vec<Kind>,
    /// How they are spelled.
    pub(super) spelling: Spelling,
}

impl Tokens {
    /// A vocabulary without tokens.
    pub(super) fn none(spelling: Spelling) -> Self {
        Self { texts: Vec::new(), kinds: Vec::new(), spelling }
    }

    /// Puts a token at its id, in the place of what is there.
    ///
    /// # Errors
    /// When the id is larger than any vocabulary.
    pub(super) fn put(&mut self, id: u32, text: String, kind: Kind) -> Result<()> {
        if id >= LARGEST {
            bail!("token {text:?} has the id {id}, and no vocabulary is that large");
        }
        let at = id as usize;
        if self.texts.len() <= at {
            self.texts.resize(at + 1, String::new());
            self.kinds.resize(at + 1, Kind::Unused);
        }
        (self.texts[at], self.kinds[at]) = (text, kind);
        Ok(())
    }

    /// The token as the encoder meets it. Added tokens are found in a text before its spaces are rewritten.
    pub(super) fn written(&self, id: usize) -> String {
        if self.kinds[id].is_added() && self.spelling == Spelling::Sentence {
            self.texts[id].replace('▁', " ")
        } else {
            self.texts[id].clone()
        }
    }

    /// Ids by token, the first where a token comes twice.
    pub(super) fn vocabulary(&self) -> Vocab {
        let mut vocabulary = Vocab::with_capacity(self.texts.len());
        for (id, text) in (0..).zip(&self.texts) {
            if !text.is_empty() {
                vocabulary.entry(text.clone()).or_insert(id);
            }
        }
        vocabulary
    }

    /// The tokens that are found in a text by their names.
    pub(super) fn added(&self) -> Vec<AddedToken> {
        let all =
            self.texts.iter().zip(&self.kinds).filter(|(text, kind)| kind.is_added() && !text.is_empty());
        all.map(|(text, &kind)| AddedToken::from(text.as_str(), kind != Kind::UserDefined).normalized(false))
            .collect()
    }

    /// What each token stands for.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let piece = |(id, (text, &kind)): (usize, (&String, &Kind))| {
            let bytes =
                if kind.is_added() { self.written(id).into_bytes() } else { self.spelling.bytes(text) };
            let ordinary = kind == Kind::Normal && self.spelling.is_ordinary(text, &bytes);
            Piece { bytes: bytes.into(), ordinary }
        };
        self.texts.iter().zip(&self.kinds).enumerate().map(piece).collect()
    }
}
