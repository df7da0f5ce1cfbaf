//! From the normalised residual stream to the queries and keys of heads: projected, cut off, normalised, rotated, smeared.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{Decoder, LatentWeights, LayerWeights, indices, scaled};
use crate::model::{
    linear::Linear,
    norm::NormWeights,
    rotary::{Pairing, Rotary},
    spec::{NormOver, Positions, ReadBy},
    trace::LayerTrace,
};

/// What positions do to queries and keys.
#[derive(Default)]
pub struct Angles {
    /// Cosines and sines of each rotation there is, each `[tokens, size / 2]`.
    rotations: Vec<(Tensor, Tensor)>,
    /// Factors on queries, `[tokens, 1]`, where they grow.
    temperature: Option<Tensor>,
}

impl Decoder {
    /// What queries and keys are made of: the normalised residual stream, `[sequences * tokens, width]`, with positions
    /// added to it where they are not in it already.
    pub(super) fn placed(&self, normed: &Tensor, sequences: usize, start: usize) -> Result<Tensor> {
        match (&self.positions, &self.spec.positions) {
            (Some(positions), &Positions::Learned { offset, read_by: ReadBy::QueriesAndKeys }) => {
                let (rows, width) = normed.dims2()?;
                let at = indices(offset + start, rows / sequences);
                let apart = normed.reshape((sequences, rows / sequences, width))?;
                let placed = apart.broadcast_add(&positions.rows(&at, &self.device)?)?;
                Ok(placed.reshape((rows, width))?)
            }
            _ => Ok(normed.clone()),
        }
    }

    /// The queries of a layer, `[sequences, heads, tokens, head_size]`, rotated, of what [`Self::placed`] gives.
    pub(super) fn queries(
        &self,
        layer: usize,
        placed: &Tensor,
        sequences: usize,
        angles: &Angles,
    ) -> Result<Tensor> {
        let LayerWeights { query, query_norm, latent, .. } = &self.layers[layer];
        let flat = match latent.as_ref().and_then(|latent| latent.queries.as_ref()) {
            Some(made_of) => query.forward(&made_of.of(placed)?)?,
            None => query.forward(placed)?,
        };
        let queries = self.normed(layer, flat, query_norm.as_ref(), sequences, |queries| {
            match self.rotation(layer, angles) {
                Some((rotary, angles)) => rotate(rotary, rotary.pairing, &queries, angles),
                None => Ok(queries),
            }
        })?;
        match (&angles.temperature, &self.spec.attention.temperature) {
            (Some(factors), Some(temperature)) if temperature.layers[layer] => {
                Ok(queries.broadcast_mul(factors)?)
            }
            _ => Ok(queries),
        }
    }

    /// The keys of a layer, `[sequences, kv_heads, tokens, head_size]`, rotated and not yet smeared.
    pub(super) fn keys(
        &self,
        layer: usize,
        placed: &Tensor,
        sequences: usize,
        angles: &Angles,
    ) -> Result<Tensor> {
        let LayerWeights { key, key_norm, latent, .. } = &self.layers[layer];
        let flat = match latent {
            Some(latent) => self.keys_of(latent, key, placed)?,
            None => key.forward(placed)?,
        };
        self.normed(layer, flat, key_norm.as_ref(), sequences, |keys| match self.rotation(layer, angles) {
            None => Ok(keys),
            Some((rotary, angles)) if rotary.keys_otherwise => {
                let pairing = rotary.pairing.other();
                reordered(rotary, pairing, &rotate(rotary, pairing, &keys, angles)?)
            }
            Some((rotary, angles)) => rotate(rotary, rotary.pairing, &keys, angles),
        })
    }

    /// Keys `[rows, kv_heads * head_size]`, whose last numbers are the same for all heads.
    fn keys_of(&self, latent: &LatentWeights, key: &Linear, placed: &Tensor) -> Result<Tensor> {
        let (rows, heads) = (placed.dim(0)?, self.spec.kv_heads);
        let own = key.forward(&latent.keys.of(placed)?)?.reshape((rows, heads, ()))?;
        let shared = latent.rotated.forward(placed)?.reshape((rows, 1, ()))?;
        let shared = shared.broadcast_as((rows, heads, shared.dim(2)?))?.contiguous()?;
        Ok(Tensor::cat(&[own, shared], 2)?.reshape((rows, ()))?)
    }

    /// `[sequences * tokens, heads * head_size]`, cut off, normalised and rotated in the order of the family, as
    /// `[sequences, heads, tokens, head_size]`.
    fn normed(
        &self,
        layer: usize,
        flat: Tensor,
        norm: Option<&NormWeights>,
        sequences: usize,
        rotated: impl FnOnce(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let heads = flat.dim(1)? / self.spec.head_size;
        let clips_normed = self.spec.attention.clip.is_some_and(|clip| clip.after_norm);
        let flat = &if clips_normed { flat } else { self.clipped(flat)? };
        if !self.spec.attention.query_key_norm.is_some_and(|norm| norm.after_rotation) {
            let normed = self.normed_heads(flat, norm, sequences, heads)?;
            return rotated(if clips_normed { self.clipped(normed)? } else { normed });
        }
        let turned = rotated(split_heads(flat, sequences, [heads, self.spec.head_size])?)?;
        if self.spec.rotary(layer).is_none() {
            return Ok(turned);
        }
        let flat = turned.transpose(1, 2)?.contiguous()?.reshape(flat.dims())?;
        self.normed_heads(&flat, norm, sequences, heads)
    }

    pub(super) fn clipped(&self, flat: Tensor) -> Result<Tensor> {
        Ok(match self.spec.attention.clip {
            Some(clip) => flat.clamp(-clip.most, clip.most)?,
            None => flat,
        })
    }

    /// `[sequences * tokens, heads * head_size]`, normalised, as `[sequences, heads, tokens, head_size]`.
    fn normed_heads(
        &self,
        flat: &Tensor,
        norm: Option<&NormWeights>,
        sequences: usize,
        heads: usize,
    ) -> Result<Tensor> {
        let (Some(norm), Some(spec)) = (norm, self.spec.attention.query_key_norm) else {
            return split_heads(flat, sequences, [heads, self.spec.head_size]);
        };
        let apart = || flat.reshape(((), self.spec.head_size));
        let normed = match spec.over {
            NormOver::AllHeads => norm.apply(flat)?,
            NormOver::Head => norm.apply(&apart()?)?,
            NormOver::HeadWithItsGains => {
                let apart = apart()?;
                let divided = norm.centred(&apart)?.broadcast_div(&norm.divisors(&apart)?)?;
                divided.reshape(flat.dims())?.broadcast_mul(&norm.gain)?.broadcast_add(&norm.bias)?
            }
        };
        split_heads(&normed, sequences, [heads, self.spec.head_size])
    }

    /// The key at `start - 1` before it was smeared, `[1, kv_heads, 1, head_size]`: made again from the residual stream,
    /// so that the trace need not keep every key twice.
    pub(super) fn key_before(&self, layer: usize, store: &LayerTrace, start: usize) -> Result<Tensor> {
        let x = store.residual.view()?.narrow(0, start - 1, 1)?;
        let placed = self.placed(&self.layers[layer].norm.apply(&x)?, 1, start - 1)?;
        self.keys(layer, &placed, 1, &self.angles(start - 1, 1, start)?)
    }

    /// Queries `[heads, tokens, head_size]` and keys `[kv_heads, tokens, head_size]` of a layer at positions `0..tokens`,
    /// of a normalised residual stream `[tokens, width]` without positions. Keys are not smeared.
    pub fn queries_and_keys(&self, layer: usize, normed: &Tensor) -> Result<(Tensor, Tensor)> {
        let tokens = normed.dim(0)?;
        let placed = self.placed(normed, 1, 0)?;
        let angles = self.angles(0, tokens, tokens)?;
        let queries = self.queries(layer, &placed, 1, &angles)?;
        Ok((queries.squeeze(0)?, self.keys(layer, &placed, 1, &angles)?.squeeze(0)?))
    }

    /// What positions `start..start + tokens` of a sequence of `total` tokens do.
    pub(super) fn angles(&self, start: usize, tokens: usize, total: usize) -> Result<Angles> {
        let temperature = self.spec.attention.temperature.as_ref().map(|temperature| {
            let factors: Vec<f32> = (start..start + tokens).map(|at| temperature.factor(at)).collect();
            Tensor::from_vec(factors, (tokens, 1), &self.device)
        });
        let temperature = temperature.transpose()?;
        let Positions::Rotary { tables, .. } = &self.spec.positions else {
            return Ok(Angles { temperature, ..Angles::default() });
        };
        let positions: Vec<f32> = (start..start + tokens).map(|position| position as f32).collect();
        let positions = Tensor::from_vec(positions, (tokens, 1), &Device::Cpu)?;
        let table = |table: &Rotary| {
            let frequencies = Tensor::new(&*table.frequencies(total), &Device::Cpu)?.unsqueeze(0)?;
            let angles = positions.broadcast_mul(&frequencies)?;
            let placed =
                |x: Tensor| scaled(x, table.factor(total)).and_then(|x| Ok(x.to_device(&self.device)?));
            let turned = if table.backwards { angles.neg()? } else { angles };
            Ok((placed(turned.cos()?)?, placed(turned.sin()?)?))
        };
        Ok(Angles { rotations: tables.iter().map(table).collect::<Result<_>>()?, temperature })
    }

    /// The rotation of a layer and its cosines and sines, where there is one.
    fn rotation<'a>(
        &'a self,
        layer: usize,
        angles: &'a Angles,
    ) -> Option<(&'a Rotary, &'a (Tensor, Tensor))> {
        match &self.spec.positions {
            Positions::Rotary { tables, of_layer } => {
                of_layer[layer].map(|table| (&tables[table], &angles.rotations[table]))
            }
            _ => None,
        }
    }
}

/// `[sequences * tokens, heads * size]` as `[sequences, heads, tokens, size]`.
pub fn split_heads(flat: &Tensor, sequences: usize, [heads, size]: [usize; 2]) -> Result<Tensor> {
    let split = flat.reshape((sequences, (), heads, size))?;
    Ok(split.transpose(1, 2)?.contiguous()?)
}

/// Rotates queries or keys that are stored in that pairing, `[sequences, heads, tokens, head_size]`.
fn rotate(rotary: &Rotary, pairing: Pairing, x: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
    of_rotated(rotary, x, |x| {
        Ok(match pairing {
            Pairing::Halves => candle_nn::rotary_emb::rope(x, cos, sin)?,
            Pairing::Neighbours => candle_nn::rotary_emb::rope_i(x, cos, sin)?,
        })
    })
}

/// The numbers of heads that are stored in a pairing, in the order of the other one.
fn reordered(rotary: &Rotary, pairing: Pairing, x: &Tensor) -> Result<Tensor> {
    of_rotated(rotary, x, |x| {
        let (sequences, heads, tokens, size) = x.dims4()?;
        let sides = match pairing {
            Pairing::Halves => [2, size / 2],
            Pairing::Neighbours => [size / 2, 2],
        };
        let pairs = x.reshape((sequences * heads * tokens, sides[0], sides[1]))?;
        Ok(pairs.transpose(1, 2)?.contiguous()?.reshape(x.dims())?)
    })
}

/// `change` of the numbers of each head that are rotated, and the others as they are.
fn of_rotated(rotary: &Rotary, x: &Tensor, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    let (start, end) = (rotary.start, rotary.start + rotary.size);
    let rest = x.dim(3)? - end;
    if start == 0 && rest == 0 {
        return change(x);
    }
    let mut parts = vec![change(&x.narrow(3, start, rotary.size)?.contiguous()?)?];
    if start > 0 {
        parts.insert(0, x.narrow(3, 0, start)?.contiguous()?);
    }
    if rest > 0 {
        parts.push(x.narrow(3, end, rest)?.contiguous()?);
    }
    Ok(Tensor::cat(&parts, 3)?.contiguous()?)
}

/// Mixes each of `keys`, `[sequences, heads, tokens, head_size]`, with the one before it; `before` comes before the first,
/// and is the first itself at the start of a sequence, which then stays as it is.
pub fn smear(keys: &Tensor, before: &Tensor, share: &Tensor) -> Result<Tensor> {
    let earlier = Tensor::cat(&[before, &keys.narrow(2, 0, keys.dim(2)? - 1)?], 2)?;
    Ok((keys + (earlier - keys)?.broadcast_mul(share)?)?)
}
