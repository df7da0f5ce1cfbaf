//! How vocabularies spell bytes, and which of their tokens are ordinary text.

/// The spelling of a vocabulary's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Every byte is a printable letter, as GPT-2 has it: `Ġthe` is ` the`.
    ByteLevel,
    /// `▁` is a space and `<0xE2>` a byte, as SentencePiece has it.
    Sentence,
    /// As it stands.
    Plain,
}

impl Spelling {
    /// The spelling that the decoder of `tokenizer` undoes.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let has = |part: &serde_json::Value, kinds: &[&str]| {
            let nested = part["decoders"].as_array().map_or(&[][..], Vec::as_slice);
            nested
                .iter()
                .chain([part])
                .any(|step| step["type"].as_str().is_some_and(|kind| kinds.contains(&kind)))
        };
        match serde_json::to_value(tokenizer.get_decoder()) {
            Ok(decoder) if has(&decoder, &["ByteLevel"]) => Self::ByteLevel,
            Ok(decoder) if has(&decoder, &["Metaspace", "ByteFallback", "Replace"]) => Self::Sentence,
            _ => Self::Plain,
        }
    }

    /// The bytes that `token` stands for.
    pub(super) fn bytes(self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                let mut bytes = Vec::with_capacity(token.len());
                for letter in token.chars() {
                    match byte_of(letter) {
                        Some(byte) => bytes.push(byte),
                        None => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
                    }
                }
                bytes
            }
            Self::Sentence => match byte_token(token) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            },
            Self::Plain => token.as_bytes().to_vec(),
        }
    }

    /// Whether a token that was not added, and stands for `bytes`, is ordinary text.
    pub(super) fn is_ordinary(self, token: &str, bytes: &[u8]) -> bool {
        let text = std::str::from_utf8(bytes);
        let readable = text.is_ok_and(|text| !text.is_empty() && !text.chars().all(char::is_control));
        readable && !is_reserved(token) && !(self == Self::Sentence && byte_token(token).is_some())
    }
}

/// The byte that a letter of a byte-level vocabulary stands for: printable bytes are themselves, the others are the letters
/// from U+0100 in their order.
fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The letter that stands for a byte in a byte-level vocabulary.
pub(super) fn letter_of(byte: u8) -> char {
    char::from_u32(match u32::from(byte) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ ..=0x20 => code + 0x100,
        code @ 0x7f..=0xa0 => code - 0x7f + 0x121,
        _ => 0x143,
    })
    .unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte of a token like `<0xE2>`.
fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_byte)
}

/// Whether the name says that the token holds a place: `<unused12>`, `<|reserved_special_token_3|>`, `[PAD151650]`.
fn is_reserved(token: &str) -> bool {
    let bracketed =
        token.starts_with('<') && token.ends_with('>') || token.starts_with('[') && token.ends_with(']');
    bracketed
        && ["unused", "reserved", "placeholder", "extra_", "PAD"].iter().any(|word| token.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_of_a_byte_level_vocabulary_are_the_bytes() {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let bytes: std::collections::BTreeSet<_> = alphabet.into_iter().filter_map(byte_of).collect();
        assert_eq!(bytes.len(), 256);
        assert!((0..=u8::MAX).all(|byte| byte_of(letter_of(byte)) == Some(byte)));
        assert_eq!(Spelling::ByteLevel.bytes("ĠthÃ©Ċ"), " thé\n".as_bytes());
        assert_eq!(Spelling::ByteLevel.bytes("ÃŁŃ¡"), [0xc3, 0x9f, 0xad, 0xa1]);
        assert_eq!(Spelling::ByteLevel.bytes("漢"), "漢".as_bytes());
    }

    #[test]
    fn sentence_pieces_are_spaces_and_bytes() {
        assert_eq!(Spelling::Sentence.bytes("▁▁the"), b"  the");
        assert_eq!(Spelling::Sentence.bytes("<0xE2>"), [0xe2]);
        assert_eq!(Spelling::Sentence.bytes("<0x+2>"), b"<0x+2>");
        assert_eq!(Spelling::Plain.bytes("<0xE2>▁"), "<0xE2>▁".as_bytes());
    }

    #[test]
    fn placeholders_bytes_and_halves_are_not_ordinary() {
        let ordinary = |spelling: Spelling, token: &str| spelling.is_ordinary(token, &spelling.bytes(token));
        for token in ["Ġthe", "Ċ", "ĠÃ©", "<unused", "[i]"] {
            assert_eq!(ordinary(Spelling::ByteLevel, token), token != "Ċ", "{token}");
        }
        for token in ["Ã", "<unused12>", "<|reserved_special_token_3|>", "[PAD151650]", ""] {
            assert!(!ordinary(Spelling::ByteLevel, token), "{token}");
        }
        assert!(!ordinary(Spelling::Sentence, "<0x41>"));
        assert!(ordinary(Spelling::Plain, "<0x41>"));
    }
}
