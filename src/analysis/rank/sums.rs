//! The scores of whole tiles as sums on an accelerator.

use anyhow::Result;
use candle_core::Tensor;

use super::{Measured, keys, measured_on};
use crate::{analysis::score::Score, model::attention::Tile};

/// Numbers below which a weight is taken for none, so that its logarithm is one.
const TINY: f64 = 1e-30;

/// Which numbers of a tile's rows the scores are summed from.
pub(super) struct Sums {
    /// For each row the keys that are looked up, `[sequences, heads, rows, entries]`.
    index: Tensor,
    /// 1 where an entry counts for a score, `[sequences, 1, rows, entries]`.
    counted: Tensor,
    /// From entries to scores, `[entries, scores]`.
    scores: Tensor,
    /// `-1 / ln(visible keys)` of the rows whose entropy counts, else 0, `[sequences, 1, rows]`.
    entropy: Tensor,
    /// How many rows count, `[sequences][score]`.
    pub counts: Vec<Vec<u32>>,
}

impl Sums {
    /// For tiles of rows from `first` on, each of `keys` keys, of sequences with `heads` heads.
    pub fn new(
        sequences: &[Measured],
        heads: usize,
        [first, rows, keys_seen]: [usize; 3],
        tile: &Tile<'_>,
    ) -> Result<Self> {
        let (mut index, mut counted, mut entropy, mut counts) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        // Each score has as many entries as the most keys that one query has for it.
        let most = |score: Score| {
            let of_row =
                |sequence: &Measured, query| entries(sequence, score, query).map_or(0, |keys| keys.len());
            let all = sequences
                .iter()
                .flat_map(|sequence| (first..first + rows).map(move |query| of_row(sequence, query)));
            all.max().unwrap_or(0)
        };
        let widths = Score::ALL.map(most);
        let width: usize = widths.iter().sum();
        for sequence in sequences {
            let mut count = vec![0; Score::ALL.len()];
            for query in first..first + rows {
                for (score, most) in Score::ALL.into_iter().zip(widths) {
                    let keys = entries(sequence, score, query);
                    count[score as usize] += u32::from(keys.is_some());
                    let keys = keys.unwrap_or_default();
                    index.extend(keys.iter().map(|&key| key.min(keys_seen - 1) as u32));
                    index.resize(index.len() + most - keys.len(), 0);
                    counted.extend(keys.iter().map(|_| 1f32));
                    counted.resize(counted.len() + most - keys.len(), 0.0);
                }
                let counts = query >= 1
                    && query < sequence.length
                    && measured_on(sequence.kind).contains(&Score::Entropy);
                count[Score::Entropy as usize] += u32::from(counts);
                entropy.push(if counts { -1.0 / ((query + 1) as f32).ln() } else { 0.0 });
            }
            counts.push(count);
        }
        let scores = Score::ALL.into_iter().zip(widths).flat_map(|(score, most)| {
            (0..most).flat_map(move |_| Score::ALL.map(|other| f32::from(u8::from(other == score))))
        });
        let count = sequences.len();
        let index = tile.to_device(index, (count, 1, rows, width))?;
        Ok(Self {
            index: index.broadcast_as((count, heads, rows, width))?.contiguous()?,
            counted: tile.to_device(counted, (count, 1, rows, width))?,
            scores: tile.to_device(scores.collect(), (width, Score::ALL.len()))?,
            entropy: tile.to_device(entropy, (count, 1, rows))?,
            counts,
        })
    }

    /// The sums over the rows of a tile, `[sequences, heads, scores]`.
    pub fn of(&self, weights: &Tensor) -> Result<Tensor> {
        let (sequences, heads, _, _) = weights.dims4()?;
        let entries = weights.gather(&self.index, 3)?.broadcast_mul(&self.counted)?.sum(2)?;
        let sums = entries.reshape((sequences * heads, ()))?.matmul(&self.scores)?;
        let entropy = (weights * weights.maximum(TINY)?.log()?)?.sum(3)?;
        let entropy = entropy.broadcast_mul(&self.entropy)?.sum(2)?.reshape((sequences * heads, 1))?;
        let place = Score::Entropy as usize;
        let after = Score::ALL.len() - place - 1;
        let parts = [sums.narrow(1, 0, place)?, entropy, sums.narrow(1, place + 1, after)?];
        Ok(Tensor::cat(&parts, 1)?.reshape((sequences, heads, ()))?)
    }
}

/// The keys of a row that a score of a sequence sums; `None` where the row does not count.
fn entries(sequence: &Measured, score: Score, query: usize) -> Option<Vec<usize>> {
    let counts = query < sequence.length && measured_on(sequence.kind).contains(&score);
    Some(keys(score, query, sequence.blocks).filter(|_| counts)?.collect())
}
