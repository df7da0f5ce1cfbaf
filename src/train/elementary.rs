//! The operations of [`ops`](super::ops) from candle's elementary ones, for accelerators: slower, the same numbers.

use candle_core::{D, Device, Result, Tensor};

use super::angles::Angles;

/// See [`ops::causal_softmax`](super::ops::causal_softmax).
pub fn causal_softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    let length = scores.dim(D::Minus1)?;
    let hidden = |place: usize| if place % length > place / length { f64::NEG_INFINITY } else { 0. };
    let mask = Tensor::from_vec((0..length * length).map(hidden).collect(), (length, length), &Device::Cpu)?;
    let mask = mask.to_dtype(scores.dtype())?.to_device(scores.device())?;
    candle_nn::ops::softmax(&(scores * scale)?.broadcast_add(&mask)?, D::Minus1)
}

/// See [`ops::rotate`](super::ops::rotate).
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    let (positions, size) = (x.dim(D::Minus2)?, x.dim(D::Minus1)?);
    let (cos, sin): (Vec<f64>, Vec<f64>) = angles.first(positions, size)?.iter().copied().unzip();
    let table = |numbers: Vec<f64>| {
        let table = Tensor::from_vec(numbers, (positions, size / 2), &Device::Cpu)?;
        table.to_dtype(x.dtype())?.to_device(x.device())
    };
    let (cos, sin) = (table(cos)?, table(sin)?);
    let first = x.narrow(D::Minus1, 0, size / 2)?;
    let second = x.narrow(D::Minus1, size / 2, size / 2)?;
    let turned = [
        (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?,
        (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?,
    ];
    Tensor::cat(&turned, D::Minus1)
}

/// See [`ops::token_losses`](super::ops::token_losses).
pub fn token_losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    candle_nn::ops::log_softmax(logits, D::Minus1)?.gather(&targets.unsqueeze(1)?, 1)?.squeeze(1)?.neg()
}
