//! Attention by tiles of query rows: the one loop that rows, scores and pooled maps come from.
//!
//! A tile of scores is made, softmaxed, shown to whoever watches, multiplied with the values and forgotten; the
//! matrix of a whole head exists only where somebody asked to keep it. The processor and an accelerator each have a way of
//! their own to do so.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use anyhow::Result;
use candle_core::{Device, Shape, Tensor, WithDType};

use super::{alibi, host};

mod on_device;
#[cfg(feature = "cuda")]
mod on_gpu;
mod on_host;

pub use self::on_host::pattern_rows;

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
    /// Whether the window does not slide: it begins anew after as many tokens, and a query sees what came since.
    pub chunked: bool,
    /// The score of each head that belongs to no key, `[heads]`; empty without sinks.
    pub sinks: Vec<f32>,
    /// Whether rows are shown without it, as the softmax over keys, and it closes what the head puts out by as much as it would
    /// have taken: see [`Rows::shares`].
    pub gated: bool,
    /// Edges that do not count.
    pub cuts: Vec<Cut>,
}

/// An edge of a pattern, or a whole column, that does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The query head.
    pub head: usize,
    /// The query's position; every query's where there is none.
    pub query: Option<usize>,
    /// The key's position.
    pub key: usize,
    /// Whether it is cut after the softmax, so that the rest of the row stays as it was; before it, the rest is renormalised. A
    /// row of which nothing is left is zero.
    pub after: bool,
}

impl Cut {
    /// Whether it holds for a query.
    fn is_of(&self, query: usize) -> bool {
        self.key <= query && self.query.is_none_or(|only| only == query)
    }
}

impl Rule {
    /// The first key that a query sees.
    pub fn first_key(&self, query: usize) -> usize {
        self.of_head(0).first_key(query)
    }

    /// What holds for one head.
    fn of_head(&self, head: usize) -> HeadRule<'_> {
        HeadRule {
            head,
            cuts: &self.cuts,
            scale: self.scale,
            cap: self.cap,
            slope: self.slopes.get(head).copied(),
            rounded: self.rounded,
            window: self.window,
            chunked: self.chunked,
            sink: self.sinks.get(head).copied(),
            gated: self.gated,
        }
    }
}

/// [`Rule`] of one head.
#[derive(Clone, Copy)]
struct HeadRule<'a> {
    head: usize,
    /// Of every head.
    cuts: &'a [Cut],
    scale: f32,
    cap: Option<f32>,
    slope: Option<f32>,
    rounded: bool,
    window: Option<usize>,
    chunked: bool,
    sink: Option<f32>,
    gated: bool,
}

impl HeadRule<'_> {
    /// Puts `value` in the place of what is cut of a query's row, before or after the softmax; whether anything was.
    fn cut(&self, query: usize, after: bool, value: f32, row: &mut [f32]) -> bool {
        let cuts =
            self.cuts.iter().filter(|cut| cut.head == self.head && cut.after == after && cut.is_of(query));
        cuts.map(|cut| row[cut.key] = value).count() > 0
    }

    /// The first key that a query sees.
    fn first_key(&self, query: usize) -> usize {
        match self.window {
            Some(window) if self.chunked => query / window * window,
            Some(window) => (query + 1).saturating_sub(window),
            None => 0,
        }
    }

    /// What ALiBi adds to a score.
    fn bias(&self, slope: f32, query: usize, key: usize) -> f32 {
        match self.rounded {
            true => self.scale * alibi::rounded(slope, key),
            false => -slope * (query - key) as f32,
        }
    }

    /// Turns the scores of queries from `first` on, `[rows, keys]` with the factor applied, into attention in place, and tells
    /// [`Rows::shares`].
    fn attention(&self, scores: &mut [f32], keys: usize, first: usize) -> Vec<f32> {
        let mut shares = Vec::new();
        for (row, scores) in scores.chunks_exact_mut(keys).enumerate() {
            let query = first + row;
            let from = self.first_key(query);
            let visible = &mut scores[from..=query];
            if let Some(cap) = self.cap {
                host::softcap(visible, cap);
            }
            if let Some(slope) = self.slope {
                for (key, score) in (from..).zip(visible.iter_mut()) {
                    *score += self.bias(slope, query, key);
                }
            }
            let cut = self.cut(query, false, f32::NEG_INFINITY, &mut scores[..=query]);
            let visible = &mut scores[from..=query];
            let is_empty = cut && visible.iter().all(|&score| score == f32::NEG_INFINITY);
            match self.sink.filter(|_| self.gated) {
                Some(sink) => {
                    shares.push(if is_empty { 0.0 } else { host::share_beside(visible, sink) });
                    host::softmax(visible, None);
                }
                None if !is_empty => host::softmax(visible, self.sink),
                None => {}
            }
            if is_empty {
                visible.fill(0.0);
            }
            scores[..from].fill(0.0);
            scores[query + 1..].fill(0.0);
            self.cut(query, true, 0.0, &mut scores[..=query]);
        }
        shares
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
    /// Factors on what the head puts out at each query, `[rows]`: the share of the keys beside a sink that is a gate. Empty
    /// without such, and where an accelerator shows rows.
    pub shares: &'a [f32],
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

/// Sees the patterns of a pass while it makes them.
pub trait Watch: Sync {
    /// Some rows of a head's pattern; called from several threads, for one head in order of queries.
    fn rows(&self, place: Place, rows: &Rows<'_>);

    /// A tile of all heads on an accelerator. Who needs less than every row takes that alone from there.
    fn tile(&self, tile: &Tile<'_>) -> Result<()> {
        tile.show(|place, rows| self.rows(place, rows))
    }
}

impl<F: Fn(Place, &Rows<'_>) + Sync> Watch for F {
    fn rows(&self, place: Place, rows: &Rows<'_>) {
        self(place, rows);
    }
}

/// Consecutive rows of the patterns of all heads of a layer, on an accelerator.
pub struct Tile<'a> {
    /// The layer.
    pub layer: usize,
    /// Position of the first row's query.
    pub first: usize,
    /// `[sequences, heads, rows, keys]`; keys after a query's own are 0.
    pub weights: &'a Tensor,
    crossed: &'a AtomicU64,
}

impl Tile<'_> {
    /// The numbers of a tensor on the accelerator.
    pub fn to_host(&self, tensor: &Tensor) -> Result<Vec<f32>> {
        self.crossed.fetch_add(4 * tensor.elem_count() as u64, Relaxed);
        Ok(tensor.flatten_all()?.to_vec1()?)
    }

    /// Numbers in the accelerator's memory.
    pub fn to_device<T: WithDType>(&self, numbers: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
        self.crossed.fetch_add((size_of::<T>() * numbers.len()) as u64, Relaxed);
        Ok(Tensor::from_vec(numbers, shape.into(), self.weights.device())?)
    }

    /// Shows every row.
    fn show(&self, see: impl Fn(Place, &Rows<'_>)) -> Result<()> {
        let (_, heads, rows, keys) = self.weights.dims4()?;
        for (index, weights) in self.to_host(self.weights)?.chunks_exact(rows * keys).enumerate() {
            let place = Place { layer: self.layer, sequence: index / heads, head: index % heads };
            see(place, &Rows { first: self.first, keys, seen_from: 0, weights, shares: &[] });
        }
        Ok(())
    }
}

/// The queries, keys and values of one layer, after rotation; each `[sequences, heads, tokens, head_size]`, where values may have
/// another size.
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

/// A way to compute attention: the processor's, or an accelerator's.
pub trait Attention: Send + Sync {
    /// Attention of one layer: each head's weighted sum of values, `[sequences, queries, heads * value_size]`.
    ///
    /// `watch` sees the patterns on the way; with `mix` false only that is done and nothing is returned.
    fn attend(
        &self,
        layer: usize,
        inputs: &Inputs<'_>,
        watch: Option<&dyn Watch>,
        mix: bool,
    ) -> Result<Option<Tensor>>;

    /// Bytes that went between the processor's memory and the accelerator's.
    fn crossed(&self) -> u64 {
        0
    }
}

/// The way of a device.
pub fn on(device: &Device) -> Arc<dyn Attention> {
    match device.is_cpu() {
        true => Arc::new(on_host::OnHost),
        false => Arc::new(on_device::OnDevice::default()),
    }
}

/// An accelerator's way on the processor, with so many scores in a tile at most.
#[cfg(test)]
pub fn by_tiles(scores: usize) -> impl Attention {
    on_device::OnDevice::with_scores(scores)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use candle_core::Device;

    use super::*;

    #[test]
    fn the_accelerator_s_way_computes_what_the_processor_s_does() {
        // More queries than a tile, a group of heads to each key head, queries that begin after a cache.
        let (sequences, heads, kv_heads, tokens, first, size) = (2, 4, 2, 137, 5, 8);
        let random =
            |heads, tokens| Tensor::randn(0f32, 1.0, (sequences, heads, tokens, size), &Device::Cpu).unwrap();
        let (queries, keys) = (random(heads, tokens), random(kv_heads, first + tokens));
        let values = random(kv_heads, first + tokens).narrow(3, 1, 6).unwrap().contiguous().unwrap();
        let plain = Rule { scale: 0.4, ..Rule::default() };
        let slopes = vec![0.5, 0.25, 0.125, 0.0];
        let cut = |head, query, key, after| Cut { head, query, key, after };
        let cuts = vec![cut(1, Some(20), 17, false), cut(1, None, 19, true), cut(3, None, 18, false)];
        let rules = [
            Rule { window: Some(7), ..plain.clone() },
            Rule { window: Some(7), chunked: true, ..plain.clone() },
            Rule { window: Some(131), chunked: true, cap: Some(1.5), ..plain.clone() },
            Rule { window: Some(131), cap: Some(1.5), ..plain.clone() },
            Rule { slopes: slopes.clone(), ..plain.clone() },
            Rule { slopes, rounded: true, ..plain.clone() },
            Rule { sinks: vec![-1.0, 0.0, 1.0, 5.0], ..plain.clone() },
            Rule { cuts: cuts.clone(), window: Some(9), cap: Some(1.5), ..plain.clone() },
            Rule { cuts: cuts.clone(), sinks: vec![-1.0, 0.0, 1.0, 5.0], ..plain.clone() },
            Rule { cuts, sinks: vec![-1.0, 0.0, 1.0, 5.0], gated: true, ..plain.clone() },
            Rule { sinks: vec![-1.0, 0.0, 1.0, 5.0], gated: true, ..plain.clone() },
            plain,
        ];
        for rule in &rules {
            let inputs = Inputs { queries: &queries, keys: &keys, values: &values, first, rule };
            both_ways_agree(&inputs);
        }
    }

    fn both_ways_agree(inputs: &Inputs<'_>) {
        let (sequences, heads, tokens, _) = inputs.queries.dims4().unwrap();
        let run = |way: &dyn Attention| {
            let seen = Mutex::new(std::collections::BTreeMap::new());
            let watch = |place: Place, rows: &Rows<'_>| {
                for (query, row) in rows.iter() {
                    seen.lock().unwrap().insert((place.sequence, place.head, query), row.to_vec());
                }
            };
            let out = way.attend(0, inputs, Some(&watch), true).unwrap().unwrap();
            (out.flatten_all().unwrap().to_vec1::<f32>().unwrap(), seen.into_inner().unwrap())
        };
        let ((host, host_rows), (device, device_rows)) =
            (run(&on_host::OnHost), run(&by_tiles(2 * 4 * 142 * 40)));
        assert_eq!(host_rows.len(), sequences * heads * tokens);
        for (place, row) in &host_rows {
            let sum = row.iter().sum::<f32>();
            let is_whole = inputs.rule.sinks.is_empty() || inputs.rule.gated;
            assert!(
                !inputs.rule.cuts.is_empty() || ((sum - 1.0).abs() < 1e-5) == is_whole,
                "{place:?} sums to {sum}"
            );
            for (a, b) in row.iter().zip(&device_rows[place]) {
                assert!((a - b).abs() < 1e-6, "{place:?}: {a} and {b}");
            }
        }
        for (a, b) in host.iter().zip(&device) {
            assert!((a - b).abs() < 1e-5, "{a} and {b}");
        }
    }
}
