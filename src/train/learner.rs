//! One step of training: gradients of a batch, their norm bounded, and AdamW (Loshchilov and Hutter 2019).
//!
//! AdamW is written out here and not taken from candle because its two moments have to be stored with a run.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor, Var, backprop::GradStore};
use rayon::prelude::*;

use super::{config::Config, data::Batch, model::Model, ops::token_losses};
use crate::{memory, text::size};

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

/// Refuses sizes that training cannot have in memory that is free, where the machine tells: weights, moments, the
/// gradients of every part of a batch, and for each core what a part leaves for its way back.
pub fn check_memory(config: &Config, batch: usize) -> Result<()> {
    let [context, vocab, width, heads, layers, inner] = [
        config.max_position_embeddings,
        config.vocab_size,
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        config.intermediate_size.unwrap_or(0),
    ]
    .map(|size| size as f64);
    let parts = batch.div_ceil(PART);
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(parts);
    let sequence = context * (3. * vocab + layers * (20. * width + 3. * heads * context + 5. * inner));
    let numbers = config.parameters() * (4 + parts) as f64 + (cores * batch.min(PART)) as f64 * sequence;
    let needed = (4. * numbers) as u64;
    if let Some(free) = memory::available().filter(|&free| free < needed) {
        bail!(
            "training takes about {} of memory and {} are free: make --width, --vocab, --context or --batch smaller",
            size(needed),
            size(free)
        );
    }
    Ok(())
}

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
            Ok((number(&loss)?, gradients))
        };
        let together = if model.device().is_cpu() { PART } else { sequences.len() };
        let parts: Vec<(f64, GradStore)> =
            self.pool.install(|| sequences.par_chunks(together).map(part).collect::<Result<_>>())?;
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
        square += number(&gradient.sqr()?.sum_all()?)?;
    }
    Ok((LONGEST_GRADIENT / square.sqrt()).min(1.))
}

/// The one number of a tensor. Not every accelerator knows f64.
fn number(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.to_scalar()?)
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
