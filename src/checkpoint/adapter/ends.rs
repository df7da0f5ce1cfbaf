//! The two ends of a base, where one matrix is both: adapters may change one of them alone.

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

/// The names of the embedding and the unembedding of a model that has one matrix for both.
pub struct Tied {
    /// That of the embedding.
    pub embedding: String,
    unembedding: String,
}

impl Tied {
    /// Gives the matrix of a tied base both names; `None` where `values` of `config.json` or the weights untie the two.
    pub fn name(base: &mut Weights, values: &Map<String, Value>) -> Option<Self> {
        let end = |name: &str| {
            let module = name.strip_suffix(".weight")?.rsplit('.').next();
            ENDS.iter()
                .find(|(embedding, _)| module == Some(embedding))
                .map(|(_, other)| format!("{other}.weight"))
        };
        let (embedding, unembedding) =
            base.iter().find_map(|tensor| Some((tensor.clone(), end(&tensor.name)?)))?;
        let said = [Some(values), values.get("text_config").and_then(Value::as_object)];
        let is_untied = said.into_iter().flatten().any(|values| values.get(KEY) == Some(&Value::Bool(false)));
        let differs = base.get(&unembedding).is_ok_and(|head| !head.equals(&embedding));
        if is_untied || differs {
            return None;
        }
        base.insert(embedding.clone().named(unembedding.clone()));
        Some(Self { embedding: embedding.name, unembedding })
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
