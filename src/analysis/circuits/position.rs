//! What a head's attention owes to positions alone.

use std::ops::Range;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::{
    factors::{self, Embedding},
    steps,
};
use crate::{
    analysis::explain,
    head::{Head, PerHead},
    model::{
        attention,
        decoder::{Control, Decoder},
        norm::NormWeights,
        spec::NormKind,
    },
};

/// Positions that a positional profile is taken over, as far as the context has them: queries are those of the second
/// half, distances as many.
pub const POSITIONS: usize = 64;

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
        let mut averaging = Averaging::new(decoder, which);
        steps(averaging.steps(), control, |at| averaging.step(decoder, at))?;
        averaging.finish(decoder)
    }

    /// What a layer reads at positions `0..tokens`, `[tokens, width]`, normalised as the first layer normalises it: the
    /// mean embedding and the position, over the root of their mean square over the vocabulary.
    fn normed(&self, decoder: &Decoder, layer: usize, tokens: usize) -> Result<Tensor> {
        let x = match decoder.position_rows(0, tokens)? {
            Some(positions) => positions.to_device(&Device::Cpu)?.broadcast_add(&self.mean)?,
            None => self.mean.broadcast_as((tokens, decoder.spec.width))?.contiguous()?,
        };
        let norm = &decoder.layers[layer].norm;
        let divisors = match norm.kind {
            NormKind::None => Tensor::ones((tokens, 1), DType::F32, &Device::Cpu)?,
            _ => (mean_squares(norm, &x)? + (self.variance + f64::from(norm.epsilon)))?.sqrt()?,
        };
        let (gain, bias) = (norm.gain.to_device(&Device::Cpu)?, norm.bias.to_device(&Device::Cpu)?);
        let scaled = norm.centred(&x)?.broadcast_div(&divisors)?;
        Ok(scaled.broadcast_mul(&gain)?.broadcast_add(&bias)?)
    }
}

/// An [`Average`] that is being taken, a tile of the vocabulary in each step.
pub struct Averaging {
    which: Embedding,
    tiles: Vec<Range<usize>>,
    sum: Vec<f64>,
    squares: f64,
}

impl Averaging {
    /// Nothing summed yet.
    pub fn new(decoder: &Decoder, which: Embedding) -> Self {
        let tiles = factors::tiles(decoder.spec.vocabulary).collect();
        Self { which, tiles, sum: vec![0.0; decoder.spec.width], squares: 0.0 }
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.tiles.len()
    }

    /// Takes step `at`.
    pub fn step(&mut self, decoder: &Decoder, at: usize) -> Result<()> {
        let rows = factors::embedding(decoder, self.which, self.tiles[at].clone())?;
        for (sum, part) in self.sum.iter_mut().zip(rows.sum(0)?.to_vec1::<f32>()?) {
            *sum += f64::from(part);
        }
        self.squares +=
            f64::from(mean_squares(&decoder.layers[0].norm, &rows)?.sum_all()?.to_scalar::<f32>()?);
        Ok(())
    }

    /// The average, once every step has been taken.
    pub fn finish(self, decoder: &Decoder) -> Result<Average> {
        let vocabulary = decoder.spec.vocabulary as f64;
        let mean: Vec<f32> = self.sum.into_iter().map(|sum| (sum / vocabulary) as f32).collect();
        let mean = Tensor::from_vec(mean, (1, decoder.spec.width), &Device::Cpu)?;
        let of_mean = f64::from(mean_squares(&decoder.layers[0].norm, &mean)?.sum_all()?.to_scalar::<f32>()?);
        Ok(Average { mean, variance: self.squares / vocabulary - of_mean })
    }
}

/// The distance that each head attends to most and how much, `(head, distance, attention)`, the most first.
pub fn peaks(profiles: &PerHead<Vec<f32>>) -> Vec<(Head, usize, f32)> {
    let peak = |(head, profile): (Head, &Vec<f32>)| {
        let (distance, share) = explain::strongest(profile);
        (head, distance, share)
    };
    let mut peaks: Vec<_> = profiles.iter().map(peak).collect();
    peaks.sort_by(|a, b| b.2.total_cmp(&a.2));
    peaks
}

/// The mean square of each row, `[rows, 1]`.
fn mean_squares(norm: &NormWeights, x: &Tensor) -> Result<Tensor> {
    Ok(norm.centred(x)?.sqr()?.mean_keepdim(1)?)
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
    let normed = average.normed(decoder, layer, tokens)?.to_device(&decoder.device)?;
    let (queries, keys) = decoder.queries_and_keys(layer, &normed)?;
    let first = tokens - tokens.div_ceil(2);
    let profile = |head: usize| {
        let mut sums = vec![0.0f32; tokens / 2];
        let (queries, keys) = (queries.get(head)?, keys.get(head / spec.group())?);
        attention::pattern_rows(&queries, &keys, (&decoder.rules[layer], head), first..tokens, |rows| {
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
