//! Normalisation of rows.

use anyhow::Result;
use candle_core::Tensor;

use super::spec::NormKind;

/// A normalisation with its weights.
#[derive(Clone)]
pub struct NormWeights {
    /// Its kind.
    pub kind: NormKind,
    /// Added to the variance.
    pub epsilon: f32,
    /// Gain, `[width]`.
    pub gain: Tensor,
    /// Bias, `[width]`; zero where the family has none.
    pub bias: Tensor,
}

impl NormWeights {
    /// Normalises each row of `[rows, width]`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.kind {
            NormKind::Rms => candle_nn::ops::rms_norm(&x.contiguous()?, &self.gain, self.epsilon)?,
            NormKind::Layer => {
                candle_nn::ops::layer_norm(&x.contiguous()?, &self.gain, &self.bias, self.epsilon)?
            }
            NormKind::None => x.clone(),
        })
    }

    /// What it takes the size of, `[rows, width]`: `x`, or for LayerNorm `x` less the mean of its numbers.
    pub fn centred(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self.kind {
            NormKind::Rms | NormKind::None => x.clone(),
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(1)?)?,
        })
    }

    /// What it divides each row by, `[rows, 1]`: the root mean square, for LayerNorm the deviation; 1 where it does not
    /// normalise.
    pub fn divisors(&self, x: &Tensor) -> Result<Tensor> {
        let squares = self.centred(x)?.sqr()?.mean_keepdim(1)?;
        Ok(match self.kind {
            NormKind::None => squares.ones_like()?,
            _ => (squares + f64::from(self.epsilon))?.sqrt()?,
        })
    }

    /// The part of the normalised `whole`, `[rows, width]`, that `part` of it makes: with the divisors of the whole and
    /// without the bias, which belongs to no part.
    pub fn of_part(&self, part: &Tensor, whole: &Tensor) -> Result<Tensor> {
        let scaled = self.centred(part)?.broadcast_div(&self.divisors(whole)?)?;
        Ok(scaled.broadcast_mul(&self.gain)?)
    }
}
