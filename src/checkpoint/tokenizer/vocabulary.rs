//! `vocab.json` (ids by token) and `merges.txt` (a pair in each line), as GPT-2 came with them.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use tokenizers::Tokenizer as Library;

use super::beside::Beside;
use super::byte_level;
use super::pieces::Spelling;
use super::splitting::Splitting;
use super::tokens::{Kind, Tokens};

/// The token that GPT-2 and its relatives part texts with, whether their files say so or not.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The encoder of a vocabulary (`vocab`, the text of `vocab.json`) and its `merges`.
///
/// # Errors
/// When the files do not fit each other, or `beside` names a class of tokenizers that cuts texts in an unknown way.
pub(super) fn read(vocab: &[u8], merges: &str, beside: &Beside) -> Result<(Library, Tokens)> {
    let splitting = splitting(beside)?;
    let vocab: Map<String, Value> =
        serde_json::from_slice(vocab).context("vocab.json is no object of ids by token")?;
    let mut tokens = Tokens::none(Spelling::ByteLevel);
    let specials = beside.special_tokens();
    for (token, id) in vocab {
        let known = id.as_u64().and_then(|id| u32::try_from(id).ok());
        let id = known.with_context(|| format!("vocab.json gives {token:?} the id {id}, which is none"))?;
        let is_special = token == END_OF_TEXT || specials.contains(token.as_str());
        tokens.put(id, token, if is_special { Kind::Control } else { Kind::Normal }).context("vocab.json")?;
    }
    if tokens.texts.is_empty() {
        bail!("vocab.json has no token");
    }
    beside.add_to(&mut tokens)?;
    let lines = merges.lines().enumerate().filter(|(at, line)| {
        let is_version = *at == 0 && line.starts_with("#version");
        !is_version && !line.is_empty()
    });
    let pair = |(at, line)| {
        byte_level::merge(line).with_context(|| format!("line {} of merges.txt is no pair of tokens", at + 1))
    };
    let merges = lines.map(pair).collect::<Result<_>>()?;
    Ok((byte_level::encoder(&tokens, merges, &splitting)?, tokens))
}

/// How the class of tokenizers that the files beside name cuts texts.
fn splitting(beside: &Beside) -> Result<Splitting> {
    let name = match (beside.class(), beside.model_type()) {
        (Some("Qwen2Tokenizer"), _) | (None, Some("qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe")) => "qwen2",
        (None | Some("GPT2Tokenizer" | "CodeGenTokenizer" | "RobertaTokenizer" | "BartTokenizer"), _) => {
            "gpt-2"
        }
        (Some(other), _) => bail!(
            "tokenizer_config.json says tokenizer_class {}, and how that cuts texts is not in vocab.json and merges.txt: \
             put its tokenizer.json beside them",
            other.escape_debug()
        ),
    };
    let mut splitting = *Splitting::named(name)?;
    splitting.adds_space = beside.prefix_space().unwrap_or(false);
    Ok(splitting)
}
