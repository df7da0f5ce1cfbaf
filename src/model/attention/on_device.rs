//! Attention on an accelerator: a tile of all heads at a time, in its own memory.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::{Attention, Inputs, Rule, Tile, Watch};

/// Scores in a tile, 256 MB of them.
const SCORES: usize = 1 << 26;

/// Numbers of masks that are kept.
const MASKS: usize = 1 << 24;

/// What a mask depends on: its rows, their first query, the keys, the window, whether that does not slide.
type Geometry = ([usize; 4], bool);

/// An accelerator's way.
pub struct OnDevice {
    /// Most scores in a tile.
    scores: usize,
    masks: Mutex<Vec<(Geometry, Tensor)>>,
    crossed: AtomicU64,
}

impl Default for OnDevice {
    fn default() -> Self {
        Self { scores: SCORES, masks: Mutex::default(), crossed: AtomicU64::new(0) }
    }
}

impl Attention for OnDevice {
    fn attend(
        &self,
        layer: usize,
        inputs: &Inputs<'_>,
        watch: Option<&dyn Watch>,
        mix: bool,
    ) -> Result<Option<Tensor>> {
        let (sequences, heads, tokens, size) = inputs.queries.dims4()?;
        let (kv_heads, value_size) = (inputs.keys.dim(1)?, inputs.values.dim(3)?);
        let group = heads / kv_heads;
        let most = self.scores / (sequences * heads * (inputs.first + tokens));
        let step = most.clamp(1, tokens.max(1));
        let mut mixed = Vec::new();
        for start in (0..tokens).step_by(step) {
            let rows = step.min(tokens - start);
            let first = inputs.first + start;
            let keys = first + rows;
            // Query heads of a group stand below one another, so that keys and values need not be repeated.
            let q = inputs.queries.narrow(2, start, rows)?;
            let q = q.reshape((sequences * kv_heads, group * rows, size))?;
            let k = inputs.keys.narrow(2, 0, keys)?.reshape((sequences * kv_heads, keys, size))?;
            let scores = (q * f64::from(inputs.rule.scale))?.matmul(&k.t()?)?;
            let scores = scores.reshape((sequences, heads, rows, keys))?;
            let weights = self.weights(scores, first, inputs.rule)?;
            let shares = match inputs.rule.gated {
                true => Some(weights.sum_keepdim(3)?.maximum(f64::from(f32::MIN_POSITIVE))?),
                false => None,
            };
            let weights = self.uncut(weights, first, inputs.rule, true, 0.0)?;
            if let Some(watch) = watch {
                let shown = match &shares {
                    Some(shares) => weights.broadcast_div(shares)?,
                    None => weights.clone(),
                };
                watch.tile(&Tile { layer, first, weights: &shown, crossed: &self.crossed })?;
            }
            if mix {
                let v =
                    inputs.values.narrow(2, 0, keys)?.reshape((sequences * kv_heads, keys, value_size))?;
                let out = weights.reshape((sequences * kv_heads, group * rows, keys))?.matmul(&v)?;
                let out = out.reshape((sequences, heads, rows, value_size))?.transpose(1, 2)?;
                mixed.push(out.reshape((sequences, rows, heads * value_size))?);
            }
        }
        Ok(match (mix, mixed.as_slice()) {
            (false, _) => None,
            (true, [all]) => Some(all.clone()),
            (true, parts) => Some(Tensor::cat(parts, 1)?),
        })
    }

    fn crossed(&self) -> u64 {
        self.crossed.load(Relaxed)
    }
}

impl OnDevice {
    /// With tiles of at most so many scores.
    #[cfg(test)]
    pub fn with_scores(scores: usize) -> Self {
        Self { scores, ..Self::default() }
    }

    /// Turns scores of queries from `first` on, `[sequences, heads, rows, keys]` with the factor applied, into attention.
    fn weights(&self, scores: Tensor, first: usize, rule: &Rule) -> Result<Tensor> {
        let (sequences, heads, rows, keys) = scores.dims4()?;
        #[cfg(feature = "cuda")]
        if scores.device().is_cuda() && rule.cuts.is_empty() {
            self.crossed.fetch_add(4 * (rule.slopes.len() + rule.sinks.len()) as u64, Relaxed);
            super::on_gpu::to_attention(&scores, first, rule)?;
            return Ok(scores);
        }
        let device = &scores.device().clone();
        let mut scores = match rule.cap {
            Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
            None => scores,
        };
        if !rule.slopes.is_empty() {
            scores = scores.broadcast_add(&self.alibi(rule, first, [rows, keys], device)?)?;
        }
        if rows > 1 || rule.window.is_some_and(|window| window < keys) {
            scores = scores.broadcast_add(&self.mask([rows, first, keys], rule, device)?)?;
        }
        // What is cut all but vanishes, so that a row of which nothing is left has numbers too; and then it does.
        let scores = self.uncut(scores, first, rule, false, f32::MIN / 2.0)?;
        let kept = |weights| self.uncut(weights, first, rule, false, 0.0);
        if rule.sinks.is_empty() {
            return kept(candle_nn::ops::softmax_last_dim(&scores)?);
        }
        let sinks = self.numbers(&rule.sinks, device)?.reshape((1, heads, 1, 1))?;
        let sinks = sinks.broadcast_as((sequences, heads, rows, 1))?.contiguous()?;
        let weights = candle_nn::ops::softmax_last_dim(&Tensor::cat(&[scores, sinks], 3)?)?;
        kept(weights.narrow(3, 0, keys)?.contiguous()?)
    }

    /// `x`, `[sequences, heads, rows, keys]`, with `value` in the place of what is cut before the softmax, or after it.
    fn uncut(&self, x: Tensor, first: usize, rule: &Rule, after: bool, value: f32) -> Result<Tensor> {
        if rule.cuts.iter().all(|cut| cut.after != after) {
            return Ok(x);
        }
        let (_, heads, rows, keys) = x.dims4()?;
        let mut seen = vec![1u8; heads * rows * keys];
        for cut in rule.cuts.iter().filter(|cut| cut.after == after && cut.head < heads) {
            for row in (0..rows).filter(|row| cut.is_of(first + row)) {
                seen[(cut.head * rows + row) * keys + cut.key] = 0;
            }
        }
        self.crossed.fetch_add(seen.len() as u64, Relaxed);
        let seen = Tensor::from_vec(seen, (1, heads, rows, keys), x.device())?;
        let seen = seen.broadcast_as(x.shape())?.contiguous()?;
        Ok(seen.where_cond(&x, &Tensor::full(value, x.shape(), x.device())?)?)
    }

    /// What hides keys when it is added to scores, `[rows, keys]`: made once for the layers that have it in common.
    fn mask(&self, [rows, first, keys]: [usize; 3], rule: &Rule, device: &Device) -> Result<Tensor> {
        let window = rule.window.unwrap_or(keys).min(keys);
        let geometry = ([rows, first, keys, window], rule.chunked);
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = masks.iter().find(|(made_for, _)| *made_for == geometry) {
            return Ok(mask.clone());
        }
        let distance = self.distances(first, [rows, keys], device)?;
        let near = match rule.chunked {
            true => self.of_one_chunk(first, [rows, keys], window, device)?,
            false => distance.lt(window as f64)?,
        };
        let seen = (distance.ge(0.0)? * near)?;
        let hidden = Tensor::full(f32::NEG_INFINITY, (rows, keys), device)?;
        let mask = seen.where_cond(&hidden.zeros_like()?, &hidden)?;
        if masks.iter().map(|(_, mask)| mask.elem_count()).sum::<usize>() > MASKS {
            masks.clear();
        }
        masks.push((geometry, mask.clone()));
        Ok(mask)
    }

    /// Whether each key is in the chunk of each query, `[rows, keys]`.
    fn of_one_chunk(
        &self,
        first: usize,
        [rows, keys]: [usize; 2],
        size: usize,
        device: &Device,
    ) -> Result<Tensor> {
        let starts: Vec<f32> = (first..first + rows).map(|query| (query / size * size) as f32).collect();
        let starts = self.numbers(&starts, device)?.reshape((rows, 1))?;
        let keys = self.positions(0..keys, device)?.reshape((1, keys))?;
        Ok(keys.broadcast_ge(&starts)?)
    }

    /// By how many positions each key lies behind each query, `[rows, keys]`.
    fn distances(&self, first: usize, [rows, keys]: [usize; 2], device: &Device) -> Result<Tensor> {
        let queries = self.positions(first..first + rows, device)?.reshape((rows, 1))?;
        Ok(queries.broadcast_sub(&self.positions(0..keys, device)?.reshape((1, keys))?)?)
    }

    /// What ALiBi adds to scores, to be broadcast to `[1, heads, rows, keys]`.
    fn alibi(&self, rule: &Rule, first: usize, [rows, keys]: [usize; 2], device: &Device) -> Result<Tensor> {
        let slopes = self.numbers(&rule.slopes, device)?.reshape((1, (), 1, 1))?;
        if rule.rounded {
            let positions = self.positions(0..keys, device)?.reshape((1, 1, 1, keys))?;
            let half = slopes.to_dtype(DType::BF16)?.broadcast_mul(&positions.to_dtype(DType::BF16)?)?;
            return Ok((half.to_dtype(DType::F32)? * f64::from(rule.scale))?);
        }
        let distances = self.distances(first, [rows, keys], device)?.reshape((1, 1, rows, keys))?;
        Ok(slopes.broadcast_mul(&distances.neg()?)?)
    }

    fn positions(&self, range: std::ops::Range<usize>, device: &Device) -> Result<Tensor> {
        self.numbers(&range.map(|position| position as f32).collect::<Vec<_>>(), device)
    }

    /// Numbers of the processor's memory, `[count]`.
    fn numbers(&self, numbers: &[f32], device: &Device) -> Result<Tensor> {
        self.crossed.fetch_add(4 * numbers.len() as u64, Relaxed);
        Ok(Tensor::new(numbers, device)?)
    }
}
