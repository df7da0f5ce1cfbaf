//! How the model does while it trains: losses on text it was not shown, and the heads of an induction circuit.

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{
    data::{Batch, distinct},
    model::Model,
    ops::token_losses,
    vocabulary::BOS_ID,
};
use crate::analysis::{benchmark::Blocks, loss::Icl, rank::share, score::Score};

/// The lengths of `r` at which induction is measured on `[BOS] r r`, where they fit.
pub const LENGTHS: [usize; 3] = [10, 25, 50];
/// Sequences per measurement.
const SEQUENCES: usize = 8;
/// Windows of text that are run at once.
const WINDOWS: usize = 32;

/// Losses on windows of text, each BOS and as many tokens as the context has.
#[derive(Clone, Debug)]
pub struct TextLoss {
    /// Mean in nats per token.
    pub mean: f64,
    /// In-context learning.
    pub icl: Icl,
}

/// One head on sequences `[BOS] r r`; each score is the mean that [`Score::definition`] says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HeadScore {
    /// Zero-based.
    pub layer: usize,
    /// Zero-based, within its layer.
    pub head: usize,
    /// 0 to 1.
    pub induction: f64,
    /// 0 to 1.
    pub previous: f64,
    /// 0 to 1.
    pub duplicate: f64,
}

/// One measurement on sequences `[BOS] r r` of distinct random tokens.
#[derive(Clone, Debug)]
pub struct Repeats {
    /// Tokens in `r`.
    pub length: usize,
    /// Mean loss on the first copy, nats per token.
    pub first_copy_loss: f64,
    /// Mean loss on the second copy, nats per token.
    pub second_copy_loss: f64,
    /// Every head, in order.
    pub heads: Vec<HeadScore>,
}

impl Repeats {
    /// What the repeat gains: loss on the first copy minus loss on the second, nats per token.
    pub fn gain(&self) -> f64 {
        self.first_copy_loss - self.second_copy_loss
    }

    /// The head of a layer with the highest of some score.
    pub fn best(&self, layer: usize, score: impl Fn(&HeadScore) -> f64) -> Option<&HeadScore> {
        let heads = self.heads.iter().filter(|head| head.layer == layer);
        heads.max_by(|a, b| score(a).total_cmp(&score(b)))
    }
}

/// Losses over windows of text.
pub fn text_loss(model: &Model, tokens: &[u32]) -> Result<TextLoss> {
    let context = model.config().max_position_embeddings;
    let windows: Vec<Vec<u32>> = tokens
        .chunks_exact(context)
        .map(|window| std::iter::once(BOS_ID).chain(window.iter().copied()).collect())
        .collect();
    ensure!(
        !windows.is_empty(),
        "the text kept for measuring is shorter than --context {context}: give more text"
    );
    // The sum over windows of the loss on each token after BOS.
    let mut sums = vec![0.; context];
    for windows in windows.chunks(WINDOWS) {
        for losses in losses(model, windows)? {
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
        }
    }
    let means: Vec<f64> = sums.iter().map(|sum| sum / windows.len() as f64).collect();
    let icl = Icl::of(&means).context("a context of no tokens")?;
    Ok(TextLoss { mean: means.iter().sum::<f64>() / context as f64, icl })
}

/// The loss of each token after the first, for each sequence.
fn losses(model: &Model, sequences: &[Vec<u32>]) -> Result<Vec<Vec<f64>>> {
    let Batch { inputs, targets } = Batch::new(sequences, model.device())?;
    let shape = inputs.dims2()?;
    let logits = model.forward(&inputs)?.logits.detach();
    let losses = token_losses(&logits.flatten_to(1)?, &targets)?.reshape(shape)?;
    Ok(losses.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_vec2()?)
}

/// The lengths of `r` to measure a model at: [`LENGTHS`], or in a short context the longest that fits.
pub fn lengths(model: &Model) -> Vec<usize> {
    let longest = (model.config().max_position_embeddings - 1) / 2;
    let fitting: Vec<usize> = LENGTHS.into_iter().filter(|&length| length <= longest).collect();
    if fitting.is_empty() { vec![longest] } else { fitting }
}

/// Measures on `[BOS] r r`; `None` where the model's context or vocabulary is too small for the length.
pub fn repeats(model: &Model, length: usize, seed: u64) -> Result<Option<Repeats>> {
    let (context, vocab) = (model.config().max_position_embeddings, model.config().vocab_size);
    if 1 + 2 * length > context || length >= vocab || length < 2 {
        return Ok(None);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sequences: Vec<Vec<u32>> = (0..SEQUENCES)
        .map(|_| {
            let block = distinct(&mut rng, vocab, length);
            [&[BOS_ID][..], &block, &block].concat()
        })
        .collect();
    let losses = losses(model, &sequences)?;
    let mean = |copy: usize| {
        let sum: f64 = losses.iter().flat_map(|losses| &losses[copy * length..][..length]).sum();
        sum / (SEQUENCES * length) as f64
    };
    let (first_copy_loss, second_copy_loss) = (mean(0), mean(1));
    let ids = Tensor::from_vec(sequences.concat(), (SEQUENCES, 1 + 2 * length), model.device())?;
    let mut heads = Vec::new();
    for (layer, pattern) in model.forward(&ids)?.patterns.iter().enumerate() {
        heads.extend(head_scores(layer, pattern, length)?);
    }
    Ok(Some(Repeats { length, first_copy_loss, second_copy_loss, heads }))
}

/// The heads of a pattern `[batch, heads, query, key]` of sequences `[BOS] r r`.
pub(super) fn head_scores(layer: usize, pattern: &Tensor, length: usize) -> Result<Vec<HeadScore>> {
    let (_, heads, queries, keys) = pattern.dims4()?;
    let blocks = Blocks { start: 1, length, copies: 2 };
    let rows = pattern.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let mean = |head: usize, score: Score| {
        let of_head = rows.chunks(keys).enumerate().filter(|(row, _)| row / queries % heads == head);
        let shares = of_head.filter_map(|(row, attention)| {
            let query = row % queries;
            share(score, &attention[..=query], query, blocks)
        });
        let (sum, count) = shares.fold((0., 0), |(sum, count), share| (sum + f64::from(share), count + 1));
        sum / f64::from(count.max(1))
    };
    Ok((0..heads)
        .map(|head| HeadScore {
            layer,
            head,
            induction: mean(head, Score::Induction),
            previous: mean(head, Score::Previous),
            duplicate: mean(head, Score::Duplicate),
        })
        .collect())
}
