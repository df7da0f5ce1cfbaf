//! One step of training: gradients of a batch, their norm bounded, and AdamW (Loshchilov and Hutter 2019).
//!
//! AdamW is written out here and not taken from candle because its two moments have to be stored with a run.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

use super::{data::Batch, model::Model, ops::token_losses};

/// The gradient's longest norm over all weights.
const LONGEST_GRADIENT: f64 = 1.;
/// Sequences that one core works on at a time.
const PART: usize = 8;
/// How slowly the moments forget.
const BETAS: (f64, f64) = (0.9, 0.99);
/// Added to the root of the second moment.
const EPSILON: f64 = 1e-8;
/// Share of a weight that goes at learning rate 1.
const WEIGHT_DECAY: f64 = 0.01;

/// The optimiser and the threads that work for it.
pub struct Learner {
    /// First and second moment of each weight's gradient, in the order of [`Model::weights`].
    moments: Vec<(Tensor, Tensor)>,
    /// Steps done; the moments' bias is corrected by it.
    steps: usize,
    pool: rayon::ThreadPool,
}

impl Learner {
    /// Nothing learnt yet.
    pub fn new(model: &Model) -> Result<Self> {
        let zeros = |(_, var): &(String, Var)| Ok((var.zeros_like()?, var.zeros_like()?));
        let moments = model.weights().iter().map(zeros).collect::<Result<_>>()?;
        Self::resume(moments, 0)
    }

    /// With the `moments` that were there after so many steps.
    pub fn resume(moments: Vec<(Tensor, Tensor)>, steps: usize) -> Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        Ok(Self { moments, steps, pool })
    }

    /// First and second moment of each weight's gradient, in the order of [`Model::weights`].
    pub fn moments(&self) -> &[(Tensor, Tensor)] {
        &self.moments
    }

    /// Makes one step; returns the mean loss before it, in nats per token.
    pub fn step(&mut self, model: &Model, sequences: &[Vec<u32>], rate: f64) -> Result<f64> {
        let (loss, gradients) = self.gradients(model, sequences)?;
        let shorter = shortening(&gradients)?;
        self.steps += 1;
        let corrections = (correction(BETAS.0, self.steps), correction(BETAS.1, self.steps));
        for (((_, weight), moments), gradient) in model.weights().iter().zip(&mut self.moments).zip(gradients)
        {
            descend(weight, moments, &(gradient * shorter)?, corrections, rate)?;
        }
        Ok(loss)
    }

    /// The mean loss of a batch and its gradient for each weight.
    ///
    /// On the CPU the batch is worked on in parts of [`PART`] sequences, each from the embedding to its gradient on one
    /// core: threads meet once a step instead of at every operation. The parts do not depend on the number of cores and
    /// are summed in order, so neither do the weights.
    fn gradients(&self, model: &Model, sequences: &[Vec<u32>]) -> Result<(f64, Vec<Tensor>)> {
        let part = |part: &[Vec<u32>]| -> Result<(f64, GradStore)> {
            let share = part.len() as f64 / sequences.len() as f64;
            let loss = (mean_loss(model, &Batch::new(part, model.device())?)? * share)?;
            let gradients = loss.backward()?;
            Ok((loss.to_dtype(DType::F64)?.to_scalar()?, gradients))
        };
        let size = if model.device().is_cpu() { PART } else { sequences.len() };
        let parts: Vec<(f64, GradStore)> =
            self.pool.install(|| sequences.par_chunks(size).map(part).collect::<Result<_>>())?;
        let sum = |(name, var): &(String, Var)| -> Result<Tensor> {
            let mut shares = parts.iter().filter_map(|(_, gradients)| gradients.get(var));
            let first = shares.next().with_context(|| format!("{name} has no gradient"))?.clone();
            Ok(shares.try_fold(first, |sum, share| sum + share)?)
        };
        let gradients = model.weights().iter().map(sum).collect::<Result<_>>()?;
        Ok((parts.iter().map(|(loss, _)| loss).sum(), gradients))
    }
}

/// The mean loss of a batch in nats per token, with its way back to the weights.
pub fn mean_loss(model: &Model, batch: &Batch) -> Result<Tensor> {
    let logits = model.forward(&batch.inputs)?.logits;
    Ok(token_losses(&logits.flatten_to(1)?, &batch.targets)?.mean_all()?)
}

/// The factor that takes the gradient's norm to [`LONGEST_GRADIENT`] where it is longer.
fn shortening(gradients: &[Tensor]) -> Result<f64> {
    let mut square = 0.;
    for gradient in gradients {
        square +=
            gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?.to_scalar::<f64>()?;
    }
    Ok((LONGEST_GRADIENT / square.sqrt()).min(1.))
}

/// What a moment that began at zero is multiplied by after so many steps.
fn correction(beta: f64, steps: usize) -> f64 {
    1. / (1. - beta.powi(steps as i32))
}

/// AdamW's step for one weight.
fn descend(
    weight: &Var,
    moments: &mut (Tensor, Tensor),
    gradient: &Tensor,
    corrections: (f64, f64),
    rate: f64,
) -> Result<()> {
    let first = ((&moments.0 * BETAS.0)? + (gradient * (1. - BETAS.0))?)?;
    let second = ((&moments.1 * BETAS.1)? + (gradient.sqr()? * (1. - BETAS.1))?)?;
    let step = ((&first * corrections.0)? / ((&second * corrections.1)?.sqrt()? + EPSILON)?)?;
    weight.set(&((weight.as_tensor() * (1. - rate * WEIGHT_DECAY))? - (step * rate)?)?)?;
    // Without their history, which would keep every gradient there ever was.
    *moments = (first.detach(), second.detach());
    Ok(())
}
