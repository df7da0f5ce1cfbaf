//! The ways in which byte-level vocabularies cut a text into words before any merge, by their name in GGUF files
//! (`tokenizer.ggml.pre`). Patterns are those of the models' own `tokenizer.json`.

use anyhow::{Result, anyhow};
use tokenizers::SplitDelimiterBehavior::{Contiguous, Isolated};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// How a family of vocabularies reads a text.
#[derive(Clone, Copy)]
pub(super) struct Splitting {
    names: &'static [&'static str],
    cut: Cut,
    /// Whether the text is composed (NFC) first.
    pub(super) composes: bool,
    /// Whether a word that is in the vocabulary is its token, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether a space is put before a text that does not begin with one. Only [`Cut::Words`] heeds it.
    pub(super) adds_space: bool,
    /// Whether BOS comes first where the file does not say.
    pub(super) adds_bos: bool,
}

#[derive(Clone, Copy)]
enum Cut {
    /// GPT-2's words.
    Words,
    /// Each digit alone, then GPT-2's words.
    Digits,
    /// Falcon's: runs of punctuation, words, runs of digits, three digits.
    Falcon,
    /// Each pattern in turn.
    Patterns(&'static [&'static str]),
}

/// The pattern shared by Llama 3 and its relatives, with the digits that make one word.
macro_rules! words {
    ($digits:literal) => {
        concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

/// The pattern that also cuts where a capital follows a small letter, with what may end a word and the digits.
macro_rules! cased_words {
    ($end:literal, $digits:literal) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $end,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $end,
            "|",
            $digits,
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )
    };
}

const CJK: &str = "[一-龥ࠀ-一가-\u{d7ff}]+";
const NOT_PUNCTUATION: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const PLAIN: Splitting = Splitting {
    names: &[],
    cut: Cut::Words,
    composes: false,
    whole_words: false,
    adds_space: false,
    adds_bos: false,
};

static KNOWN: &[Splitting] = &[
    Splitting {
        names: &[
            "default",
            "gpt-2",
            "gpt2",
            "phi-2",
            "jais",
            "gigachat",
            "mellum",
            "exaone4",
            "trillion",
            "granite-docling",
            "a.x-4.0",
        ],
        ..PLAIN
    },
    Splitting { names: &["mpt", "olmo"], composes: true, ..PLAIN },
    Splitting {
        names: &["smollm", "starcoder", "refact", "codeshell", "exaone", "minerva-7b"],
        cut: Cut::Digits,
        ..PLAIN
    },
    Splitting { names: &["command-r"], cut: Cut::Digits, composes: true, ..PLAIN },
    Splitting { names: &["falcon"], cut: Cut::Falcon, ..PLAIN },
    Splitting {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "lfm2", "pixtral", "midm-2.0"],
        cut: Cut::Patterns(&[words!(r"\p{N}{1,3}")]),
        whole_words: true,
        adds_bos: true,
        ..PLAIN
    },
    Splitting {
        names: &["smaug-bpe", "dbrx", "glm4", "chatglm-bpe"],
        cut: Cut::Patterns(&[words!(r"\p{N}{1,3}")]),
        ..PLAIN
    },
    Splitting {
        names: &["qwen2", "kormo"],
        cut: Cut::Patterns(&[words!(r"\p{N}")]),
        composes: true,
        ..PLAIN
    },
    Splitting {
        names: &["stablelm2", "deepseek-r1-qwen", "hunyuan", "megrez"],
        cut: Cut::Patterns(&[words!(r"\p{N}")]),
        ..PLAIN
    },
    Splitting {
        // Unlike its relatives, all the whitespace at the end of a text is one word.
        names: &["cl100k"],
        cut: Cut::Patterns(&[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
            r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n]+|\s+(?!\S)|\s+"
        )]),
        ..PLAIN
    },
    Splitting {
        names: &["qwen35"],
        cut: Cut::Patterns(&[concat!(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
            r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        )]),
        composes: true,
        ..PLAIN
    },
    Splitting {
        names: &["tekken"],
        cut: Cut::Patterns(&[cased_words!("", r"\p{N}")]),
        whole_words: true,
        adds_bos: true,
        ..PLAIN
    },
    Splitting {
        names: &["gpt-4o", "llama4", "kanana2"],
        cut: Cut::Patterns(&[cased_words!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", r"\p{N}{1,3}")]),
        ..PLAIN
    },
    Splitting {
        names: &["deepseek-llm"],
        cut: Cut::Patterns(&[
            r"[\r\n]",
            r"\s?[\p{Lu}\p{Ll}\p{Lt}]+",
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            CJK,
            r"\p{N}+",
        ]),
        ..PLAIN
    },
    Splitting {
        names: &["deepseek-coder"],
        cut: Cut::Patterns(&[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"]),
        ..PLAIN
    },
    Splitting {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        cut: Cut::Patterns(&[
            r"\p{N}{1,3}",
            "[一-龥\u{3040}-ゟ゠-ヿ]+",
            concat!(
                r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
                r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
            ),
        ]),
        ..PLAIN
    },
    Splitting {
        names: &["bloom", "poro-chat", "gpt3-finnish"],
        cut: Cut::Patterns(&[NOT_PUNCTUATION]),
        ..PLAIN
    },
    Splitting { names: &["viking"], cut: Cut::Patterns(&[NOT_PUNCTUATION, r"\p{N}"]), ..PLAIN },
];

impl Splitting {
    /// The splitting of that name.
    ///
    /// # Errors
    /// When the name is unknown; the message lists those that are known.
    pub(super) fn named(name: &str) -> Result<&'static Self> {
        KNOWN.iter().find(|known| known.names.contains(&name)).ok_or_else(|| {
            let names: Vec<_> = KNOWN.iter().flat_map(|known| known.names).copied().collect();
            anyhow!("tokenizer.ggml.pre is `{name}`, which is not known here; known are {}", names.join(", "))
        })
    }

    /// The cutting, and after it the letters that stand for bytes.
    ///
    /// # Errors
    /// When a pattern is broken, which the tests rule out.
    pub(super) fn pre_tokenizer(&self) -> Result<PreTokenizerWrapper> {
        let (words, letters) =
            (ByteLevel::new(self.adds_space, false, true), ByteLevel::new(false, false, false));
        let isolate = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.to_string());
            Split::new(pattern, Isolated, false).map(PreTokenizerWrapper::from).map_err(|e| anyhow!(e))
        };
        let steps = match self.cut {
            Cut::Words => return Ok(words.into()),
            Cut::Digits => vec![Digits::new(true).into(), words.into()],
            Cut::Falcon => vec![
                Punctuation::new(Contiguous).into(),
                words.into(),
                Digits::new(false).into(),
                isolate("[0-9][0-9][0-9]")?,
            ],
            Cut::Patterns(patterns) => {
                let mut steps =
                    patterns.iter().map(|&pattern| isolate(pattern)).collect::<Result<Vec<_>>>()?;
                steps.push(letters.into());
                steps
            }
        };
        Ok(Sequence::new(steps).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_every_name_is_unique() {
        let mut names: Vec<_> = KNOWN.iter().flat_map(|known| known.names).collect();
        for known in KNOWN {
            assert!(known.pre_tokenizer().is_ok(), "{:?}", known.names);
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
