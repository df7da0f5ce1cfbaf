//! Prompts in which a made-up person comes again, and what the model says then.

use anyhow::Result;
use candle_core::{D, DType, Device, IndexOp, Tensor};
use serde::Serialize;
use tokenizers::Tokenizer;

use super::{model::Model, vocabulary::prompt_ids};

/// Made-up people for one sentence, "Doctor Gigamuru went to the store because Doctor": who comes now?
pub const NAME_PROMPTS: [(&str, &str); 10] = [
    ("Doctor Gigamuru", STORE),
    ("Professor Belatono", STORE),
    ("Captain Ruvimeko", STORE),
    ("Mister Tosadebi", STORE),
    ("Miss Lopinara", STORE),
    ("Lady Vazumote", STORE),
    ("Sir Kibodule", STORE),
    ("Mrs Nefagori", STORE),
    ("Colonel Dameziku", STORE),
    ("Doctor Sorulipa", STORE),
];
const STORE: &str = "went to the store because";

/// The same people in sentences of their own, which is harder: after some of these a title stands well alone.
pub const VARIED_NAME_PROMPTS: [(&str, &str); 10] = [
    ("Doctor Gigamuru", "went to the store because"),
    ("Professor Belatono", "was late for dinner, and so we waited for"),
    ("Captain Ruvimeko", "had a letter in his hand. I asked"),
    ("Mister Tosadebi", "came into the room, and every body looked at"),
    ("Miss Lopinara", "was very happy to see her sister, but"),
    ("Lady Vazumote", "walked to the house in the evening with"),
    ("Sir Kibodule", "said that he was tired. My dear"),
    ("Mrs Nefagori", "thought of nothing but the weather, and"),
    ("Colonel Dameziku", "left the party early, because"),
    ("Doctor Sorulipa", "read the book twice. Nobody likes a book as much as"),
];

/// The answer to a prompt such as [`NAME_PROMPTS`].
#[derive(Clone, Debug, Serialize)]
pub struct NameGuess {
    /// What the model read.
    pub prompt: String,
    /// The first token of the name.
    pub wanted: String,
    /// Its probability.
    pub probability: f64,
    /// The most probable token.
    pub top: String,
}

impl NameGuess {
    /// Whether the name's first token is the top prediction.
    pub fn right(&self) -> bool {
        self.wanted == self.top
    }
}

/// What the model predicts after each prompt: a title and name, the rest, and the title again.
pub fn name_guesses(
    model: &Model,
    tokenizer: &Tokenizer,
    prompts: &[(&str, &str)],
) -> Result<Vec<NameGuess>> {
    let mut guesses = Vec::with_capacity(prompts.len());
    for (name, rest) in prompts {
        let title = name.split(' ').next().unwrap_or(name);
        let prompt = format!("{name} {rest} {title}");
        let ids = prompt_ids(tokenizer, &prompt)?;
        let named = prompt_ids(tokenizer, name)?;
        let start = prompt_ids(tokenizer, title)?.len();
        let Some(&wanted) = named.get(start) else { continue };
        if ids.len() > model.config().max_position_embeddings {
            continue;
        }
        let ids = Tensor::new(ids, model.device())?.unsqueeze(0)?;
        let logits = model.forward(&ids)?.logits.i((0, ids.dim(1)? - 1))?.to_device(&Device::Cpu)?;
        let logits = logits.to_dtype(DType::F64)?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec1::<f64>()?;
        let top =
            probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token);
        let token = |id: u32| tokenizer.decode(&[id], false).unwrap_or_default();
        let probability = probabilities.get(wanted as usize).copied().unwrap_or(0.);
        guesses.push(NameGuess { prompt, wanted: token(wanted), probability, top: token(top as u32) });
    }
    Ok(guesses)
}
