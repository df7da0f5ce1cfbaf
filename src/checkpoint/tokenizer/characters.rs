//! A character table, `chars.json`: one token for each character.
//!
//! Either a list of characters, each at its id (`["\n", " ", "a"]`), or an object of ids by character (`{"a": 2}`).

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::Encode;
use super::pieces::Spelling;
use super::tokens::{Kind, Tokens};

/// Ids by character.
pub(super) struct Characters(HashMap<char, u32>);

/// The table in the text of a file.
///
/// # Errors
/// When it is neither a list of characters nor ids by character.
pub(super) fn read(json: &[u8]) -> Result<(Characters, Tokens)> {
    const FORM: &str =
        "it must be a list of characters in the order of their ids, or an object of ids by character";
    let entries: Vec<(String, u32)> = match serde_json::from_slice(json).context(FORM)? {
        Value::Array(list) => {
            let texts = list.into_iter().zip(0..).map(|(text, id)| Some((text.as_str()?.to_owned(), id)));
            texts.collect::<Option<_>>().context(FORM)?
        }
        Value::Object(ids) => {
            let ids = ids.into_iter().map(|(text, id)| Some((text, id.as_u64()?.try_into().ok()?)));
            ids.collect::<Option<_>>().context(FORM)?
        }
        _ => bail!(FORM),
    };
    let mut tokens = Tokens::none(Spelling::Plain);
    let mut characters = HashMap::new();
    for (text, id) in entries {
        let mut letters = text.chars();
        let (Some(letter), None) = (letters.next(), letters.next()) else {
            bail!("the token {id} is `{}`, which is not one character", text.escape_debug())
        };
        if characters.insert(letter, id).is_some() {
            bail!("`{}` comes twice", letter.escape_debug());
        }
        tokens.put(id, text, Kind::Normal)?;
    }
    Ok((Characters(characters), tokens))
}

impl Encode for Characters {
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let id = |letter: char| {
            let known = self.0.get(&letter).copied();
            known.ok_or_else(|| {
                anyhow!("chars.json has no token for `{}`, which the text has", letter.escape_debug())
            })
        };
        text.chars().map(id).collect()
    }
}
