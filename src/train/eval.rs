//! How the model does while it trains: losses on text it was not shown, and the heads of an induction circuit.

use anyhow::{Result, ensure};
use candle_core::{D, DType, Device, IndexOp, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokenizers::Tokenizer;

use super::{
    data::{Batch, distinct},
    model::Model,
    ops::token_losses,
    vocabulary::{BOS_ID, prompt_ids},
};

/// The lengths of `r` at which induction is measured on `[BOS] r r`.
pub const LENGTHS: [usize; 3] = [10, 25, 50];
/// Sequences per measurement.
const SEQUENCES: usize = 8;

/// A head and its score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Best {
    /// Zero-based, within its layer.
    pub head: usize,
    /// Mean attention, 0 to 1.
    pub score: f64,
}

/// One measurement on sequences `[BOS] r r` of distinct random tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Repeats {
    /// Tokens in `r`.
    pub length: usize,
    /// Mean loss on the second copy after its first token, nats.
    pub second_copy_loss: f64,
    /// The best induction head of each layer: mean over i in 0..length-1 of `A[p, p-length+1]`, `p = 1+length+i`.
    pub induction: Vec<Best>,
    /// The best previous-token head of each layer: mean over q >= 1 of `A[q, q-1]`.
    pub previous: Vec<Best>,
}

/// Mean loss in nats per token over windows of text.
pub fn text_loss(model: &Model, tokens: &[u32]) -> Result<f64> {
    let context = model.config().max_position_embeddings;
    let windows: Vec<Vec<u32>> = tokens
        .chunks_exact(context)
        .map(|window| std::iter::once(BOS_ID).chain(window.iter().copied()).collect())
        .collect();
    ensure!(
        !windows.is_empty(),
        "the text kept for measuring is shorter than --context {context}: give more text"
    );
    let mut sum = 0.;
    for windows in windows.chunks(32) {
        sum += losses(model, windows)?.mean_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?
            * windows.len() as f64;
    }
    Ok(sum / windows.len() as f64)
}

/// The loss of each token, `[batch, T]`.
fn losses(model: &Model, sequences: &[Vec<u32>]) -> Result<Tensor> {
    let Batch { inputs, targets } = Batch::new(sequences)?;
    let (batch, length) = inputs.dims2()?;
    let logits = model.forward(&inputs)?.logits.detach();
    Ok(token_losses(&logits.flatten_to(1)?, &targets)?.reshape((batch, length))?)
}

/// Measures on `[BOS] r r`; `None` where the model's context or vocabulary is too small for the length.
pub fn repeats(model: &Model, length: usize, seed: u64) -> Result<Option<Repeats>> {
    let (context, vocab) = (model.config().max_position_embeddings, model.config().vocab_size);
    if 1 + 2 * length > context || length >= vocab || length < 2 {
        return Ok(None);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sequences: Vec<Vec<u32>> = (0..SEQUENCES)
        .map(|_| {
            let block = distinct(&mut rng, vocab, length);
            [&[BOS_ID][..], &block, &block].concat()
        })
        .collect();
    // Position p predicts p + 1: the second copy after its first token is predicted from p = 1 + length on.
    let second_copy = losses(model, &sequences)?.narrow(1, 1 + length, length - 1)?.mean_all()?;
    let ids: Vec<u32> = sequences.concat();
    let ids = Tensor::from_vec(ids, (SEQUENCES, 1 + 2 * length), &Device::Cpu)?;
    let (mut induction, mut previous) = (Vec::new(), Vec::new());
    for pattern in model.forward(&ids)?.patterns {
        let stripe = |queries: std::ops::Range<usize>, back: usize| best(&pattern, queries, back);
        induction.push(stripe(1 + length..2 * length, length - 1)?);
        previous.push(stripe(1..1 + 2 * length, 1)?);
    }
    let second_copy_loss = second_copy.to_dtype(DType::F64)?.to_scalar()?;
    Ok(Some(Repeats { length, second_copy_loss, induction, previous }))
}

/// The head of a pattern `[batch, heads, query, key]` with the most attention `back` positions before the query.
pub(super) fn best(pattern: &Tensor, queries: std::ops::Range<usize>, back: usize) -> Result<Best> {
    let count = queries.len() as f64;
    let mut scores = Tensor::zeros(pattern.dim(1)?, DType::F64, &Device::Cpu)?;
    for query in queries {
        let seen = pattern.i((.., .., query, query - back))?.mean(0)?.to_dtype(DType::F64)?;
        scores = (scores + seen)?;
    }
    let scores = (scores / count)?.to_vec1::<f64>()?;
    let top = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(top.map_or(Best { head: 0, score: 0. }, |(head, &score)| Best { head, score }))
}

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
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let logits = model.forward(&ids)?.logits.i((0, ids.dim(1)? - 1))?.to_dtype(DType::F64)?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?.to_vec1::<f64>()?;
        let top =
            probabilities.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(token, _)| token);
        let token = |id: u32| tokenizer.decode(&[id], false).unwrap_or_default();
        let probability = probabilities.get(wanted as usize).copied().unwrap_or(0.);
        guesses.push(NameGuess { prompt, wanted: token(wanted), probability, top: token(top as u32) });
    }
    Ok(guesses)
}
