//! The two ends of a base, where one matrix is both: adapters may change one of them alone.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

use crate::checkpoint::weights::Weights;

/// Modules that embed tokens, and those that unembed where they are tied to them.
const ENDS: [(&str, &str); 4] = [
    ("embed_tokens", "lm_head"),
    ("wte", "lm_head"),
    ("word_embeddings", "lm_head"),
    ("embed_in", "embed_out"),
];
const KEY: &str = "tie_word_embeddings";
/// The part of a module's names that the rows of some tokens have.
pub const ROWS: &str = "trainable_tokens_delta";

/// The names of the embedding and the unembedding of a model that has one matrix for both.
pub struct Tied {
    /// That of the embedding.
    pub embedding: String,
    unembedding: String,
}

/// The name that files have for GPT-NeoX's unembedding, which transformers 5 and its adapters call `lm_head`.
pub fn in_files(name: &str) -> Option<String> {
    Some(format!("embed_out.{}", name.strip_prefix("lm_head.")?))
}

/// The names of the two ends where a name is that of an embedding or of a part of it.
fn of_embedding(name: &str) -> Option<(String, String)> {
    let mut start = 0;
    for piece in name.split('.') {
        if let Some((_, head)) = ENDS.iter().find(|(embedding, _)| *embedding == piece) {
            return Some((format!("{}.weight", &name[..start + piece.len()]), format!("{head}.weight")));
        }
        start += piece.len() + 1;
    }
    None
}

impl Tied {
    /// Gives the matrix of a tied base both names; `None` where `values` of `config.json` or the weights untie the two. The
    /// adapter's tensors, by their `names` in the base, tell what the embedding is called where it has no name of its own.
    ///
    /// # Errors
    /// When the adapter changes an unembedding that is the embedding too, and nothing tells what that is called; when it has
    /// rows for tokens, and the two differ although they are said to be tied.
    pub fn name(base: &mut Weights, values: &Map<String, Value>, names: &[&str]) -> Result<Option<Self>> {
        let places = [Some(values), values.get("text_config").and_then(Value::as_object)];
        let says = |tied: bool| places.iter().flatten().any(|values| values.get(KEY) == Some(&tied.into()));
        if says(false) {
            return Ok(None);
        }
        let stored = |name: &str| of_embedding(name).filter(|(embedding, _)| embedding == name);
        let ends = base.iter().find_map(|tensor| stored(&tensor.name));
        let Some((embedding, unembedding)) =
            ends.or_else(|| names.iter().find_map(|name| of_embedding(name)))
        else {
            let is_changed = |(_, head): &&(&str, &str)| {
                base.contains(&format!("{head}.weight"))
                    && names.iter().any(|name| name.split('.').next() == Some(head))
            };
            if let Some((_, head)) = ENDS.iter().find(is_changed) {
                bail!(
                    "the base stores `{head}.weight` and no embedding, which it may be too: save the base with transformers and \
                     name what that writes"
                );
            }
            return Ok(None);
        };
        let missing = match (base.get(&embedding), base.get(&unembedding)) {
            (Ok(one), Ok(other)) if !one.equals(other) => {
                // peft goes by the key alone and puts them into both.
                if says(true) && names.iter().any(|name| name.ends_with(ROWS)) {
                    bail!(
                        "key `{KEY}` of the base is true, but its `{}` and `{}` differ: rows of trainable_token_indices are not \
                         merged into both; set the key to false where they are meant for one",
                        one.name.escape_debug(),
                        other.name.escape_debug()
                    );
                }
                return Ok(None);
            }
            (Ok(one), _) => one.clone().named(unembedding.clone()),
            (_, Ok(other)) => other.clone().named(embedding.clone()),
            _ => return Ok(None),
        };
        base.insert(missing);
        Ok(Some(Self { embedding, unembedding }))
    }

    /// Takes the second name away where one matrix is still both; else says in `values` that they are two, and gives the
    /// remark on it.
    pub fn settle(self, base: &mut Weights, values: &mut Map<String, Value>) -> Option<String> {
        let [embedding, unembedding] = [&self.embedding, &self.unembedding].map(|name| base.get(name).ok());
        if embedding?.equals(unembedding?) {
            base.remove(&self.unembedding);
            return None;
        }
        values.insert(KEY.into(), false.into());
        if let Some(Value::Object(text)) = values.get_mut("text_config") {
            text.insert(KEY.into(), false.into());
        }
        Some(format!(
            "`{}` and `{}` are one matrix in the base and two with the adapter, as peft computes with it",
            self.embedding.escape_debug(),
            self.unembedding.escape_debug()
        ))
    }
}
