//! The bigram view: what a token says of the next one along the direct path, without any head.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{
    factors::{self, Embedding},
    largest,
};
use crate::{analysis::explain::probabilities, model::decoder::Decoder};

/// A next token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Next {
    /// Its id.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
    /// Its probability, 0 to 1.
    pub probability: f32,
}

/// A column of `W_U W_E`: the `top` most probable next tokens of a model whose layers add nothing (Elhage et al. 2021,
/// "Zero-layer transformers").
///
/// An approximation in one thing: the last normalisation takes its divisor from the embedding alone, where that of a
/// real pass is larger and the distribution so much flatter. Biases of the normalisation and learned positions: the former
/// are in, the latter are not.
pub fn bigram(decoder: &Decoder, which: Embedding, token: u32, top: usize) -> Result<Vec<Next>> {
    let logits = direct_logits(decoder, which, token)?;
    let probabilities = probabilities(&logits);
    let next = |id: u32, logit| Next { id, logit, probability: probabilities[id as usize] };
    Ok(largest(&logits, top).into_iter().map(|entry| next(entry.id, entry.value)).collect())
}

/// The direct path's logits of every next token, `[vocabulary]`.
pub fn direct_logits(decoder: &Decoder, which: Embedding, token: u32) -> Result<Vec<f32>> {
    let logits = direct_logits_of(decoder, which, &[token])?;
    Ok(logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
}

/// The same of several tokens, `[tokens, vocabulary]`, in f32 where the model computes.
pub fn direct_logits_of(decoder: &Decoder, which: Embedding, tokens: &[u32]) -> Result<Tensor> {
    let x = factors::embedding_of(decoder, which, tokens)?.to_device(&decoder.device)?;
    decoder.logits(&x)
}

/// The direct path's log-probabilities of every next token, `[vocabulary]`, nats.
pub fn direct_log_probabilities(decoder: &Decoder, which: Embedding, token: u32) -> Result<Vec<f32>> {
    let logits = direct_logits(decoder, which, token)?;
    Ok(probabilities(&logits)
        .into_iter()
        .map(|probability| probability.max(f32::MIN_POSITIVE).ln())
        .collect())
}
