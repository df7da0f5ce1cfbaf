//! The MLP of a layer: one, or experts of which a router picks some for each token.

use anyhow::Result;
use candle_core::{D, DType, Device, Tensor};

use super::{activation, linear::Linear, norm::NormWeights, spec::Mlp};

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
    Experts {
        /// From the residual stream to a score for each expert.
        router: Linear,
        /// Each expert's projections.
        experts: Vec<Projections>,
    },
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
            (Body::Experts { router, experts }, Some(spec)) => {
                let shares = shares(&router.forward(&x)?, spec.top, spec.renormalised)?;
                mixed(&x, &shares, experts, mlp)
            }
            (Body::Dense(projections), _) => projections.forward(&x, mlp),
            (Body::Experts { .. }, None) => anyhow::bail!("an MLP has experts that its description lacks"),
        }
    }
}

/// The experts that work on each row and their shares, from the router's scores `[rows, experts]`: those with the `top`
/// largest, weighed by the softmax over all experts, or over these alone where it is `renormalised`.
fn shares(scores: &Tensor, top: usize, renormalised: bool) -> Result<Vec<Vec<(usize, f32)>>> {
    let shares = candle_nn::ops::softmax(&scores.to_dtype(DType::F32)?, D::Minus1)?;
    let shares = shares.to_device(&Device::Cpu)?.to_vec2::<f32>()?;
    let best = |row: Vec<f32>| {
        let mut order: Vec<(usize, f32)> = row.into_iter().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        order.truncate(top);
        let total: f32 = order.iter().map(|expert| expert.1).sum();
        if renormalised && total > 0.0 {
            order.iter_mut().for_each(|expert| expert.1 /= total);
        }
        order
    };
    Ok(shares.into_iter().map(best).collect())
}

/// The sum of what the experts of each row make of it, `[rows, width]`; an expert sees its rows in one go.
fn mixed(x: &Tensor, shares: &[Vec<(usize, f32)>], experts: &[Projections], mlp: &Mlp) -> Result<Tensor> {
    let mut rows_of: Vec<(Vec<u32>, Vec<f32>)> = vec![Default::default(); experts.len()];
    for (row, chosen) in (0u32..).zip(shares) {
        for &(expert, share) in chosen {
            rows_of[expert].0.push(row);
            rows_of[expert].1.push(share);
        }
    }
    let mut sum = x.zeros_like()?;
    for (expert, (rows, shares)) in experts.iter().zip(rows_of) {
        if rows.is_empty() {
            continue;
        }
        let count = rows.len();
        let rows = Tensor::from_vec(rows, count, x.device())?;
        let shares = Tensor::from_vec(shares, (count, 1), x.device())?;
        let made = expert.forward(&x.index_select(&rows, 0)?, mlp)?.broadcast_mul(&shares)?;
        sum = sum.index_add(&rows, &made, 0)?;
    }
    Ok(sum)
}
