//! Files of tiktoken: a token in base64 and its rank, which is its id, in each line.
//!
//! Such a file has neither special tokens nor the pattern that cuts texts; both are known here for some vocabularies.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use tokenizers::Tokenizer as Library;
use tokenizers::models::bpe::Merges;

use super::beside::Beside;
use super::byte_level;
use super::pieces::{Spelling, letter_of};
use super::splitting::Splitting;
use super::tokens::{Kind, Tokens};

/// A vocabulary whose ranks come in such files.
struct Known {
    /// The name of its file without `.tiktoken`.
    name: &'static str,
    /// Values of `model_type` and `tokenizer_class` that mean it.
    said: &'static [&'static str],
    /// Its number of ranks.
    ranks: usize,
    splitting: &'static str,
    /// Special tokens: how far their ids are above the number of ranks, and their names.
    specials: &'static [(u32, &'static str)],
    numbered: Numbered,
    /// The name of the token that opens a sequence.
    bos: Option<&'static str>,
}

/// Special tokens that differ in a number: `<|extra_0|>`, `<|extra_1|>` and so on.
struct Numbered {
    /// How far the id of the first one is above the number of ranks.
    above: u32,
    count: u32,
    /// The name up to the number.
    stem: &'static str,
    /// The first number.
    from: u32,
}

const NONE: Numbered = Numbered { above: 0, count: 0, stem: "", from: 0 };

static KNOWN: &[Known] = &[
    Known {
        name: "llama3",
        said: &["llama"],
        ranks: 128_000,
        splitting: "llama-bpe",
        specials: &[
            (0, "<|begin_of_text|>"),
            (1, "<|end_of_text|>"),
            (2, "<|reserved_special_token_0|>"),
            (3, "<|reserved_special_token_1|>"),
            (4, "<|reserved_special_token_2|>"),
            (5, "<|reserved_special_token_3|>"),
            (6, "<|start_header_id|>"),
            (7, "<|end_header_id|>"),
            (8, "<|reserved_special_token_4|>"),
            (9, "<|eot_id|>"),
        ],
        numbered: Numbered { above: 10, count: 246, stem: "<|reserved_special_token_", from: 5 },
        bos: Some("<|begin_of_text|>"),
    },
    Known {
        name: "qwen",
        said: &["qwen", "QWenTokenizer"],
        ranks: 151_643,
        splitting: "qwen2",
        specials: &[(0, "<|endoftext|>"), (1, "<|im_start|>"), (2, "<|im_end|>")],
        numbered: Numbered { above: 3, count: 205, stem: "<|extra_", from: 0 },
        bos: None,
    },
    Known {
        name: "cl100k_base",
        said: &[],
        ranks: 100_256,
        splitting: "cl100k",
        specials: &[
            (1, "<|endoftext|>"),
            (2, "<|fim_prefix|>"),
            (3, "<|fim_middle|>"),
            (4, "<|fim_suffix|>"),
            (20, "<|endofprompt|>"),
        ],
        numbered: NONE,
        bos: None,
    },
    Known {
        name: "o200k_base",
        said: &[],
        ranks: 199_998,
        splitting: "gpt-4o",
        specials: &[(1, "<|endoftext|>"), (20, "<|endofprompt|>")],
        numbered: NONE,
        bos: None,
    },
    Known {
        name: "o200k_harmony",
        said: &["gpt_oss"],
        ranks: 199_998,
        splitting: "gpt-4o",
        specials: &[
            (0, "<|startoftext|>"),
            (1, "<|endoftext|>"),
            (2, "<|reserved_200000|>"),
            (3, "<|reserved_200001|>"),
            (4, "<|return|>"),
            (5, "<|constrain|>"),
            (6, "<|reserved_200004|>"),
            (7, "<|channel|>"),
            (8, "<|start|>"),
            (9, "<|end|>"),
            (10, "<|message|>"),
            (11, "<|reserved_200009|>"),
            (12, "<|reserved_200010|>"),
            (13, "<|reserved_200011|>"),
            (14, "<|call|>"),
        ],
        numbered: Numbered { above: 15, count: 1075, stem: "<|reserved_", from: 200_013 },
        bos: None,
    },
    Known {
        name: "r50k_base",
        said: &["gpt2"],
        ranks: 50_256,
        splitting: "gpt-2",
        specials: &[(0, "<|endoftext|>")],
        numbered: NONE,
        bos: None,
    },
];

impl Known {
    /// The vocabulary in a file named `stem` with so many ranks: what the files beside say goes before its name, its name
    /// before its size.
    fn find(stem: &str, ranks: usize, beside: &Beside) -> Option<&'static Self> {
        let said = [beside.class(), beside.model_type()];
        let is_said = |known: &Self| known.said.iter().any(|name| said.contains(&Some(*name)));
        let by = |test: &dyn Fn(&Self) -> bool| KNOWN.iter().find(|known| test(known));
        by(&|known| known.ranks == ranks && is_said(known))
            .or_else(|| by(&|known| known.name == stem))
            .or_else(|| by(&|known| known.ranks == ranks))
            .or_else(|| by(&is_said))
    }

    /// The special tokens above so many ranks, by id.
    fn specials(&self, ranks: u32) -> impl Iterator<Item = (u32, String)> {
        let Numbered { above, count, stem, from } = self.numbered;
        let numbered = (0..count).map(move |at| (ranks + above + at, format!("{stem}{}|>", from + at)));
        let named = self.specials.iter().map(move |(above, name)| (ranks + above, (*name).to_owned()));
        named.chain(numbered)
    }
}

/// A vocabulary as it was read.
pub(super) struct Read {
    pub(super) encoder: Library,
    pub(super) tokens: Tokens,
    /// The id of the token that opens every sequence of the model, where one does.
    pub(super) bos: Option<u32>,
}

/// Whether a file is of this kind: its first line is a token in base64 and a number.
pub(super) fn is_ranks(bytes: &[u8]) -> bool {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    std::str::from_utf8(line).is_ok_and(|line| entry(line).is_some())
}

/// The vocabulary in the bytes of a file whose name is `stem` and an ending.
///
/// # Errors
/// When a line is broken, or the vocabulary is none of those that are known.
pub(super) fn read(bytes: &[u8], stem: &str, beside: &Beside) -> Result<Read> {
    let text = std::str::from_utf8(bytes).context("it is no text")?;
    let mut ranks = HashMap::new();
    for (line, at) in text.lines().zip(1..) {
        if line.is_empty() {
            continue;
        }
        let (token, rank) =
            entry(line).with_context(|| format!("line {at} is no token in base64 with a rank"))?;
        if ranks.insert(token, rank).is_some() {
            bail!("line {at} has a token that came before");
        }
    }
    if let Some(byte) = (0..=u8::MAX).find(|&byte| !ranks.contains_key(&[byte][..])) {
        bail!("it has no token for the byte {byte:#04x}: it is cut short or not whole");
    }
    let Some(known) = Known::find(stem, ranks.len(), beside) else {
        let names = KNOWN.iter().map(|known| format!("{} ({} ranks)", known.name, known.ranks));
        bail!(
            "it has {} ranks, and how their vocabulary cuts texts is not known here; known are {}: put its tokenizer.json \
             beside it",
            ranks.len(),
            names.collect::<Vec<_>>().join(", ")
        );
    };
    let mut tokens = Tokens::none(Spelling::ByteLevel);
    for (token, &rank) in &ranks {
        tokens.put(rank, spelled(token), Kind::Normal)?;
    }
    for (id, name) in known.specials(ranks.len() as u32) {
        tokens.put(id, name, Kind::Control)?;
    }
    beside.add_to(&mut tokens)?;
    let mut splitting = *Splitting::named(known.splitting)?;
    splitting.whole_words = true;
    let bos = known.bos.and_then(|bos| tokens.texts.iter().position(|text| text == bos));
    Ok(Read {
        encoder: byte_level::encoder(&tokens, merges(&ranks), &splitting)?,
        tokens,
        bos: bos.and_then(|id| u32::try_from(id).ok()),
    })
}

/// The token and the rank in a line.
fn entry(line: &str) -> Option<(Vec<u8>, u32)> {
    let (token, rank) = line.trim_end().split_once(' ')?;
    let token = STANDARD.decode(token).ok().filter(|token| !token.is_empty())?;
    Some((token, rank.parse().ok()?))
}

/// Every way to make a token out of two, the tokens of the lowest ranks first.
fn merges(ranks: &HashMap<Vec<u8>, u32>) -> Merges {
    let mut merges = Vec::new();
    for (token, &rank) in ranks {
        for (left, right) in (1..token.len()).map(|at| token.split_at(at)) {
            if let (Some(&one), Some(&other)) = (ranks.get(left), ranks.get(right)) {
                merges.push(((rank, one, other), left, right));
            }
        }
    }
    merges.sort_unstable();
    merges.into_iter().map(|(_, left, right)| (spelled(left), spelled(right))).collect()
}

/// Bytes in the letters of a byte-level vocabulary.
fn spelled(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| letter_of(byte)).collect()
}
