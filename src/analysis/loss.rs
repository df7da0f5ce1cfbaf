//! Losses: how surprised a model is by the next token, in nats, and what repetition and context take off it.

use std::collections::BTreeSet;

use anyhow::Result;
use candle_core::{D, DType, Device};

use super::{
    benchmark::{Benchmark, Kind},
    rank::Mean,
};
use crate::model::{
    decoder::{Control, Decoder},
    trace::Trace,
};

/// Rows of logits made at once; all of a long text would not fit.
const ROWS: usize = 64;

/// `-ln P(ids[i + 1] | ids[..=i])` for every `i`, `[tokens - 1]`, in nats.
pub fn per_token(decoder: &Decoder, ids: &[u32], control: &Control<'_>) -> Result<Vec<f32>> {
    let mut trace = Trace::new(decoder.spec.clone());
    decoder.extend(&mut trace, ids, &BTreeSet::new(), control)?;
    let last = trace.last.view()?;
    let mut losses = Vec::with_capacity(ids.len().saturating_sub(1));
    for start in (0..ids.len().saturating_sub(1)).step_by(ROWS) {
        let rows = ROWS.min(ids.len() - 1 - start);
        let logits = decoder.logits(&last.narrow(0, start, rows)?)?.to_dtype(DType::F32)?;
        let total = logits.log_sum_exp(D::Minus1)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        for (row, (total, &next)) in total.into_iter().zip(&ids[start + 1..]).enumerate() {
            let logit = logits.get(row)?.get(next as usize)?.to_scalar::<f32>()?;
            losses.push(total - logit);
        }
    }
    Ok(losses)
}

/// What repetition is worth to a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Repeat {
    /// Mean loss on the first copy, nats per token.
    pub first: f32,
    /// Mean loss on the second copy.
    pub second: f32,
}

impl Repeat {
    /// `repeat gain`: mean loss on the first copy minus mean loss on the second, in nats; 0 for a model that does not
    /// look back.
    pub fn gain(&self) -> f32 {
        self.first - self.second
    }
}

/// The mean losses on both copies of `draws` sequences `[BOS] r r`; without a BOS nothing comes before the very first
/// token, which is then left out.
pub fn repeat(
    decoder: &Decoder,
    benchmark: &Benchmark,
    draws: usize,
    control: &Control<'_>,
) -> Result<Repeat> {
    let blocks = benchmark.blocks(Kind::Repeat);
    let (mut first, mut second) = (Mean::default(), Mean::default());
    for draw in 0..draws {
        let losses = per_token(decoder, &benchmark.sequence(Kind::Repeat, draw), control)?;
        // Loss `p - 1` is that of the token at position `p`; the second copy ends the sequence.
        let (head, tail) = losses.split_at(losses.len() - blocks.length);
        head.iter().for_each(|&loss| first.add(loss));
        tail.iter().for_each(|&loss| second.add(loss));
    }
    Ok(Repeat { first: first.value(), second: second.value() })
}
