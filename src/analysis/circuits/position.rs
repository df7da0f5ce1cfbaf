//! What a head's attention owes to positions alone.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::factors::{self, Embedding};
use crate::model::{
    attention,
    decoder::{Control, Decoder},
};

/// The token that is no token in particular: what is left of embeddings when the vocabulary is averaged over.
pub struct Average {
    /// Mean of the embeddings, `[1, width]`.
    mean: Tensor,
    /// Mean over the vocabulary of the square of what differs from it, per number (LayerNorm: after centring).
    variance: f64,
}

impl Average {
    /// Averages over the vocabulary.
    pub fn of(decoder: &Decoder, which: Embedding, control: &Control<'_>) -> Result<Self> {
        let vocabulary = decoder.spec.vocabulary;
        let mut sum = vec![0.0f64; decoder.spec.width];
        let mut squares = 0.0f64;
        for tile in factors::tiles(vocabulary) {
            control.check()?;
            let rows = factors::embedding(decoder, which, tile)?;
            for (sum, part) in sum.iter_mut().zip(rows.sum(0)?.to_vec1::<f32>()?) {
                *sum += f64::from(part);
            }
            squares += f64::from(mean_squares(decoder, &rows)?.sum_all()?.to_scalar::<f32>()?);
        }
        let mean: Vec<f32> = sum.into_iter().map(|sum| (sum / vocabulary as f64) as f32).collect();
        let mean = Tensor::from_vec(mean, (1, decoder.spec.width), &Device::Cpu)?;
        let of_mean = f64::from(mean_squares(decoder, &mean)?.sum_all()?.to_scalar::<f32>()?);
        Ok(Self { mean, variance: squares / vocabulary as f64 - of_mean })
    }

    /// What a layer reads at positions `0..tokens`, `[tokens, width]`, normalised as the first layer normalises it: the
    /// mean embedding and the position, over the root of their mean square over the vocabulary.
    fn normed(&self, decoder: &Decoder, layer: usize, tokens: usize) -> Result<Tensor> {
        let places: Vec<u32> = (0..tokens as u32).collect();
        let x = match &decoder.positions {
            Some(positions) => {
                positions.rows(&places, &Device::Cpu)?.to_device(&Device::Cpu)?.broadcast_add(&self.mean)?
            }
            None => self.mean.broadcast_as((tokens, decoder.spec.width))?.contiguous()?,
        };
        let square = (mean_squares(decoder, &x)? + (self.variance + f64::from(decoder.spec.norm.epsilon)))?;
        let norm = &decoder.layers[layer].norm;
        let (gain, bias) = (norm.gain.to_device(&Device::Cpu)?, norm.bias.to_device(&Device::Cpu)?);
        let scaled = factors::centred(decoder, &x)?.broadcast_div(&square.sqrt()?)?;
        Ok(scaled.broadcast_mul(&gain)?.broadcast_add(&bias)?)
    }
}

/// The mean square of each row, `[rows, 1]`.
fn mean_squares(decoder: &Decoder, x: &Tensor) -> Result<Tensor> {
    Ok(factors::centred(decoder, x)?.sqr()?.mean_keepdim(1)?)
}

/// The positional profile of every head of a layer, `[head][distance]`: attention to the key so many positions back, by
/// scores that are averaged over all query and key tokens before the softmax; mean over the queries of the second half of
/// `tokens` positions, distances `0..tokens / 2`.
///
/// In models with learned positions that is the softmax of `P^T W_QK P` (Elhage et al. 2021, "primarily positional heads")
/// with the mean embedding added to `P`, biases included. Rotary models have no `P`: there it is what mean query and mean
/// key give at each distance, the part of attention that does not depend on the tokens. It is exact in the first layer but
/// for the divisor of the normalisation, which is the same for all tokens here.
pub fn profiles(decoder: &Decoder, average: &Average, layer: usize, tokens: usize) -> Result<Vec<Vec<f32>>> {
    let spec = &decoder.spec;
    let weights = &decoder.layers[layer];
    let normed = average.normed(decoder, layer, tokens)?.to_device(&decoder.device)?;
    let heads_of = |projected: Tensor, heads: usize| -> Result<Tensor> {
        let apart = projected.reshape((1, tokens, heads, spec.head_size))?.transpose(1, 2)?.contiguous()?;
        Ok(decoder.rotated(&apart)?.squeeze(0)?)
    };
    let queries = heads_of(weights.query.forward(&normed)?, spec.heads)?;
    let keys = heads_of(weights.key.forward(&normed)?, spec.kv_heads)?;
    let first = tokens - tokens.div_ceil(2);
    let profile = |head: usize| {
        let mut sums = vec![0.0f32; tokens / 2];
        let (queries, keys) = (queries.get(head)?, keys.get(head / spec.group())?);
        attention::pattern_rows(&queries, &keys, spec.scale[layer], first..tokens, |rows| {
            for (query, row) in rows.iter() {
                for (distance, sum) in sums.iter_mut().enumerate() {
                    *sum += row[query - distance];
                }
            }
        })?;
        sums.iter_mut().for_each(|sum| *sum /= (tokens - first) as f32);
        Ok(sums)
    };
    (0..spec.heads).map(profile).collect()
}
