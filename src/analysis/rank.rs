//! Ranking: every head's scores, folded from the rows of its pattern while the pass runs.

use std::{
    collections::BTreeSet,
    iter::StepBy,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use serde::Serialize;

pub use self::tally::Tally;
use self::{
    sums::Sums,
    tally::{Draw, measured_on},
};
use super::{
    benchmark::{Benchmark, Blocks, Kind},
    score::{HeadScores, Score},
};
use crate::{
    head::{Head, PerHead},
    model::{
        attention::{Place, Rows, Tile, Watch},
        decoder::{Control, Decoder, Pass},
    },
};

mod sums;
mod tally;

/// A mean that is still being taken; empty, it is not a number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    count: u32,
}

impl Mean {
    pub fn add(&mut self, value: f32) {
        self.sum += f64::from(value);
        self.count += 1;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn exact(self) -> f64 {
        self.sum / f64::from(self.count)
    }

    pub fn value(self) -> f32 {
        self.exact() as f32
    }
}

/// What one row of a pattern adds to `score`: `row` is the attention of `query` over keys `0..=query`.
///
/// `None` where the row does not belong to the mean. The formulas are those of [`Score::definition`].
pub fn share(score: Score, row: &[f32], query: usize, blocks: Blocks) -> Option<f32> {
    match score {
        Score::Entropy => entropy(row, query),
        _ => keys(score, query, blocks).map(|keys| keys.map(|key| row[key]).sum()),
    }
}

/// The keys of `query` whose attention a score sums; `None` where the query does not belong to the mean, and for entropy,
/// which is no such sum.
fn keys(score: Score, query: usize, blocks: Blocks) -> Option<StepBy<Range<usize>>> {
    let one = |key: usize| (key..key + 1).step_by(1);
    let length = blocks.length;
    let second = blocks.start + length;
    let in_second = (second..second + length).contains(&query);
    match score {
        // `A[p, p-length+1]` for `p` in the second copy: the prefix matching of Olsson et al. 2022 with one repeat, as the
        // stripe that head rankings show, without the entry of the first copy's last token that some of them take in.
        Score::Induction => in_second.then(|| one(query + 1 - length)),
        // `A[q, q-1]` for `q >= 1`.
        Score::Previous => query.checked_sub(1).map(one),
        // `A[p, p-length]` for `p` in the second copy.
        Score::Duplicate => in_second.then(|| one(query - length)),
        // `A[q, 0]` for `q >= 1`.
        Score::Sink => (query >= 1).then(|| one(0)),
        Score::Itself => Some(one(query)),
        Score::Entropy => None,
        // For every query from the second copy on, the tokens after all its earlier copies (Olsson et al. 2022, appendix: 25
        // tokens, 4 times, start token).
        Score::Prefix => {
            let copy = query.checked_sub(blocks.start)? / length;
            (copy >= 1).then(|| (query + 1 - copy * length..query + 1 - length + 1).step_by(length))
        }
        // TransformerLens's demonstration: the diagonal at offset `1 - length` of `r r` without BOS. It begins with the last
        // token of the first copy, which repeats nothing.
        Score::Tl => (query + 1).checked_sub(length).map(one),
    }
}

/// `H(A[q, :]) / ln(q + 1)` for `q >= 1`: 1 for uniform attention over the visible keys.
pub fn entropy(row: &[f32], query: usize) -> Option<f32> {
    if query == 0 {
        return None;
    }
    // What is no number is not left out, so that the entropy is none either.
    let entropy: f32 = row.iter().filter(|&&weight| weight != 0.0).map(|&weight| -weight * weight.ln()).sum();
    Some(entropy / ((query + 1) as f32).ln())
}

/// Measures sequences, each a kind and the number of a draw, in one pass.
pub fn measure(
    decoder: &Decoder,
    benchmark: &Benchmark,
    draws: &[(Kind, usize)],
    control: &Control<'_>,
) -> Result<Tally> {
    let spec = &decoder.spec;
    let mut sequences: Vec<Vec<u32>> =
        draws.iter().map(|&(kind, draw)| benchmark.sequence(kind, draw)).collect();
    let lengths: Vec<usize> = sequences.iter().map(Vec::len).collect();
    // A pass takes sequences of one length. What stands after the end of a shorter one is not seen from before it.
    let longest = lengths.iter().copied().max().unwrap_or(0);
    sequences.iter_mut().for_each(|sequence| sequence.resize(longest, sequence[0]));
    let measured = |(&(kind, _), &length)| Measured { kind, blocks: benchmark.blocks(kind), length };
    let measured = draws.iter().zip(&lengths).map(measured).collect();
    let scoring = Scoring::new(spec.layers, spec.heads, measured);
    decoder.stream(&sequences, &Pass { watch: Some(&scoring), ..Pass::plain(control) })?;
    Ok(scoring.tally())
}

/// A sequence of a pass that is measured.
#[derive(Clone, Copy)]
struct Measured {
    kind: Kind,
    blocks: Blocks,
    /// Its tokens; what stands behind them fills up the pass.
    length: usize,
}

/// The means of one head's scores over the rows of one sequence.
type Means = [Mean; Score::ALL.len()];

/// Takes the scores of every pattern of a pass.
struct Scoring {
    layers: usize,
    heads: usize,
    sequences: Vec<Measured>,
    /// `[(layer * heads + head) * sequences + sequence]`.
    means: Vec<Mutex<Means>>,
    /// What an accelerator sums, and for which tile: its first query, its rows, its keys.
    sums: Mutex<Option<([usize; 3], Arc<Sums>)>>,
}

impl Scoring {
    /// Nothing measured yet, for so many layers with `heads` in each.
    fn new(layers: usize, heads: usize, sequences: Vec<Measured>) -> Self {
        let means = (0..layers * heads * sequences.len()).map(|_| Mutex::default()).collect();
        Self { layers, heads, sequences, means, sums: Mutex::default() }
    }

    fn means(&self, Place { layer, head, sequence }: Place) -> MutexGuard<'_, Means> {
        let at = (layer * self.heads + head) * self.sequences.len() + sequence;
        self.means[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was measured, sequence by sequence.
    fn tally(self) -> Tally {
        let whole = |means: Mutex<Means>| means.into_inner().unwrap_or_else(PoisonError::into_inner);
        let means: Vec<Means> = self.means.into_iter().map(whole).collect();
        let of_sequence = |(sequence, Measured { kind, .. }): (usize, &Measured)| {
            let heads = means.iter().skip(sequence).step_by(self.sequences.len());
            let scores = heads.flat_map(|head| measured_on(*kind).iter().map(|&score| head[score as usize]));
            Draw { kind: *kind, means: scores.map(Mean::exact).collect() }
        };
        let draws = self.sequences.iter().enumerate().map(of_sequence).collect();
        Tally::of(self.layers, self.heads, draws)
    }

    /// What is summed of a tile; the same for all layers, whose tiles are alike.
    fn sums(&self, tile: &Tile<'_>) -> Result<Arc<Sums>> {
        let (_, _, rows, keys) = tile.weights.dims4()?;
        let geometry = [tile.first, rows, keys];
        let mut kept = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_for, sums)) = &*kept
            && *made_for == geometry
        {
            return Ok(sums.clone());
        }
        let sums = Arc::new(Sums::new(&self.sequences, self.heads, geometry, tile)?);
        *kept = Some((geometry, sums.clone()));
        Ok(sums)
    }
}

impl Watch for Scoring {
    fn rows(&self, place: Place, rows: &Rows<'_>) {
        let Measured { kind, blocks, length } = self.sequences[place.sequence];
        let mut means = self.means(place);
        for (query, row) in rows.iter().take_while(|(query, _)| *query < length) {
            for &score in measured_on(kind) {
                let share = share(score, row, query, blocks);
                share.into_iter().for_each(|value| means[score as usize].add(value));
            }
        }
    }

    /// Sums on the accelerator, so that a few numbers of each head come from there and not its rows.
    fn tile(&self, tile: &Tile<'_>) -> Result<()> {
        let sums = self.sums(tile)?;
        let found = tile.to_host(&sums.of(tile.weights)?)?;
        let columns = sums.counts[0].len();
        for (index, found) in found.chunks_exact(columns).enumerate() {
            let (sequence, head) = (index / self.heads, index % self.heads);
            let mut means = self.means(Place { layer: tile.layer, sequence, head });
            for &score in measured_on(self.sequences[sequence].kind) {
                let column = score as usize;
                let (sum, count) = (f64::from(found[column]), sums.counts[sequence][column]);
                means[column].merge(Mean { sum, count });
            }
        }
        Ok(())
    }
}

/// Sequences that one pass measures: so many that a large batch needs no more memory than a prompt of usual length.
const AT_ONCE: usize = 8;

/// How many sequences of each kind a ranking by `by` measures: its kind on the whole batch, what only stands beside it on
/// fewer.
pub fn draws(benchmark: &Benchmark, by: Score) -> [(Kind, usize); Kind::ALL.len()] {
    let draws = |kind| if kind == Kind::of(by) { benchmark.settings().batch } else { benchmark.draws(kind) };
    Kind::ALL.map(|kind| (kind, draws(kind)))
}

/// Every head's scores on the sequences that [`draws`] says.
pub fn scores(decoder: &Decoder, benchmark: &Benchmark, by: Score, control: &Control<'_>) -> Result<Tally> {
    let mut tally = Tally::new(decoder.spec.layers, decoder.spec.heads);
    extend(&mut tally, decoder, benchmark, by, control)?;
    Ok(tally)
}

/// Measures the sequences that [`draws`] says and that `tally` does not have yet.
fn extend(
    tally: &mut Tally,
    decoder: &Decoder,
    benchmark: &Benchmark,
    by: Score,
    control: &Control<'_>,
) -> Result<()> {
    let missing = |(kind, draws)| (tally.count(kind)..draws).map(move |draw| (kind, draw));
    let missing: Vec<(Kind, usize)> = draws(benchmark, by).into_iter().flat_map(missing).collect();
    let parts = missing.chunks(AT_ONCE);
    let count = parts.len();
    for (at, part) in parts.enumerate() {
        let progress = |done, layers| (control.progress)(at * layers + done, count * layers);
        let control = Control { progress: &progress, cancelled: control.cancelled };
        tally.merge(measure(decoder, benchmark, part, &control)?);
    }
    Ok(())
}

/// Fewest sequences that say how far scores can be trusted.
const FEWEST: usize = 4;
/// Most sequences that [`settled`] draws of its own accord.
pub const MOST: usize = 1024;

/// When scores are known well enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Most that half the interval which covers a score with probability 0.95 may be wide.
    pub width: f64,
    /// How many first heads it must hold of.
    pub leaders: usize,
}

/// [`scores`] on so many sequences that the goal is reached by the heads that lead by `by`, or on [`MOST`]; the benchmark's
/// batch becomes that many. They are doubled until then, which finds the number without looking often: each look at an
/// interval is another chance that it is narrow by accident.
pub fn settled(
    decoder: &Decoder,
    benchmark: &mut Benchmark,
    by: Score,
    goal: Goal,
    control: &Control<'_>,
) -> Result<Tally> {
    let mut tally = Tally::new(decoder.spec.layers, decoder.spec.heads);
    benchmark.set_batch(benchmark.settings().batch.max(FEWEST));
    loop {
        extend(&mut tally, decoder, benchmark, by, control)?;
        let batch = benchmark.settings().batch;
        if batch >= MOST || tally.widest(by, goal.leaders) <= goal.width {
            return Ok(tally);
        }
        benchmark.set_batch((2 * batch).min(MOST));
    }
}

/// The order of heads by a score, best first; heads that score alike stay in layer order.
pub fn order(scores: &PerHead<HeadScores>, by: Score) -> Vec<Head> {
    let mut order: Vec<Head> = scores.iter().map(|(head, _)| head).collect();
    let value = |head: Head| {
        let value = scores[head].get(by);
        if value.is_nan() { f32::NEG_INFINITY } else { value }
    };
    order.sort_by(|&a, &b| value(b).total_cmp(&value(a)));
    order
}

/// How far scores move when weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moved {
    /// The largest move of a score, and of which: `max |rounded - exact|` over all heads and scores.
    pub largest: f32,
    /// The score that it is of.
    pub score: Score,
    /// How many of the first heads of the one ranking are among the first of the other.
    pub same: usize,
    /// How many first heads were looked at.
    pub of: usize,
    /// The head that the largest move is of.
    #[serde(flatten)]
    pub head: Head,
}

/// Compares the scores of all heads, and the `top` first by a score.
pub fn moved(exact: &PerHead<HeadScores>, rounded: &PerHead<HeadScores>, by: Score, top: usize) -> Moved {
    let (mut largest, mut score, mut head) = (0.0f32, by, Head::new(0, 0));
    for ((of, exact), rounded) in exact.iter().zip(rounded.values()) {
        for one in Score::ALL {
            let move_ = (exact.get(one) - rounded.get(one)).abs();
            if move_ > largest {
                (largest, score, head) = (move_, one, of);
            }
        }
    }
    let first =
        |scores: &PerHead<HeadScores>| order(scores, by).into_iter().take(top).collect::<BTreeSet<_>>();
    let (first_exact, first_rounded) = (first(exact), first(rounded));
    let same = first_exact.intersection(&first_rounded).count();
    Moved { largest, score, same, of: first_exact.len(), head }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::model::attention::{self, Attention, Inputs, Rule};

    const BLOCKS: Blocks = Blocks { start: 1, length: 3, copies: 2 };

    #[test]
    fn each_score_takes_its_own_entries() {
        // Query 5 of [BOS] a b c a b c is the second b: a b c at 1 2 3, so c follows at 3.
        let row = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05];
        assert_eq!(share(Score::Induction, &row, 5, BLOCKS), Some(0.03));
        assert_eq!(share(Score::Duplicate, &row, 5, BLOCKS), Some(0.02));
        assert_eq!(share(Score::Previous, &row, 5, BLOCKS), Some(0.04));
        assert_eq!(share(Score::Itself, &row, 5, BLOCKS), Some(0.05));
        assert_eq!(share(Score::Sink, &row, 5, BLOCKS), Some(0.0));
        assert_eq!(share(Score::Induction, &row[..4], 3, BLOCKS), None);
        assert_eq!(share(Score::Sink, &row[..1], 0, BLOCKS), None);
    }

    #[test]
    fn prefix_sums_all_earlier_targets() {
        let blocks = Blocks { start: 1, length: 2, copies: 4 };
        let row: Vec<f32> = (0..8).map(|key| key as f32).collect();
        // Query 7 is the first token of the fourth copy; the tokens after its copies are at 2, 4 and 6.
        assert_eq!(share(Score::Prefix, &row, 7, blocks), Some(12.0));
        assert_eq!(share(Score::Prefix, &row[..3], 2, blocks), None);
    }

    #[test]
    fn entropy_is_one_for_uniform_attention_and_zero_for_one_key() {
        assert!((entropy(&[0.25; 4], 3).unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(entropy(&[0.0, 1.0], 1), Some(0.0));
        assert_eq!(entropy(&[1.0], 0), None);
        assert!(entropy(&[0.5, f32::NAN], 1).unwrap().is_nan());
    }

    #[test]
    fn tiles_of_an_accelerator_measure_what_rows_do() {
        // Two draws of each kind, of different lengths, in tiles of less than a block.
        let (heads, tokens, size) = (3, 29, 4);
        let kinds = [Kind::Repeat, Kind::Control, Kind::Prefix, Kind::Stripe];
        let sequences: Vec<Measured> = kinds
            .into_iter()
            .flat_map(|kind| [kind; 2])
            .map(|kind| match kind {
                Kind::Prefix => (kind, Blocks { start: 1, length: 7, copies: 4 }),
                Kind::Stripe => (kind, Blocks { start: 0, length: 11, copies: 2 }),
                _ => (kind, Blocks { start: 1, length: 11, copies: 2 }),
            })
            .map(|(kind, blocks)| {
                let length = blocks.start + blocks.copies * blocks.length;
                Measured { kind, blocks, length }
            })
            .collect();
        let random =
            || Tensor::randn(0f32, 1.0, (sequences.len(), heads, tokens, size), &Device::Cpu).unwrap();
        let (queries, keys, values) = (random(), random(), random());
        let rule = Rule { scale: 1.5, ..Rule::default() };
        let inputs = Inputs { queries: &queries, keys: &keys, values: &values, first: 0, rule: &rule };
        let tally = |way: &dyn Attention| {
            let scoring = Scoring::new(1, heads, sequences.clone());
            way.attend(0, &inputs, Some(&scoring), false).unwrap();
            scoring.tally()
        };
        let (host, tiles) = (
            tally(&*attention::on(&Device::Cpu)),
            tally(&attention::by_tiles(sequences.len() * heads * tokens * 5)),
        );
        for kind in kinds {
            assert_eq!((host.count(kind), tiles.count(kind)), (2, 2));
            for (&score, head) in measured_on(kind)
                .iter()
                .flat_map(|score| (0..heads).map(move |head| (score, Head::new(0, head))))
            {
                let (host, tiles) = (host.means(kind, score, head), tiles.means(kind, score, head));
                assert_eq!((host.len(), tiles.len()), (2, 2));
                assert!((host[0] - host[1]).abs() > 1e-4, "{kind:?} {score:?} {head}: no draw differs");
                for (host, tiles) in host.iter().zip(&tiles) {
                    assert!((host - tiles).abs() < 1e-6, "{kind:?} {score:?} {head}: {host} and {tiles}");
                }
            }
        }
    }

    #[test]
    fn a_move_is_told_with_its_head_and_score() {
        let head = |induction: f32, sink: f32| {
            let mut scores = HeadScores::default();
            scores.set(Score::Induction, induction);
            scores.set(Score::Sink, sink);
            scores
        };
        let exact = [head(0.9, 0.1), head(0.5, 0.2), head(0.4, 0.3), head(0.1, 0.4)];
        let exact = PerHead::new(2, exact.to_vec());
        let rounded = [head(0.9, 0.1), head(0.39, 0.2), head(0.4, 0.45), head(0.1, 0.4)];
        let rounded = PerHead::new(2, rounded.to_vec());
        let moved = moved(&exact, &rounded, Score::Induction, 2);
        assert_eq!((moved.score, moved.head, moved.same, moved.of), (Score::Sink, Head::new(1, 0), 1, 2));
        assert!((moved.largest - 0.15).abs() < 1e-6);
    }

    #[test]
    fn order_puts_the_best_first_and_the_unmeasured_last() {
        let scores = PerHead::new(3, vec![0.1, f32::NAN, 0.7]).map(|&value| {
            let mut scores = HeadScores::default();
            scores.set(Score::Induction, value);
            scores
        });
        assert_eq!(order(&scores, Score::Induction), [2, 0, 1].map(|head| Head::new(0, head)));
    }
}
