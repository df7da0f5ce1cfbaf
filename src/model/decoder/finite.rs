//! Where a pass stops being finite: looked for only after it has ended in numbers that are not.

use std::fmt;

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{Decoder, Span, heads::Angles};
use crate::model::{edit, linear::with_host, trace::Trace};

/// A step of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// From token ids to the residual stream.
    Embedding,
    /// The normalisation before a layer's attention.
    AttentionNorm(usize),
    /// A layer's queries, rotated.
    Queries(usize),
    /// A layer's keys, rotated.
    Keys(usize),
    /// A layer's values.
    Values(usize),
    /// A layer's scores, their softmax and the weighted values.
    Attention(usize),
    /// What a layer's attention adds to the residual stream.
    Output(usize),
    /// The normalisation before a layer's MLP.
    MlpNorm(usize),
    /// What a layer's MLP adds to the residual stream.
    Mlp(usize),
    /// The last normalisation.
    LastNorm,
    /// From the residual stream to logits.
    Unembedding,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("the embedding"),
            Self::AttentionNorm(layer) => write!(f, "layer {layer}'s normalisation before attention"),
            Self::Queries(layer) => write!(f, "layer {layer}'s queries"),
            Self::Keys(layer) => write!(f, "layer {layer}'s keys"),
            Self::Values(layer) => write!(f, "layer {layer}'s values"),
            Self::Attention(layer) => write!(f, "layer {layer}'s attention"),
            Self::Output(layer) => write!(f, "what layer {layer}'s attention writes"),
            Self::MlpNorm(layer) => write!(f, "layer {layer}'s normalisation before the MLP"),
            Self::Mlp(layer) => write!(f, "layer {layer}'s MLP"),
            Self::LastNorm => f.write_str("the last normalisation"),
            Self::Unembedding => f.write_str("the unembedding"),
        }
    }
}

/// Where numbers stop being finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// The first step whose numbers are not.
    pub step: Step,
    /// The first token of whose numbers that is so.
    pub token: usize,
}

impl Decoder {
    /// The first step of a pass whose numbers are not all finite; `None` where the residual stream that it ends with is, which
    /// is all that is looked at then.
    pub fn first_break(&self, trace: &Trace) -> Result<Option<Break>> {
        let Some(last) = broken(&trace.last.view()?, 0)? else { return Ok(None) };
        let Some(layers) = self.spec.layers.checked_sub(1) else {
            return Ok(Some(Break { step: Step::Embedding, token: last }));
        };
        // What comes out of each layer but the last is what the next one begins with.
        for (layer, of_layer) in trace.layers.iter().enumerate() {
            let token = broken(&of_layer.residual.view()?, 0)?;
            match (token, layer.checked_sub(1)) {
                (None, _) => {}
                (Some(token), None) => return Ok(Some(Break { step: Step::Embedding, token })),
                (Some(token), Some(before)) => return self.break_in(trace, before, token).map(Some),
            }
        }
        self.break_in(trace, layers, last).map(Some)
    }

    /// The first step of a layer, which ends in such numbers at `token`, whose numbers are not all finite.
    fn break_in(&self, trace: &Trace, layer: usize, token: usize) -> Result<Break> {
        let (weights, kept) = (&self.layers[layer], &trace.layers[layer]);
        let x = kept.residual.view()?;
        let (queries, keys, values) = (kept.queries.view()?, kept.keys.view()?, kept.values.view()?);
        let found = |step, token: Option<usize>| token.map(|token| Break { step, token });
        if let Some(found) = found(Step::AttentionNorm(layer), broken(&weights.norm.apply(&x)?, 0)?)
            .or(found(Step::Queries(layer), broken(&queries, 1)?))
            .or(found(Step::Keys(layer), broken(&keys, 1)?))
            .or(found(Step::Values(layer), broken(&values, 1)?))
        {
            return Ok(found);
        }
        let outputs = self.outputs(trace, layer, 0..trace.len())?;
        if let Some(found) = found(Step::Attention(layer), broken(&outputs, 1)?) {
            return Ok(found);
        }
        let span = Span { sequences: 1, start: 0, angles: Angles::default(), rules: trace.rules.clone() };
        let values = self.after_heads(layer, &x, outputs, &span, &edit::NONE)?;
        let of_output = found(Step::Output(layer), broken(&values.between, 0)?);
        let of_norm = match &weights.mlp {
            Some(mlp) if of_output.is_none() => {
                let read = if self.spec.parallel { &x } else { &values.between };
                found(Step::MlpNorm(layer), broken(&mlp.norm.apply(read)?, 0)?)
            }
            _ => None,
        };
        Ok(of_output.or(of_norm).unwrap_or(Break { step: Step::Mlp(layer), token }))
    }

    /// Whether it is the last normalisation or the unembedding that makes logits of the residual stream `[rows, width]` that
    /// are not all finite.
    pub fn break_of_logits(&self, last: &Tensor) -> Result<Step> {
        let normed = broken(&self.norm.apply(last)?, 0)?;
        Ok(if normed.is_some() { Step::LastNorm } else { Step::Unembedding })
    }
}

/// Whether all numbers are finite, told by one number: 0 times any of the others is none.
fn is_finite(x: &Tensor) -> Result<bool> {
    Ok((x * 0.0)?.sum_all()?.to_scalar::<f32>()? == 0.0)
}

/// The first token, along dimension `axis`, with a number that is not finite.
fn broken(x: &Tensor, axis: usize) -> Result<Option<usize>> {
    // From an accelerator one number comes, and all of them only where some is broken.
    if !x.device().is_cpu() && is_finite(x)? {
        return Ok(None);
    }
    let tokens = x.dim(axis)?;
    let size = x.dims()[axis + 1..].iter().product::<usize>();
    let x = x.to_device(&Device::Cpu)?.contiguous()?;
    with_host(&x, |numbers| {
        let of_number = |at: usize| at / size % tokens;
        let odd = numbers.iter().enumerate().filter(|(_, number)| !number.is_finite());
        odd.map(|(at, _)| of_number(at)).min()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_tells_whether_all_are_finite() {
        for (odd, finite) in [(f32::MAX, true), (-0.0, true), (f32::NAN, false), (f32::NEG_INFINITY, false)] {
            let numbers: Vec<f32> = (0..12).map(|at| if at == 7 { odd } else { f32::MAX }).collect();
            let x = Tensor::from_vec(numbers, (4, 3), &Device::Cpu).unwrap();
            assert_eq!(is_finite(&x).unwrap(), finite, "{odd}");
            assert_eq!(broken(&x, 0).unwrap(), (!finite).then_some(2), "{odd}");
        }
    }
}
