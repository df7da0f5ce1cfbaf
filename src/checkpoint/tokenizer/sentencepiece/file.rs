//! A SentencePiece `tokenizer.model`: one message of Protocol Buffers.
//!
//! A message is a row of fields, each a number with a value. Those read here, by the names of `sentencepiece_model.proto`:
//!
//! | message | fields |
//! | --- | --- |
//! | model | 1 pieces, 2 trainer_spec, 3 normalizer_spec |
//! | piece | 1 piece, 2 score, 3 type |
//! | trainer_spec | 3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback, 46 bos_piece |
//! | normalizer_spec | 2 precompiled_charsmap, 3 add_dummy_prefix, 4 remove_extra_whitespaces, 5 escape_whitespaces |

use anyhow::{Context, Result, bail};

use super::super::pieces::Spelling;
use super::super::tokens::{Kind, Tokens};
use super::{Algorithm, Charsmap, Description, Normalizer};

/// The vocabulary in the bytes of a file, and the token that begins sequences, if it has one.
///
/// # Errors
/// When the bytes are no such file, are cut short, or choose pieces in a way that is not known here.
pub(in super::super) fn read(bytes: &[u8]) -> Result<(Description, Option<u32>)> {
    let mut tokens = Tokens::none(Spelling::Sentence);
    let mut scores = Vec::new();
    let (mut trainer, mut normalizer) = (None, None);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Bytes(piece)) => {
                let (text, score, kind) =
                    read_piece(piece).with_context(|| format!("piece {}", scores.len()))?;
                tokens.put(scores.len() as u32, text, kind)?;
                scores.push(score);
            }
            (2, Value::Bytes(spec)) => trainer = Some(Trainer::read(spec).context("trainer_spec")?),
            (3, Value::Bytes(spec)) => normalizer = Some(read_normalizer(spec).context("normalizer_spec")?),
            _ => {}
        }
    }
    if scores.is_empty() {
        bail!("it has no pieces");
    }
    let (Some(trainer), Some(mut normalizer)) = (trainer, normalizer) else {
        bail!("it is cut short: trainer_spec or normalizer_spec is missing")
    };
    normalizer.space_is_last = trainer.space_is_last;
    let is_bos = |id: &usize| tokens.kinds[*id] == Kind::Control && tokens.texts[*id] == trainer.bos;
    let bos = (0..scores.len()).find(is_bos).map(|id| id as u32);
    let (algorithm, byte_fallback) = (trainer.algorithm, trainer.byte_fallback);
    Ok((Description { tokens, scores, algorithm, normalizer, byte_fallback }, bos))
}

fn read_piece(message: &[u8]) -> Result<(String, f32, Kind)> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, Kind::Normal);
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => {
                text = std::str::from_utf8(bytes).context("it is no text")?.to_owned()
            }
            (2, Value::Float(number)) => score = number,
            (3, Value::Integer(number)) => kind = Kind::from_number(number as u32),
            _ => {}
        }
    }
    Ok((text, score, kind))
}

/// What `trainer_spec` says of encoding.
struct Trainer {
    algorithm: Algorithm,
    space_is_last: bool,
    byte_fallback: bool,
    bos: String,
}

impl Trainer {
    fn read(message: &[u8]) -> Result<Self> {
        let mut trainer = Self {
            algorithm: Algorithm::Unigram,
            space_is_last: false,
            byte_fallback: false,
            bos: "<s>".to_owned(),
        };
        for field in Fields(message) {
            match field? {
                (3, Value::Integer(1)) => trainer.algorithm = Algorithm::Unigram,
                (3, Value::Integer(2)) => trainer.algorithm = Algorithm::Bpe,
                (3, Value::Integer(other)) => {
                    bail!("model_type is {other}; only 1 (unigram) and 2 (BPE) are read here")
                }
                (24, Value::Integer(flag)) => trainer.space_is_last = flag != 0,
                (35, Value::Integer(flag)) => trainer.byte_fallback = flag != 0,
                (46, Value::Bytes(name)) => trainer.bos = String::from_utf8_lossy(name).into_owned(),
                _ => {}
            }
        }
        Ok(trainer)
    }
}

fn read_normalizer(message: &[u8]) -> Result<Normalizer> {
    let mut normalizer =
        Normalizer { charsmap: None, adds_space: true, space_is_last: false, trims: true, escapes: true };
    for field in Fields(message) {
        match field? {
            (2, Value::Bytes([])) => {}
            (2, Value::Bytes(stored)) => normalizer.charsmap = Some(Charsmap::read(stored)?),
            (3, Value::Integer(flag)) => normalizer.adds_space = flag != 0,
            (4, Value::Integer(flag)) => normalizer.trims = flag != 0,
            (5, Value::Integer(flag)) => normalizer.escapes = flag != 0,
            _ => {}
        }
    }
    Ok(normalizer)
}

/// The value of a field, by how it is stored.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Integer(u64),
    /// Eight bytes; no field that is read here has them.
    Double,
    /// A text, a message, or bytes.
    Bytes(&'a [u8]),
    Float(f32),
}

/// The fields of the message in these bytes: their numbers and values.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.context("it is cut short or no such message"))
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.integer()?;
        let value = match key & 7 {
            0 => Value::Integer(self.integer()?),
            1 => self.take(8).map(|_| Value::Double)?,
            2 => {
                let length = self.integer()?.try_into().ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Float(f32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some((key >> 3, value))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Seven bits a byte, the lowest first; the high bit says that more follow.
    fn integer(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let &[byte] = self.take(1)? else { return None };
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_read() {
        let stored = [
            &[0x08, 0x96, 0x01][..],
            &[0x12, 2, b'h', b'i'],
            &[0x1d, 0, 0, 0x80, 0x3f],
            &[0x21, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0xb0, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ]
        .concat();
        let fields: Vec<_> = Fields(&stored).map(Result::unwrap).collect();
        let expected = [
            (1, Value::Integer(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Float(1.0)),
            (4, Value::Double),
            (38, Value::Integer(u64::MAX)),
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn what_is_no_message_ends_with_an_error() {
        for stored in [&[0x08][..], &[0x12, 3, b'h', b'i'], &[0x1d, 0, 0], &[0x0b], &[0xff; 11]] {
            let read: Vec<_> = Fields(stored).collect();
            assert!(read.len() == 1 && read[0].is_err(), "{stored:?}");
        }
    }
}
