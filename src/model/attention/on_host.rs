//! Attention on the processor: a head at a time, on as many threads as there are.

use anyhow::Result;
use candle_core::{CpuStorage, Device, Storage, Tensor};
use rayon::prelude::*;

use super::{Attention, HeadRule, Inputs, Place, Rows, Rule, Watch};
use crate::model::host::{self, Target};

/// Query rows in a tile: with 2,000 keys it is 1 MB of scores, which stays in a core's cache.
const TILE: usize = 128;

/// The processor's way.
pub struct OnHost;

impl Attention for OnHost {
    fn attend(
        &self,
        layer: usize,
        inputs: &Inputs<'_>,
        watch: Option<&dyn Watch>,
        mix: bool,
    ) -> Result<Option<Tensor>> {
        let (sequences, heads, tokens, size) = inputs.queries.dims4()?;
        let value_size = inputs.values.dim(3)?;
        let group = heads / inputs.keys.dim(1)?;
        let (queries, keys, values) =
            (Heads::of(inputs.queries), Heads::of(inputs.keys), Heads::of(inputs.values));
        let mut out = vec![0.0f32; if mix { sequences * tokens * heads * value_size } else { 0 }];
        let target = Target(out.as_mut_ptr());
        queries.with(|q| {
            keys.with(|k| {
                values.with(|v| {
                    (0..sequences * heads).into_par_iter().for_each(|index| {
                        let (sequence, head) = (index / heads, index % heads);
                        let place = Place { layer, sequence, head };
                        let (k, v) = (keys.head(k, index / group, 0), values.head(v, index / group, 0));
                        for start in (0..tokens).step_by(TILE) {
                            let rows = TILE.min(tokens - start);
                            let q = queries.head(q, index, start);
                            tile(
                                q,
                                k,
                                size,
                                inputs.first + start,
                                rows,
                                inputs.rule.of_head(head),
                                &mut |tile| {
                                    if let Some(watch) = watch {
                                        watch.rows(place, tile);
                                    }
                                    if mix {
                                        let target = &target;
                                        let gated = gated(tile);
                                        let weights = gated.as_deref().unwrap_or(tile.weights);
                                        let column =
                                            ((sequence * tokens + start) * heads + head) * value_size;
                                        assert!(
                                            v.len() >= tile.keys * value_size,
                                            "a tile reaches past its values"
                                        );
                                        // SAFETY: `weights` is `[rows, keys]` and `v` holds that many values; the columns of
                                        // this head in these rows of `out` are written by this task alone.
                                        unsafe {
                                            host::product(
                                                [rows, tile.keys - tile.seen_from, value_size],
                                                (weights.as_ptr().add(tile.seen_from), tile.keys, 1),
                                                (v.as_ptr().add(tile.seen_from * value_size), value_size, 1),
                                                (target.0.add(column), heads * value_size),
                                                1.0,
                                            );
                                        }
                                    }
                                },
                            );
                        }
                    });
                })
            })
        })???;
        Ok(mix
            .then(|| Tensor::from_vec(out, (sequences, tokens, heads * value_size), inputs.queries.device()))
            .transpose()?)
    }
}

/// Rows `range` of the pattern of head `head` of a layer with that rule, shown to `see` tile by tile.
///
/// `queries` is `[tokens, head_size]`, `keys` `[tokens, head_size]`, both from position 0 on.
pub fn pattern_rows(
    queries: &Tensor,
    keys: &Tensor,
    (rule, head): (&Rule, usize),
    range: std::ops::Range<usize>,
    mut see: impl FnMut(&Rows<'_>),
) -> Result<()> {
    let (queries, keys) = (on_host(queries)?, on_host(keys)?);
    let (queries, keys) = (Heads::of(&queries), Heads::of(&keys));
    let rule = rule.of_head(head);
    queries.with(|q| {
        keys.with(|k| {
            for first in range.clone().step_by(TILE) {
                let rows = TILE.min(range.end - first);
                let (q, k) = (queries.head(q, 0, first), keys.head(k, 0, 0));
                tile(q, k, queries.size, first, rows, rule, &mut see);
            }
        })
    })?
}

/// A copy in the processor's memory, or the tensor itself where it is there already.
fn on_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?)
}

/// The weights of values in rows that a gate closes, `[rows, keys]`; `None` where there is none.
fn gated(rows: &Rows<'_>) -> Option<Vec<f32>> {
    let mut weights = (!rows.shares.is_empty()).then(|| rows.weights.to_vec())?;
    for (row, share) in weights.chunks_exact_mut(rows.keys).zip(rows.shares) {
        row.iter_mut().for_each(|weight| *weight *= share);
    }
    Some(weights)
}

/// Makes the attention of `rows` queries from position `first` on and shows it.
fn tile(
    q: &[f32],
    k: &[f32],
    size: usize,
    first: usize,
    rows: usize,
    rule: HeadRule<'_>,
    see: &mut dyn FnMut(&Rows<'_>),
) {
    let keys = first + rows;
    // Keys that no query of the tile sees are left out.
    let skipped = rule.first_key(first);
    host::with_scratch(rows * keys, |scores| {
        assert!(q.len() >= rows * size && k.len() >= keys * size, "a tile reaches past its queries or keys");
        // SAFETY: the sizes were checked just above; `scores` holds `rows * keys` numbers.
        unsafe {
            host::product(
                [rows, size, keys - skipped],
                (q.as_ptr(), size, 1),
                (k.as_ptr().add(skipped * size), 1, size),
                (scores.as_mut_ptr().add(skipped), keys),
                rule.scale,
            );
        }
        let shares = rule.attention(scores, keys, first);
        see(&Rows { first, keys, seen_from: skipped, weights: scores, shares: &shares });
    });
}

/// The numbers of a tensor `[.., heads, tokens, head_size]` whose last two dimensions are contiguous.
struct Heads<'a> {
    tensor: &'a Tensor,
    size: usize,
    tokens: usize,
    step: usize,
    start: usize,
}

impl<'a> Heads<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        let dims = tensor.dims();
        let (tokens, size) = (dims[dims.len() - 2], dims[dims.len() - 1]);
        let stride = &tensor.stride()[dims.len() - 2..];
        assert!(stride[1] == 1 && (tokens < 2 || stride[0] == size), "the numbers of a head lie apart");
        // The stride of a dimension of one head says nothing; only a view of a growing tensor has room between heads.
        let step = if tensor.is_contiguous() { tokens * size } else { tensor.stride()[dims.len() - 3] };
        Self { tensor, size, tokens, step, start: tensor.layout().start_offset() }
    }

    fn with<R>(&self, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
        let (storage, _) = self.tensor.storage_and_layout();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(numbers)) => Ok(work(numbers)),
            _ => anyhow::bail!("an f32 tensor on the processor was expected"),
        }
    }

    /// Tokens from `first` on of head `index`, which counts through the sequences.
    fn head<'n>(&self, numbers: &'n [f32], index: usize, first: usize) -> &'n [f32] {
        let start = self.start + index * self.step;
        &numbers[start + first * self.size..start + self.tokens * self.size]
    }
}
