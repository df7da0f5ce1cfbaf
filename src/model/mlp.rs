//! The MLP of a layer: one, or experts of which a router picks some for each token.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};

use super::{
    activation,
    linear::Linear,
    norm::NormWeights,
    router::{Picked, pick},
    spec::{Experts, Mlp},
};

/// The weights of an MLP.
#[derive(Clone)]
pub struct MlpWeights {
    /// Normalisation before it.
    pub norm: NormWeights,
    /// Normalisation of what it writes, or of the residual stream after it.
    pub post_norm: Option<NormWeights>,
    /// What it computes with.
    pub body: Body,
}

/// What an MLP computes with.
#[derive(Clone)]
pub enum Body {
    /// One set of projections for every token.
    Dense(Box<Projections>),
    /// Several, and what picks among them.
    Experts(Box<Mixture>),
}

/// Experts, and what picks among them.
#[derive(Clone)]
pub struct Mixture {
    /// From the residual stream to a score for each expert.
    pub router: Linear,
    /// What is added to each expert's share for the choice alone, where something is.
    pub correction: Option<Vec<f32>>,
    /// Each expert's projections.
    pub experts: Vec<Projections>,
    /// Those that work on every token, where there are some.
    pub shared: Option<Projections>,
    /// From the residual stream to a score for these, where they have one.
    pub shared_gate: Option<Linear>,
}

/// The projections of an MLP or of an expert.
#[derive(Clone)]
pub struct Projections {
    /// Gate, where there is one.
    pub gate: Option<Linear>,
    /// Way in.
    pub up: Linear,
    /// Normalisation of the hidden layer, where there is one.
    pub inner_norm: Option<NormWeights>,
    /// Way out.
    pub down: Linear,
}

impl Projections {
    fn forward(&self, x: &Tensor, mlp: &Mlp) -> Result<Tensor> {
        let up = self.up.forward(x)?;
        let inner = match &self.gate {
            Some(gate) => activation::apply(mlp.activation, gate.forward(x)?, Some(&up))?,
            None => activation::apply(mlp.activation, up, None)?,
        };
        let inner = match &self.inner_norm {
            Some(norm) => norm.apply(&inner)?,
            None => inner,
        };
        self.down.forward(&inner)
    }
}

impl MlpWeights {
    /// What it computes of the residual stream `[rows, width]`, before `post_norm`.
    pub fn forward(&self, x: &Tensor, mlp: &Mlp) -> Result<Tensor> {
        let x = self.norm.apply(x)?;
        match (&self.body, mlp.experts) {
            (Body::Experts(mixture), Some(experts)) => mixture.forward(&x, mlp, &experts),
            (Body::Dense(projections), _) => projections.forward(&x, mlp),
            (Body::Experts(_), None) => anyhow::bail!("an MLP has experts that its description lacks"),
        }
    }
}

impl Mixture {
    /// The experts of each row of the normalised residual stream, `[rows, width]`, with their shares.
    pub fn picked(&self, x: &Tensor, spec: &Experts) -> Result<Vec<Picked>> {
        let scores = self.router.forward(x)?.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
        let correction = self.correction.as_deref();
        Ok(scores.to_vec2::<f32>()?.iter().map(|scores| pick(scores, correction, spec)).collect())
    }

    fn forward(&self, x: &Tensor, mlp: &Mlp, spec: &Experts) -> Result<Tensor> {
        let picked = self.picked(x, spec)?;
        let sum = self.mixed(x, picked, mlp, spec.router.of_input)?;
        let Some(shared) = &self.shared else { return Ok(sum) };
        let shared = shared.forward(x, mlp)?;
        Ok(match &self.shared_gate {
            Some(gate) => (sum + shared.broadcast_mul(&candle_nn::ops::sigmoid(&gate.forward(x)?)?)?)?,
            None => (sum + shared)?,
        })
    }

    /// The sum of what the experts of each row make of it, `[rows, width]`; an expert sees its rows in one go, and those that no
    /// row has picked are not touched.
    fn mixed(&self, x: &Tensor, picked: Vec<Picked>, mlp: &Mlp, of_input: bool) -> Result<Tensor> {
        let mut rows_of: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); self.experts.len()];
        for (row, picked) in (0u32..).zip(picked) {
            for (expert, share) in picked {
                rows_of[expert].0.push(row);
                rows_of[expert].1.push(share);
            }
        }
        let mut sum = x.zeros_like()?;
        for (expert, (rows, shares)) in self.experts.iter().zip(rows_of) {
            if rows.is_empty() {
                continue;
            }
            let count = rows.len();
            let rows = Tensor::from_vec(rows, count, x.device())?;
            let shares = Tensor::from_vec(shares, (count, 1), x.device())?;
            let read = x.index_select(&rows, 0)?;
            let made = match of_input {
                true => expert.forward(&read.broadcast_mul(&shares)?, mlp)?,
                false => expert.forward(&read, mlp)?.broadcast_mul(&shares)?,
            };
            sum = sum.index_add(&rows, &made, 0)?;
        }
        Ok(sum)
    }
}
