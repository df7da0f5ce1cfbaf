//! The matrices of the papers' formulas, read from the stored weights whatever their type: W_Q, W_K, W_V, W_O of a head,
//! W_E and W_U.
//!
//! Folded in: the gain of the normalisation before whatever reads the residual stream and, for LayerNorm, its centring,
//! on the reading as on the writing side (Elhage et al. 2021; the same as TransformerLens's folding). Left out: biases,
//! the rotation of rotary models (as at distance 0), the attention scale, and the division by the size of the residual stream, or of
//! what queries, keys and values are made of, which is no weight.

use std::ops::Range;

use anyhow::Result;
use candle_core::{Device, Tensor};
use serde::Serialize;

use crate::model::{
    decoder::{Decoder, LayerWeights, Made},
    linear::Linear,
    norm::NormWeights,
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
    /// W_V, `[value_size, width]`; shared like W_K.
    pub value: Tensor,
    /// W_O, `[width, value_size]`.
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
    value_size: usize,
}

impl Layer {
    /// Reads a layer's weights.
    pub fn of(decoder: &Decoder, layer: usize) -> Result<Self> {
        let weights = &decoder.layers[layer];
        let read = |matrix: &Tensor| fold(matrix, &weights.norm);
        let output = match &weights.post_norm {
            Some(norm) => written(&all_rows(&weights.output)?, norm)?,
            None => all_rows(&weights.output)?,
        };
        Ok(Self {
            query: read(&queries(weights)?)?,
            key: read(&keys(weights, decoder.spec.kv_heads)?)?,
            value: read(&values(weights)?)?,
            // Where every reader takes the mean away, it is nobody's.
            output: match [decoder.spec.norm.kind, decoder.norm.kind] {
                [NormKind::Layer, NormKind::Layer] => output.broadcast_sub(&output.mean_keepdim(0)?)?,
                _ => output,
            },
            group: decoder.spec.group(),
            size: decoder.spec.head_size,
            value_size: decoder.spec.value_size,
        })
    }

    /// The matrices of one head.
    pub fn head(&self, head: usize) -> Result<Factors> {
        let (shared, size, value_size) = (head / self.group, self.size, self.value_size);
        Ok(Factors {
            query: self.query.narrow(0, head * size, size)?,
            key: self.key.narrow(0, shared * size, size)?,
            value: self.value.narrow(0, shared * value_size, value_size)?,
            output: self.output.narrow(1, head * value_size, value_size)?.contiguous()?,
        })
    }
}

/// From the normalised residual stream to the queries of a layer, `[heads * head_size, width]`. What they are made of is divided by
/// its size on the way, which is left out, here and below.
fn queries(weights: &LayerWeights) -> Result<Tensor> {
    match weights.latent.as_ref().and_then(|latent| latent.queries.as_ref()) {
        Some(made_of) => through(&weights.query, made_of),
        None => all_rows(&weights.query),
    }
}

/// The same of keys, `[kv_heads * head_size, width]`.
fn keys(weights: &LayerWeights, heads: usize) -> Result<Tensor> {
    let Some(latent) = &weights.latent else { return all_rows(&weights.key) };
    let own = through(&weights.key, &latent.keys)?;
    let (rows, width) = own.dims2()?;
    let own = own.reshape((heads, rows / heads, width))?;
    let rotated = all_rows(&latent.rotated)?;
    let rotated = rotated.unsqueeze(0)?.broadcast_as((heads, rotated.dim(0)?, width))?;
    Ok(Tensor::cat(&[own, rotated.contiguous()?], 1)?.reshape(((), width))?)
}

/// The same of values, `[kv_heads * value_size, width]`.
fn values(weights: &LayerWeights) -> Result<Tensor> {
    match &weights.latent {
        Some(latent) => through(&weights.value, &latent.keys),
        None => all_rows(&weights.value),
    }
}

/// A matrix that reads what is made of the residual stream, as one that reads the latter.
fn through(linear: &Linear, made_of: &Made) -> Result<Tensor> {
    Ok(all_rows(linear)?.matmul(&written(&all_rows(&made_of.linear)?, &made_of.norm)?)?)
}

/// Every row of a stored matrix, `[outputs, inputs]`, f32 on the processor.
fn all_rows(linear: &Linear) -> Result<Tensor> {
    rows(linear, 0..linear.outputs())
}

fn rows(linear: &Linear, range: Range<usize>) -> Result<Tensor> {
    Ok(linear.rows(&ids(range), &Device::Cpu)?.to_device(&Device::Cpu)?)
}

fn ids(range: Range<usize>) -> Vec<u32> {
    range.map(|index| index as u32).collect()
}

/// Folds a normalisation into a matrix that writes before it, `[width, inputs]`: `diag(gain) W`, for LayerNorm
/// `diag(gain) (1 - mean) W`.
fn written(matrix: &Tensor, norm: &NormWeights) -> Result<Tensor> {
    let centred = match norm.kind {
        NormKind::Rms | NormKind::None => matrix.clone(),
        NormKind::Layer => matrix.broadcast_sub(&matrix.mean_keepdim(0)?)?,
    };
    Ok(centred.broadcast_mul(&norm.gain.to_device(&Device::Cpu)?.unsqueeze(1)?)?)
}

/// Folds a normalisation into a matrix that reads after it, `[outputs, width]`: `W diag(gain)`, and for LayerNorm
/// `W diag(gain) (1 - mean)`.
fn fold(matrix: &Tensor, norm: &NormWeights) -> Result<Tensor> {
    let scaled = matrix.broadcast_mul(&norm.gain.to_device(&Device::Cpu)?)?;
    Ok(match norm.kind {
        NormKind::Rms | NormKind::None => scaled,
        NormKind::Layer => scaled.broadcast_sub(&scaled.mean_keepdim(1)?)?,
    })
}

/// Rows of the embedding, `[tokens, width]`, f32 on the processor; learned positions are not among it.
pub fn embedding(decoder: &Decoder, which: Embedding, tokens: Range<usize>) -> Result<Tensor> {
    embedding_of(decoder, which, &ids(tokens))
}

/// The same of single tokens.
pub fn embedding_of(decoder: &Decoder, which: Embedding, tokens: &[u32]) -> Result<Tensor> {
    let raw = decoder.embedded(tokens)?;
    let rows = match which {
        Embedding::Raw => raw,
        Embedding::Effective => match decoder.first_mlp(&raw)? {
            Some(made) => (raw + made)?,
            None => raw,
        },
    };
    Ok(rows.to_device(&Device::Cpu)?)
}

/// Rows of the unembedding W_U with the last normalisation folded in, `[tokens, width]`, f32 on the processor.
pub fn unembedding(decoder: &Decoder, tokens: Range<usize>) -> Result<Tensor> {
    fold(&decoder.unembedding_rows(&ids(tokens))?.to_device(&Device::Cpu)?, &decoder.norm)
}

/// The vocabulary in tiles.
pub fn tiles(vocabulary: usize) -> impl Iterator<Item = Range<usize>> {
    (0..vocabulary).step_by(TILE).map(move |start| start..(start + TILE).min(vocabulary))
}
