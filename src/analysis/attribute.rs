//! Direct logit attribution: a logit, or the difference of two, as the sum of what the embedding, every head, every MLP and the
//! biases write to it directly.
//!
//! The divisors of the last normalisation, and of those that normalise the residual stream itself, are those of the whole
//! stream: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", with the scale frozen.

use anyhow::Result;
use candle_core::{Device, Tensor};

use crate::{
    head::PerHead,
    model::{
        decoder::{Control, Decoder},
        edit::Edits,
        norm::NormWeights,
        spec::NormKind,
        trace::Trace,
    },
};

/// A logit or the difference of two, taken apart; all but `logit` sum to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribution {
    /// What each head writes, `[layers, heads]`.
    pub heads: PerHead<f32>,
    /// What the bias of each layer's attention writes, `[layers]`.
    pub attn_bias: Vec<f32>,
    /// What each MLP writes, `[layers]`; 0 where there is none.
    pub mlps: Vec<f32>,
    /// The embedding with its positions.
    pub embedding: f32,
    /// The biases of the unembedding and of normalisations of the stream itself.
    pub bias: f32,
    /// The logit, or the difference.
    pub logit: f32,
    /// What is left: the cap's bend where the family has one, what an edit put into the stream, rounding.
    pub remainder: f32,
}

/// Everything that was written so far, a row each: the embedding, the biases of normalisations, and the layers one by one.
struct Stack(Tensor);

impl Stack {
    const BIAS: usize = 1;

    fn push(&mut self, rows: &Tensor) -> Result<()> {
        self.0 = Tensor::cat(&[&self.0, rows], 0)?;
        Ok(())
    }

    /// What a normalisation of `whole`, `[1, width]`, makes of it.
    fn normalise(&mut self, norm: &NormWeights, whole: &Tensor) -> Result<()> {
        let rows = norm.of_part(&self.0, whole)?;
        self.0 = match norm.kind {
            NormKind::Layer => {
                let bias = (rows.narrow(0, Self::BIAS, 1)? + norm.bias.reshape((1, ()))?)?;
                let rest = rows.narrow(0, 2, rows.dim(0)? - 2)?;
                Tensor::cat(&[&rows.narrow(0, 0, 1)?, &bias, &rest], 0)?
            }
            _ => rows,
        };
        Ok(())
    }
}

/// Takes the logit of `target` after token `query` apart, or its difference from that of `against`. `trace` is the run with
/// `edits`.
pub fn attribute(
    decoder: &Decoder,
    trace: &Trace,
    edits: &Edits,
    query: usize,
    target: u32,
    against: Option<u32>,
    control: &Control<'_>,
) -> Result<Attribution> {
    let (layers, heads) = (decoder.spec.layers, decoder.spec.heads);
    let embedding = trace.residual_before(0)?.narrow(0, query, 1)?;
    let mut stack = Stack(Tensor::cat(&[&embedding, &embedding.zeros_like()?], 0)?);
    for layer in 0..layers {
        control.check()?;
        (control.progress)(layer, layers);
        let writes = decoder.writes(trace, layer, query, edits)?;
        stack.push(&writes.heads)?;
        stack.push(&writes.bias)?;
        if let Some((norm, sum)) = &writes.between {
            stack.normalise(norm, sum)?;
        }
        stack.push(&writes.mlp.map_or_else(|| embedding.zeros_like(), Ok)?)?;
        if let Some((norm, sum)) = &writes.after {
            stack.normalise(norm, sum)?;
        }
    }
    let last = trace.last.view()?.narrow(0, query, 1)?;
    stack.normalise(&decoder.norm, &last)?;
    let ids: Vec<u32> = [target].into_iter().chain(against).collect();
    let difference = |of: &[f32]| of[0] - of.get(1).copied().unwrap_or_default();
    let written = stack.0.matmul(&decoder.unembedding_rows(&ids)?.t()?)?.to_device(&Device::Cpu)?;
    let written: Vec<f32> = written.to_vec2::<f32>()?.iter().map(|row| difference(row)).collect();
    let logit = difference(&decoder.logits_of(&last, &ids)?);
    let of_layer = |layer: usize| &written[2 + layer * (heads + 2)..][..heads + 2];
    let bias = written[Stack::BIAS] + difference(&decoder.unembedding_bias(&ids)?);
    let parts: f64 = written.iter().map(|&part| f64::from(part)).sum();
    Ok(Attribution {
        heads: PerHead::from_fn(layers, heads, |head| of_layer(head.layer)[head.head]),
        attn_bias: (0..layers).map(|layer| of_layer(layer)[heads]).collect(),
        mlps: (0..layers).map(|layer| of_layer(layer)[heads + 1]).collect(),
        embedding: written[0],
        bias,
        logit,
        remainder: (f64::from(logit) - parts - f64::from(bias - written[Stack::BIAS])) as f32,
    })
}
