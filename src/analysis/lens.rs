//! The logit lens: what the residual stream says before each layer, were it the last.
//!
//! Nostalgebraist, "interpreting GPT: the logit lens", 2020: the model's own last normalisation, with statistics of the stream
//! that it is given, its unembedding, multipliers and cap.

use anyhow::Result;
use candle_core::{Device, Tensor};
use serde::Serialize;

use super::explain::{probabilities, strongest};
use crate::model::{decoder::Decoder, trace::Trace};

/// Logits at `tokens` from the residual stream before a layer, `[tokens, vocabulary]`; as many as there are layers is after the
/// last, where they are the model's own.
pub fn logits(
    decoder: &Decoder,
    trace: &Trace,
    layer: usize,
    tokens: std::ops::Range<usize>,
) -> Result<Tensor> {
    decoder.logits(&trace.residual_before(layer)?.narrow(0, tokens.start, tokens.len())?)
}

/// What the lens says of the next token before a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Guess {
    /// The layer; as many as there are layers is after the last.
    pub layer: usize,
    /// The most probable tokens with their probabilities, the best first.
    pub top: Vec<(u32, f32)>,
    /// The probability of the answer.
    pub probability: f32,
    /// How many tokens are more probable than the answer, and one.
    pub rank: usize,
    /// Entropy of the prediction, nats.
    pub entropy: f32,
}

/// Probabilities of every next token after `query` from the residual stream before a layer.
fn prediction(decoder: &Decoder, trace: &Trace, layer: usize, query: usize) -> Result<Vec<f32>> {
    let logits = logits(decoder, trace, layer, query..query + 1)?;
    Ok(probabilities(&logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?))
}

/// The token that the model finds most probable after token `query`.
pub fn predicted(decoder: &Decoder, trace: &Trace, query: usize) -> Result<u32> {
    Ok(strongest(&prediction(decoder, trace, decoder.spec.layers, query)?).0 as u32)
}

/// What the lens says of `answer` after token `query`, before every layer and after the last, with `most` of the best tokens.
pub fn guesses(
    decoder: &Decoder,
    trace: &Trace,
    query: usize,
    answer: u32,
    most: usize,
) -> Result<Vec<Guess>> {
    let guess = |layer| -> Result<Guess> {
        let probabilities = prediction(decoder, trace, layer, query)?;
        let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
        let by =
            |one: &u32, other: &u32| probabilities[*other as usize].total_cmp(&probabilities[*one as usize]);
        let most = most.min(order.len());
        if most > 0 {
            order.select_nth_unstable_by(most - 1, by);
        }
        order.truncate(most);
        order.sort_by(by);
        let probability = probabilities[answer as usize];
        let entropy = probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum();
        Ok(Guess {
            layer,
            top: order.into_iter().map(|id| (id, probabilities[id as usize])).collect(),
            probability,
            rank: 1 + probabilities.iter().filter(|p| **p > probability).count(),
            entropy,
        })
    };
    (0..=decoder.spec.layers).map(guess).collect()
}
