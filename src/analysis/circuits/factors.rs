//! The matrices of the papers' formulas, read from the stored weights whatever their type: W_Q, W_K, W_V, W_O of a head,
//! W_E and W_U.
//!
//! Folded in: the gain of the normalisation before whatever reads the residual stream and, for LayerNorm, its centring,
//! on the reading as on the writing side (Elhage et al. 2021; the same as TransformerLens's folding). Left out: biases,
//! the rotation of rotary models (as at distance 0), the attention scale, and the division by the residual stream's size,
//! which is no weight.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::model::{
    decoder::{Decoder, NormWeights},
    linear::Linear,
    spec::NormKind,
};

/// Tokens of the vocabulary that are worked on at once.
pub const TILE: usize = 1024;

/// What stands for a token where a circuit begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Embedding {
    /// `W_E`, what the first layer reads.
    Raw,
    /// `W_E + MLP_0(norm(W_E))`: with what the first layer's MLP makes of the token alone, nearer to what later layers
    /// read. In attention-only models and for the first layer it is `W_E`.
    #[default]
    Effective,
}

impl Embedding {
    /// What the heads of `layer` read.
    pub fn of_layer(self, layer: usize) -> Self {
        if layer == 0 { Self::Raw } else { self }
    }
}

/// The matrices of one head, f32 on the processor.
pub struct Factors {
    /// W_Q, `[head_size, width]`.
    pub query: Tensor,
    /// W_K, `[head_size, width]`; under grouped-query attention heads of a group share it.
    pub key: Tensor,
    /// W_V, `[head_size, width]`; shared like W_K.
    pub value: Tensor,
    /// W_O, `[width, head_size]`.
    pub output: Tensor,
}

/// The matrices of a layer's heads, side by side.
pub struct Layer {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    output: Tensor,
    group: usize,
    size: usize,
}

impl Layer {
    /// Reads a layer's weights.
    pub fn of(decoder: &Decoder, layer: usize) -> Result<Self> {
        let weights = &decoder.layers[layer];
        let read = |linear: &Linear| fold(&all_rows(linear)?, &weights.norm, decoder.spec.norm.kind);
        let output = all_rows(&weights.output)?;
        Ok(Self {
            query: read(&weights.query)?,
            key: read(&weights.key)?,
            value: read(&weights.value)?,
            output: match decoder.spec.norm.kind {
                NormKind::Rms => output,
                NormKind::Layer => output.broadcast_sub(&output.mean_keepdim(0)?)?,
            },
            group: decoder.spec.group(),
            size: decoder.spec.head_size,
        })
    }

    /// The matrices of one head.
    pub fn head(&self, head: usize) -> Result<Factors> {
        let shared = head / self.group * self.size;
        Ok(Factors {
            query: self.query.narrow(0, head * self.size, self.size)?,
            key: self.key.narrow(0, shared, self.size)?,
            value: self.value.narrow(0, shared, self.size)?,
            output: self.output.narrow(1, head * self.size, self.size)?.contiguous()?,
        })
    }
}

/// Every row of a stored matrix, `[outputs, inputs]`, f32 on the processor.
fn all_rows(linear: &Linear) -> Result<Tensor> {
    rows(linear, 0..linear.outputs())
}

fn rows(linear: &Linear, range: Range<usize>) -> Result<Tensor> {
    rows_of(linear, &range.map(|index| index as u32).collect::<Vec<_>>())
}

fn rows_of(linear: &Linear, indices: &[u32]) -> Result<Tensor> {
    Ok(linear.rows(indices, &Device::Cpu)?.to_device(&Device::Cpu)?)
}

/// Folds a normalisation into a matrix that reads after it, `[outputs, width]`: `W diag(gain)`, and for LayerNorm
/// `W diag(gain) (1 - mean)`.
fn fold(matrix: &Tensor, norm: &NormWeights, kind: NormKind) -> Result<Tensor> {
    let scaled = matrix.broadcast_mul(&norm.gain.to_device(&Device::Cpu)?)?;
    Ok(match kind {
        NormKind::Rms => scaled,
        NormKind::Layer => scaled.broadcast_sub(&scaled.mean_keepdim(1)?)?,
    })
}

/// Rows of the embedding, `[tokens, width]`, f32 on the processor; learned positions are not among it.
pub fn embedding(decoder: &Decoder, which: Embedding, tokens: Range<usize>) -> Result<Tensor> {
    embedding_of(decoder, which, &tokens.map(|token| token as u32).collect::<Vec<_>>())
}

/// The same of single tokens.
pub fn embedding_of(decoder: &Decoder, which: Embedding, tokens: &[u32]) -> Result<Tensor> {
    let raw = rows_of(&decoder.embedding, tokens)?;
    if which == Embedding::Raw {
        return Ok(raw);
    }
    Ok(match decoder.first_mlp(&raw.to_device(&decoder.device)?)? {
        Some(made) => (raw + made.to_device(&Device::Cpu)?)?,
        None => raw,
    })
}

/// Rows of the unembedding W_U with the last normalisation folded in, `[tokens, width]`, f32 on the processor.
pub fn unembedding(decoder: &Decoder, tokens: Range<usize>) -> Result<Tensor> {
    fold(&rows(decoder.unembedding(), tokens)?, &decoder.norm, decoder.spec.norm.kind)
}

/// What a normalisation takes the size of, `[rows, width]`: `x`, or for LayerNorm `x` less the mean of its numbers.
pub(super) fn centred(decoder: &Decoder, x: &Tensor) -> Result<Tensor> {
    Ok(match decoder.spec.norm.kind {
        NormKind::Rms => x.clone(),
        NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(1)?)?,
    })
}

/// What a normalisation divides by: the root mean square of each row (LayerNorm: the deviation), `[rows, 1]`.
pub(super) fn divisors(decoder: &Decoder, x: &Tensor) -> Result<Tensor> {
    let squares = centred(decoder, x)?.sqr()?.mean_keepdim(1)?;
    Ok((squares + f64::from(decoder.spec.norm.epsilon))?.sqrt()?)
}

/// The vocabulary in tiles.
pub fn tiles(vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    (0..vocabulary).step_by(TILE).map(move |start| start..(start + TILE).min(vocabulary))
}
