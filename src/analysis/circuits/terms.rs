//! Term importance: how much of a prompt's prediction the direct path, single heads and chains of heads each explain.

use std::ops::Range;

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

use super::steps;
use crate::{
    head::Head,
    model::{
        decoder::{Control, Decoder},
        norm::NormWeights,
        trace::Trace,
    },
};

/// Mean losses over a prompt, nats per token, with some terms of the path expansion alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// The loss of guessing at random, `ln(vocabulary)`.
    pub uniform: f64,
    /// The loss with terms up to order `n`, `[0..=layers]`: the direct path, then single heads, then chains of two and so
    /// on; the last one is the model's.
    pub losses: Vec<f64>,
    /// The loss of the direct path with the single heads of one layer, by layer.
    pub alone: Vec<f64>,
    /// The loss of the direct path with the single heads of all layers but one, by layer.
    pub without: Vec<f64>,
}

impl Terms {
    /// By how much the terms of an order lower the loss that all lower orders leave, nats per token.
    pub fn reduction(&self, order: usize) -> f64 {
        let before = if order == 0 { self.uniform } else { self.losses[order - 1] };
        before - self.losses[order]
    }
}

/// The importance of the path expansion's terms over a whole prompt: [`Expansion::over`] each token but the last.
///
/// # Errors
/// Those of [`Expansion::of`], and when the prompt has no token to predict.
pub fn terms(decoder: &Decoder, trace: &Trace, control: &Control<'_>) -> Result<Terms> {
    if trace.len() < 2 {
        bail!(
            "term importance predicts each token from those before it: give a prompt of two tokens or more"
        );
    }
    Expansion::of(decoder, trace, control)?.over(0..trace.len() - 1, &trace.ids[1..])
}

/// The residual streams that the path expansion's terms make by order, with the patterns of the whole model (Elhage et al. 2021,
/// "Term importance analysis").
///
/// Patterns are frozen as the full pass made them. Pass 0 adds nothing of any head and keeps what each layer's heads would
/// have written; pass `n` adds what pass `n - 1` kept. The divisors of the normalisations are frozen too, which makes
/// every term linear: as many passes as there are layers give the model back. Biases count to the heads of their layer.
pub struct Expansion<'a> {
    frozen: Frozen<'a>,
    /// The last residual stream with terms up to order `n`, `[0..=layers]`, `[tokens, width]` each.
    orders: Vec<Tensor>,
    /// What the single heads of each layer write.
    singles: Vec<Tensor>,
}

impl<'a> Expansion<'a> {
    /// Expands a prompt whose pass left `trace`, no head ablated.
    ///
    /// # Errors
    /// When the model has no layers or has MLPs, whose paths are not linear.
    pub fn of(decoder: &'a Decoder, trace: &'a Trace, control: &Control<'_>) -> Result<Self> {
        let layers = decoder.spec.layers;
        if !decoder.spec.mlp.is_empty() {
            bail!("term importance needs an attention-only model: through MLPs, paths are no sum of terms");
        }
        if layers == 0 {
            bail!("a model without layers has one term, the direct path");
        }
        let frozen = Frozen::of(decoder, trace)?;
        let mut kept: Vec<Tensor> =
            (0..layers).map(|_| frozen.embedding.zeros_like()).collect::<candle_core::Result<_>>()?;
        let (mut orders, mut singles) = (Vec::new(), Vec::new());
        steps(layers + 1, control, |order| {
            let mut x = frozen.embedding.clone();
            let mut written = Vec::with_capacity(layers);
            for (layer, kept) in kept.iter().enumerate() {
                control.check()?;
                written.push(frozen.heads(layer, &x)?);
                x = (x + kept)?;
            }
            orders.push(x);
            if order == 0 {
                singles.clone_from(&written);
            }
            kept = written;
            Ok(())
        })?;
        Ok(Self { frozen, orders, singles })
    }

    /// The mean losses of predicting `targets` after the tokens at `positions`, as many.
    pub fn over(&self, positions: Range<usize>, targets: &[u32]) -> Result<Terms> {
        let direct = &self.frozen.embedding;
        let singles = self.singles.iter().try_fold(direct.clone(), |sum, layer| sum + layer)?;
        let losses = |streams: &mut dyn Iterator<Item = candle_core::Result<Tensor>>| {
            streams.map(|x| self.frozen.loss(&x?, positions.clone(), targets)).collect::<Result<Vec<_>>>()
        };
        Ok(Terms {
            uniform: (self.frozen.decoder.spec.vocabulary as f64).ln(),
            losses: losses(&mut self.orders.iter().map(|x| Ok(x.clone())))?,
            alone: losses(&mut self.singles.iter().map(|layer| direct + layer))?,
            without: losses(&mut self.singles.iter().map(|layer| &singles - layer))?,
        })
    }
}

/// A pass whose patterns and divisors stay.
struct Frozen<'a> {
    decoder: &'a Decoder,
    trace: &'a Trace,
    /// Embeddings and positions, `[tokens, width]`.
    embedding: Tensor,
    /// The normalisations' divisors at the layers and at the end, `[tokens, 1]`.
    divisors: Vec<Tensor>,
}

impl<'a> Frozen<'a> {
    fn of(decoder: &'a Decoder, trace: &'a Trace) -> Result<Self> {
        let residuals = trace.layers.iter().map(|layer| &layer.residual).chain([&trace.last]);
        let norms = decoder.layers.iter().map(|layer| &layer.norm).chain([&decoder.norm]);
        let divisors =
            residuals.zip(norms).map(|(x, norm)| norm.divisors(&x.view()?)).collect::<Result<_>>()?;
        Ok(Self { decoder, trace, embedding: trace.layers[0].residual.view()?.copy()?, divisors })
    }

    fn normalise(&self, x: &Tensor, norm: &NormWeights, at: usize) -> Result<Tensor> {
        let scaled = norm.centred(x)?.broadcast_div(&self.divisors[at])?;
        Ok(scaled.broadcast_mul(&norm.gain)?.broadcast_add(&norm.bias)?)
    }

    /// What the heads of a layer write when they read `x`, `[tokens, width]`.
    fn heads(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let (spec, weights) = (&self.decoder.spec, &self.decoder.layers[layer]);
        let tokens = self.trace.len();
        let values = weights.values(&self.normalise(x, &weights.norm, layer)?)?;
        let mixed = |head: usize| -> Result<Tensor> {
            let pattern = self.trace.matrix(Head::new(layer, head))?;
            let pattern = Tensor::from_vec(pattern, (tokens, tokens), &Device::Cpu)?.to_device(x.device())?;
            let values = values.narrow(1, head / spec.group() * spec.value_size, spec.value_size)?;
            Ok(pattern.matmul(&values.contiguous()?)?)
        };
        let mixed = (0..spec.heads).map(mixed).collect::<Result<Vec<_>>>()?;
        weights.output.forward(&Tensor::cat(&mixed, 1)?)
    }

    /// The mean loss of predicting `targets` after the tokens at `positions`, nats.
    fn loss(&self, x: &Tensor, positions: Range<usize>, targets: &[u32]) -> Result<f64> {
        let last = self.decoder.spec.layers;
        let normed = self.normalise(x, &self.decoder.norm, last)?;
        let normed = normed.narrow(0, positions.start, positions.len())?.contiguous()?;
        let logits = self.decoder.unembed(&normed)?;
        let logits = logits.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let targets = Tensor::new(targets, &Device::Cpu)?.unsqueeze(1)?;
        let chosen = logits.gather(&targets, 1)?.squeeze(1)?;
        Ok((logits.log_sum_exp(1)? - chosen)?.mean_all()?.to_scalar::<f64>()?)
    }
}
