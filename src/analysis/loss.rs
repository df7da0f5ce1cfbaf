//! Losses: how surprised a model is by the next token, in nats, and what repetition and context take off it.

use anyhow::Result;
use candle_core::{D, DType, Device};
use serde::{Deserialize, Serialize};

use super::{
    benchmark::{Benchmark, Kind},
    rank::Mean,
};
use crate::model::{
    decoder::{Control, Decoder, Pass},
    trace::Trace,
};

/// Rows of logits made at once; all of a long text would not fit.
const ROWS: usize = 64;

/// `-ln P(ids[i + 1] | ids[..=i])` for every `i`, `[tokens - 1]`, in nats. The last token is not read, so there may be one
/// more than the context has.
pub fn per_token(decoder: &Decoder, ids: &[u32], control: &Control<'_>) -> Result<Vec<f32>> {
    let Some(read) = ids.len().checked_sub(1).filter(|&read| read > 0) else { return Ok(Vec::new()) };
    let mut trace = decoder.trace();
    decoder.extend(&mut trace, &ids[..read], &Pass::plain(control))?;
    of_trace(decoder, &trace, &ids[1..], control)
}

/// `-ln P(targets[i] | the first i + 1 tokens)` for every target, in nats, where a pass over the tokens has left `trace`.
pub fn of_trace(
    decoder: &Decoder,
    trace: &Trace,
    targets: &[u32],
    control: &Control<'_>,
) -> Result<Vec<f32>> {
    let (last, read) = (trace.last.view()?, targets.len());
    let mut losses = Vec::with_capacity(read);
    for start in (0..read).step_by(ROWS) {
        control.check()?;
        let rows = ROWS.min(read - start);
        let logits = decoder.logits(&last.narrow(0, start, rows)?)?.to_dtype(DType::F32)?;
        let total = logits.log_sum_exp(D::Minus1)?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
        for (row, (total, &target)) in total.into_iter().zip(&targets[start..]).enumerate() {
            let logit = logits.get(row)?.get(target as usize)?.to_scalar::<f32>()?;
            losses.push(total - logit);
        }
    }
    Ok(losses)
}

/// The mean loss, nats per token; 0 of none.
pub fn mean(losses: &[f32]) -> f64 {
    losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len().max(1) as f64
}

/// Whether a mean loss is half a nat below `ln(vocabulary)`, that of a guess among all tokens, or more.
pub fn beats_a_guess(mean: f64, vocabulary: usize) -> bool {
    mean < (vocabulary as f64).ln() - 0.5
}

/// The loss on a token before and after a stretch of training, nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Loss of the earlier snapshot.
    pub before: f32,
    /// Loss of the later one.
    pub after: f32,
}

impl Change {
    /// `after - before`, nats: negative where the later snapshot predicts the token better (Olsson et al. 2022, the
    /// colouring of a text by what the change of phase does to each of its tokens).
    pub fn difference(self) -> f32 {
        self.after - self.before
    }
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

/// Most tokens in a window of text, as Olsson et al. 2022 have it.
pub const WINDOW: usize = 512;

/// The in-context learning score of Olsson et al. 2022: mean loss at token 500 of a window minus mean loss at token 50.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Icl {
    /// The early token, counted from the first of the window at 0: 50, or less in windows below 512.
    pub early: usize,
    /// The late token: 500, or less in windows below 512.
    pub late: usize,
    /// Nats; negative is better.
    pub score: f64,
}

impl Icl {
    /// The score from the mean loss on each token after the first. In windows shorter than 512 the tokens are the same
    /// share of it; `None` for no losses.
    pub fn of(means: &[f64]) -> Option<Self> {
        let scaled = |token: usize| (token * means.len().min(WINDOW)).div_ceil(WINDOW).max(1);
        let (early, late) = (scaled(50), scaled(500));
        Some(Self { early, late, score: means.get(late - 1)? - means.get(early - 1)? })
    }

    /// `icl`, or with the tokens where they are not 500 and 50: `icl 125-13`.
    pub fn name(self) -> String {
        if (self.early, self.late) == (50, 500) {
            "icl".to_owned()
        } else {
            format!("icl {}-{}", self.late, self.early)
        }
    }
}

/// Losses on windows of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextLoss {
    /// Mean loss on each token of a window after its first, nats; `[window - 1]`.
    pub by_token: Vec<f64>,
    /// In-context learning.
    pub icl: Icl,
}

impl TextLoss {
    /// Mean loss, nats per token.
    pub fn mean(&self) -> f64 {
        self.by_token.iter().sum::<f64>() / self.by_token.len() as f64
    }
}

/// Losses on `windows`, sequences of equal length, each a window of text; `None` where they have no second token.
pub fn text(decoder: &Decoder, windows: &[Vec<u32>], control: &Control<'_>) -> Result<Option<TextLoss>> {
    let mut means = vec![Mean::default(); windows.first().map_or(0, |window| window.len().saturating_sub(1))];
    for window in windows {
        let losses = per_token(decoder, window, control)?;
        means.iter_mut().zip(losses).for_each(|(mean, loss)| mean.add(loss));
    }
    let by_token: Vec<f64> = means.into_iter().map(|mean| f64::from(mean.value())).collect();
    Ok(Icl::of(&by_token).map(|icl| TextLoss { by_token, icl }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_in_context_learning_are_scaled_and_named() {
        let falling = |tokens: usize| (1..=tokens).map(|token| -(token as f64)).collect::<Vec<_>>();
        for (tokens, early, late, name) in
            [(512, 50, 500, "icl"), (511, 50, 500, "icl"), (128, 13, 125, "icl 125-13"), (1, 1, 1, "icl 1-1")]
        {
            let icl = Icl::of(&falling(tokens)).unwrap();
            assert_eq!((icl.early, icl.late, icl.name().as_str()), (early, late, name));
            assert_eq!(icl.score, early as f64 - late as f64, "the loss at token t has index t - 1");
        }
        assert_eq!(Icl::of(&[]), None);
    }
}
