//! Attention by tiles of query rows: the one loop that rows, scores and pooled maps come from.
//!
//! A tile of scores is made, softmaxed, shown to whoever watches, multiplied with the values and forgotten; the
//! matrix of a whole head exists only where somebody asked to keep it.

use anyhow::Result;
use candle_core::{CpuStorage, DType, Storage, Tensor};
use rayon::prelude::*;

use super::{
    alibi,
    host::{self, Target},
};

/// Query rows in a tile: with 2,000 keys it is 1 MB of scores, which stays in a core's cache.
const TILE: usize = 128;

/// How scores become attention in one layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Factor on query . key.
    pub scale: f32,
    /// Scores are bent to stay below: `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// By how much a head's score falls with each position that its key lies back, `[heads]`; empty without ALiBi.
    pub slopes: Vec<f32>,
    /// Whether scores do not fall by `slope * distance`, but grow with the key's position as Falcon computes it,
    /// [`alibi::rounded`] times the scale: much the same after the softmax, but for the rounding.
    pub rounded: bool,
    /// How many keys, its own among them, a query sees at most.
    pub window: Option<usize>,
    /// The score of each head that belongs to no key, `[heads]`; empty without sinks.
    pub sinks: Vec<f32>,
}

impl Rule {
    /// What holds for one head.
    fn of_head(&self, head: usize) -> HeadRule {
        HeadRule {
            scale: self.scale,
            cap: self.cap,
            slope: self.slopes.get(head).copied(),
            rounded: self.rounded,
            window: self.window,
            sink: self.sinks.get(head).copied(),
        }
    }
}

/// [`Rule`] of one head.
#[derive(Clone, Copy)]
struct HeadRule {
    scale: f32,
    cap: Option<f32>,
    slope: Option<f32>,
    rounded: bool,
    window: Option<usize>,
    sink: Option<f32>,
}

impl HeadRule {
    /// The first key that a query sees.
    fn first_key(&self, query: usize) -> usize {
        self.window.map_or(0, |window| (query + 1).saturating_sub(window))
    }

    /// What ALiBi adds to a score.
    fn bias(&self, slope: f32, query: usize, key: usize) -> f32 {
        match self.rounded {
            true => self.scale * alibi::rounded(slope, key),
            false => -slope * (query - key) as f32,
        }
    }

    /// Turns the scores of queries from `first` on, `[rows, keys]` with the factor applied, into attention in place.
    fn attention(&self, scores: &mut [f32], keys: usize, first: usize) {
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let query = first + row;
            let (visible, hidden) = scores.split_at_mut(query + 1);
            let (unseen, visible) = visible.split_at_mut(self.first_key(query));
            if let Some(cap) = self.cap {
                host::bend(visible, cap);
            }
            if let Some(slope) = self.slope {
                for (key, score) in (self.first_key(query)..).zip(visible.iter_mut()) {
                    *score += self.bias(slope, query, key);
                }
            }
            host::softmax(visible, self.sink);
            unseen.fill(0.0);
            hidden.fill(0.0);
        }
    }
}

/// Which pattern a tile belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Layer.
    pub layer: usize,
    /// Sequence of the batch.
    pub sequence: usize,
    /// Query head.
    pub head: usize,
}

/// Some consecutive rows of a head's attention pattern.
pub struct Rows<'a> {
    /// Position of the first row's query.
    pub first: usize,
    /// Numbers in a row of `weights`; keys from `query + 1` on are 0.
    pub keys: usize,
    /// The first key that any of the queries sees; what comes before is 0.
    pub seen_from: usize,
    /// `[rows, keys]`.
    pub weights: &'a [f32],
}

impl Rows<'_> {
    /// Each query with its attention over keys `0..=query`.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.weights.chunks_exact(self.keys).enumerate().map(|(row, weights)| {
            let query = self.first + row;
            (query, &weights[..=query])
        })
    }
}

/// Sees every tile of every head as a pass makes it; called from several threads, for one head in order of queries.
pub type Watch<'a> = &'a (dyn Fn(Place, &Rows<'_>) + Sync);

/// The queries, keys and values of one layer, after rotation; each `[sequences, heads, tokens, head_size]`.
pub struct Inputs<'a> {
    /// Queries, whose first is at position `first`.
    pub queries: &'a Tensor,
    /// Keys from position 0 on.
    pub keys: &'a Tensor,
    /// Values from position 0 on.
    pub values: &'a Tensor,
    /// Position of the first query.
    pub first: usize,
    /// How scores become attention.
    pub rule: &'a Rule,
}

/// Attention of one layer: each head's weighted sum of values, `[sequences, queries, heads * head_size]`.
///
/// `watch` sees the patterns on the way; with `mix` false only that is done and nothing is returned.
pub fn attend(
    layer: usize,
    inputs: &Inputs<'_>,
    watch: Option<Watch<'_>>,
    mix: bool,
) -> Result<Option<Tensor>> {
    if inputs.queries.device().is_cpu() {
        attend_on_host(layer, inputs, watch, mix)
    } else {
        attend_on_device(layer, inputs, watch, mix)
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
    Ok(tensor.to_device(&candle_core::Device::Cpu)?)
}

/// Makes the attention of `rows` queries from position `first` on and shows it.
fn tile(
    q: &[f32],
    k: &[f32],
    size: usize,
    first: usize,
    rows: usize,
    rule: HeadRule,
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
        rule.attention(scores, keys, first);
        see(&Rows { first, keys, seen_from: skipped, weights: scores });
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

fn attend_on_host(
    layer: usize,
    inputs: &Inputs<'_>,
    watch: Option<Watch<'_>>,
    mix: bool,
) -> Result<Option<Tensor>> {
    let (sequences, heads, tokens, size) = inputs.queries.dims4()?;
    let group = heads / inputs.keys.dim(1)?;
    let (queries, keys, values) =
        (Heads::of(inputs.queries), Heads::of(inputs.keys), Heads::of(inputs.values));
    let mut out = vec![0.0f32; if mix { sequences * tokens * heads * size } else { 0 }];
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
                                    watch(place, tile);
                                }
                                if mix {
                                    let target = &target;
                                    let column = ((sequence * tokens + start) * heads + head) * size;
                                    assert!(v.len() >= tile.keys * size, "a tile reaches past its values");
                                    // SAFETY: `weights` is `[rows, keys]` and `v` holds that many values; the columns of
                                    // this head in these rows of `out` are written by this task alone.
                                    unsafe {
                                        host::product(
                                            [rows, tile.keys - tile.seen_from, size],
                                            (tile.weights.as_ptr().add(tile.seen_from), tile.keys, 1),
                                            (v.as_ptr().add(tile.seen_from * size), size, 1),
                                            (target.0.add(column), heads * size),
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
        .then(|| Tensor::from_vec(out, (sequences, tokens, heads * size), inputs.queries.device()))
        .transpose()?)
}

fn attend_on_device(
    layer: usize,
    inputs: &Inputs<'_>,
    watch: Option<Watch<'_>>,
    mix: bool,
) -> Result<Option<Tensor>> {
    let (sequences, heads, tokens, size) = inputs.queries.dims4()?;
    let kv_heads = inputs.keys.dim(1)?;
    let group = heads / kv_heads;
    let (device, rule) = (inputs.queries.device(), inputs.rule);
    let mut mixed = Vec::new();
    for start in (0..tokens).step_by(TILE) {
        let rows = TILE.min(tokens - start);
        let first = inputs.first + start;
        let seen = first + rows;
        // Query heads of a group stand below one another, so that keys and values need not be repeated.
        let q = inputs.queries.narrow(2, start, rows)?.reshape((sequences * kv_heads, group * rows, size))?;
        let k = inputs.keys.narrow(2, 0, seen)?.reshape((sequences * kv_heads, seen, size))?;
        let scores = (q.matmul(&k.transpose(1, 2)?.contiguous()?)? * f64::from(rule.scale))?;
        let scores = scores.reshape((sequences, heads, rows, seen))?.to_dtype(DType::F32)?;
        let scores = match rule.cap {
            Some(cap) => ((scores / f64::from(cap))?.tanh()? * f64::from(cap))?,
            None => scores,
        };
        // What is added to a score: what ALiBi does, and to those of hidden keys what hides them.
        let head_rule = rule.of_head(0);
        let added = |slope: f32, row: usize, key: usize| match first + row {
            query if key > query || head_rule.first_key(query) > key => f32::NEG_INFINITY,
            query => head_rule.bias(slope, query, key),
        };
        let slopes = if rule.slopes.is_empty() { &[0.0][..] } else { &rule.slopes };
        let added: Vec<f32> = slopes
            .iter()
            .flat_map(|&slope| (0..rows).flat_map(move |row| (0..seen).map(move |key| (slope, row, key))))
            .map(|(slope, row, key)| added(slope, row, key))
            .collect();
        let added = Tensor::from_vec(added, (1, slopes.len(), rows, seen), device)?;
        let mut scores = scores.broadcast_add(&added)?;
        if !rule.sinks.is_empty() {
            let sinks = Tensor::new(rule.sinks.as_slice(), device)?.reshape((1, heads, 1, 1))?;
            scores =
                Tensor::cat(&[scores, sinks.broadcast_as((sequences, heads, rows, 1))?.contiguous()?], 3)?;
        }
        let weights = candle_nn::ops::softmax_last_dim(&scores)?.narrow(3, 0, seen)?.contiguous()?;
        if let Some(watch) = watch {
            let weights = weights.flatten_all()?.to_vec1::<f32>()?;
            for (index, weights) in weights.chunks_exact(rows * seen).enumerate() {
                let place = Place { layer, sequence: index / heads, head: index % heads };
                watch(place, &Rows { first, keys: seen, seen_from: 0, weights });
            }
        }
        if mix {
            let v = inputs.values.narrow(2, 0, seen)?.reshape((sequences * kv_heads, seen, size))?;
            let out = weights.reshape((sequences * kv_heads, group * rows, seen))?.matmul(&v)?;
            let out = out.reshape((sequences, heads, rows, size))?.transpose(1, 2)?;
            mixed.push(out.reshape((sequences, rows, heads * size))?);
        }
    }
    Ok(mix.then(|| Tensor::cat(&mixed, 1)).transpose()?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use candle_core::Device;

    use super::*;

    #[test]
    fn the_accelerator_s_way_computes_what_the_processor_s_does() {
        // More queries than a tile, a group of heads to each key head, queries that begin after a cache.
        let (sequences, heads, kv_heads, tokens, first, size) = (2, 4, 2, TILE + 9, 5, 8);
        let random =
            |heads, tokens| Tensor::randn(0f32, 1.0, (sequences, heads, tokens, size), &Device::Cpu).unwrap();
        let (queries, keys) = (random(heads, tokens), random(kv_heads, first + tokens));
        let values = random(kv_heads, first + tokens);
        let plain = Rule { scale: 0.4, ..Rule::default() };
        let slopes = vec![0.5, 0.25, 0.125, 0.0];
        let rules = [
            Rule { window: Some(7), ..plain.clone() },
            Rule { window: Some(TILE + 3), cap: Some(1.5), ..plain.clone() },
            Rule { slopes: slopes.clone(), ..plain.clone() },
            Rule { slopes, rounded: true, ..plain.clone() },
            Rule { sinks: vec![-1.0, 0.0, 1.0, 5.0], ..plain.clone() },
            plain,
        ];
        for rule in &rules {
            let inputs = Inputs { queries: &queries, keys: &keys, values: &values, first, rule };
            both_ways_agree(&inputs);
        }
    }

    fn both_ways_agree(inputs: &Inputs<'_>) {
        let (sequences, heads, tokens, _) = inputs.queries.dims4().unwrap();
        type Way = fn(usize, &Inputs<'_>, Option<Watch<'_>>, bool) -> Result<Option<Tensor>>;
        let run = |way: Way| {
            let seen = Mutex::new(std::collections::BTreeMap::new());
            let watch = |place: Place, rows: &Rows<'_>| {
                for (query, row) in rows.iter() {
                    seen.lock().unwrap().insert((place.sequence, place.head, query), row.to_vec());
                }
            };
            let out = way(0, inputs, Some(&watch), true).unwrap().unwrap();
            (out.flatten_all().unwrap().to_vec1::<f32>().unwrap(), seen.into_inner().unwrap())
        };
        let ((host, host_rows), (device, device_rows)) = (run(attend_on_host), run(attend_on_device));
        assert_eq!(host_rows.len(), sequences * heads * tokens);
        for (place, row) in &host_rows {
            let sum = row.iter().sum::<f32>();
            assert_eq!((sum - 1.0).abs() < 1e-5, inputs.rule.sinks.is_empty(), "{place:?} sums to {sum}");
            for (a, b) in row.iter().zip(&device_rows[place]) {
                assert!((a - b).abs() < 1e-6, "{place:?}: {a} and {b}");
            }
        }
        for (a, b) in host.iter().zip(&device) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
}
