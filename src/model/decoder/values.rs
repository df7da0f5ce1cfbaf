//! What passes the sites of a run, recomputed from its trace, and the edits that are made of it.

use std::ops::Range;

use anyhow::{Result, bail};
use candle_core::{DType, Tensor};

use super::{Decoder, Span, heads::Angles};
use crate::model::{
    attention::{Cut, Inputs},
    edit::{self, Change, Edit, Edits, Part, Site, Value},
    mlp::Body,
    norm::NormWeights,
    router::Picked,
    spec::NormPlace,
    trace::{Grow, Trace},
};

/// What a layer adds to the residual stream at one token, and the normalisations of the stream itself that it passes.
pub struct Writes {
    /// What each head writes, `[heads, width]`.
    pub heads: Tensor,
    /// What attention writes beside, its bias, `[1, width]`.
    pub bias: Tensor,
    /// What the MLP writes, `[1, width]`; none where there is none.
    pub mlp: Option<Tensor>,
    /// In families that normalise the sum: the normalisation after attention, and what it normalises, `[1, width]`.
    pub between: Option<(NormWeights, Tensor)>,
    /// The same after the MLP.
    pub after: Option<(NormWeights, Tensor)>,
}

impl Decoder {
    /// Edits with the values that they put in place, of `clean`, the unchanged run, whose first `prompt` tokens are the prompt.
    ///
    /// # Errors
    /// When the model has no such site.
    pub fn edits(&self, edits: &[Edit], clean: &Trace, prompt: usize) -> Result<Edits> {
        let mut all = Edits::default();
        for edit in edits {
            self.add_edit(&mut all, edit, clean, prompt)?;
        }
        Ok(all)
    }

    /// Adds an edit with its value to others.
    ///
    /// # Errors
    /// When the model has no such site, or the value is none for it.
    pub fn add_edit(&self, edits: &mut Edits, edit: &Edit, clean: &Trace, prompt: usize) -> Result<()> {
        let Edit { site, tokens, value } = edit;
        site.check(&self.spec)?;
        let after = matches!(value, Value::Zero);
        match (site.columns(&self.spec), *site, value) {
            (None, Site::Edge { head, query, key }, Value::Zero | Value::Knockout) => {
                edits.cut(head.layer, Cut { head: head.head, query, key, after });
            }
            (Some((part, columns)), ..) => {
                let (layer, tokens) = (site.layer(), tokens.clone());
                edits.push(self.change([layer, prompt], part, columns, tokens, value, clean)?);
            }
            (None, ..) => bail!("an edge is knocked out or set to zero, nothing else"),
        }
        Ok(())
    }

    /// What comes in the place of some numbers of a part of a layer.
    fn change(
        &self,
        [layer, prompt]: [usize; 2],
        part: Part,
        columns: Range<usize>,
        tokens: Option<Range<usize>>,
        value: &Value,
        clean: &Trace,
    ) -> Result<Change> {
        let of = |trace: &Trace, tokens: Range<usize>| -> Result<Tensor> {
            let values = self.values(trace, layer, part, tokens)?;
            Ok(values.narrow(1, columns.start, columns.len())?)
        };
        let (rows, known) = match value {
            Value::Knockout => bail!("edges alone are knocked out: give zero, mean or another run"),
            Value::Zero => (Tensor::zeros((1, columns.len()), DType::F32, &self.device)?, None),
            Value::Mean => (of(clean, 0..prompt.min(clean.len()))?.mean_keepdim(0)?, None),
            // A sum is a copy: the other run may go on in the memory that its trace is in.
            Value::From(others) => {
                let known = others.iter().map(Trace::len).min().unwrap_or_default();
                let mut sum = Tensor::zeros((known, columns.len()), DType::F32, &self.device)?;
                for other in others.iter() {
                    sum = (sum + of(other, 0..known)?)?;
                }
                ((sum / others.len().max(1) as f64)?, Some(known))
            }
            Value::MeanSoFar => {
                let counts: Vec<f32> = (1..=clean.len()).map(|tokens| tokens as f32).collect();
                let counts = Tensor::from_vec(counts, (clean.len(), 1), &self.device)?;
                (of(clean, 0..clean.len())?.cumsum(0)?.broadcast_div(&counts)?, Some(clean.len()))
            }
        };
        let all = tokens.unwrap_or(0..usize::MAX);
        let tokens = all.start..all.end.min(known.unwrap_or(usize::MAX));
        Ok(Change { layer, part, columns, tokens, rows, constant: known.is_none() })
    }

    /// What the heads of a layer put out at `tokens` of a trace, `[1, tokens, heads * head_size]`.
    pub(super) fn outputs(&self, trace: &Trace, layer: usize, tokens: Range<usize>) -> Result<Tensor> {
        let kept = &trace.layers[layer];
        let seen =
            |kept: &Grow| -> Result<Tensor> { Ok(kept.view()?.narrow(1, 0, tokens.end)?.unsqueeze(0)?) };
        let queries = kept.queries.view()?.narrow(1, tokens.start, tokens.len())?.unsqueeze(0)?;
        let (keys, values) = (seen(&kept.keys)?, seen(&kept.values)?);
        let inputs = Inputs {
            queries: &queries,
            keys: &keys,
            values: &values,
            first: tokens.start,
            rule: &trace.rules[layer],
        };
        match self.attention.attend(layer, &inputs, None, true)? {
            Some(outputs) => Ok(outputs),
            None => bail!("layer {layer} puts nothing out"),
        }
    }

    /// How many experts a layer has, and those of each token of an unchanged run; none of a layer without.
    pub fn picked(&self, trace: &Trace, layer: usize) -> Result<Option<(usize, Vec<Picked>)>> {
        let Some(weights) = &self.layers[layer].mlp else { return Ok(None) };
        let (Body::Experts(mixture), Some(experts)) =
            (&weights.body, self.spec.mlp.get(layer).and_then(|mlp| mlp.experts))
        else {
            return Ok(None);
        };
        let stream = trace.residual_before(layer)?;
        let read = match self.spec.parallel {
            true => stream,
            false => {
                let attention = self.values(trace, layer, Part::Attention, 0..trace.len())?;
                self.add(&stream, &attention, self.layers[layer].post_norm.as_ref())?
            }
        };
        Ok(Some((mixture.experts.len(), mixture.picked(&weights.norm.apply(&read)?, &experts)?)))
    }

    /// What a layer adds to the residual stream at one token, apart by who wrote it.
    pub fn writes(&self, trace: &Trace, layer: usize, query: usize, edits: &Edits) -> Result<Writes> {
        let spec = &self.spec;
        let stream = trace.residual_before(layer)?.narrow(0, query, 1)?;
        let outputs = self.outputs(trace, layer, query..query + 1)?;
        let outputs = edits.apply(layer, Part::Heads, outputs, query)?;
        let whole = outputs.squeeze(0)?;
        let (size, all) = (whole.dim(1)? / spec.heads, whole.dim(1)?);
        let one = |head: usize| -> Result<Tensor> {
            let blank = |columns| Tensor::zeros((1, columns), whole.dtype(), whole.device());
            let part = whole.narrow(1, head * size, size)?;
            Ok(Tensor::cat(&[&blank(head * size)?, &part, &blank(all - (head + 1) * size)?], 1)?)
        };
        let parts = (0..spec.heads).map(one).collect::<Result<Vec<_>>>()?;
        let heads = self.write(layer, &Tensor::cat(&parts, 0)?, &whole)?;
        let span = Span { sequences: 1, start: query, angles: Angles::default(), rules: trace.rules.clone() };
        let values = self.after_heads(layer, &stream, outputs, &span, edits)?;
        let weights = &self.layers[layer];
        let on_sum = |norm: Option<&NormWeights>| norm.filter(|_| spec.norm.place == NormPlace::Sum).cloned();
        let first = on_sum(weights.post_norm.as_ref());
        let second = on_sum(weights.mlp.as_ref().and_then(|mlp| mlp.post_norm.as_ref()));
        Ok(Writes {
            between: first
                .map(|norm| Ok::<_, anyhow::Error>((norm, (&stream + &values.attention)?)))
                .transpose()?,
            after: match (second, &values.mlp) {
                (Some(norm), Some(mlp)) => Some((norm, (&values.between + mlp)?)),
                _ => None,
            },
            bias: (&values.attention - heads.sum_keepdim(0)?)?,
            heads,
            mlp: values.mlp,
        })
    }

    /// Values of a part of a layer at `tokens` of the trace of an unchanged run, `[tokens, size]`, recomputed from what it
    /// keeps. The residual stream is known after the last layer too.
    ///
    /// # Errors
    /// Also when the layer has no such part.
    pub fn values(&self, trace: &Trace, layer: usize, part: Part, tokens: Range<usize>) -> Result<Tensor> {
        let stream = trace.residual_before(layer)?.narrow(0, tokens.start, tokens.len())?;
        if part == Part::Residual {
            return Ok(stream);
        }
        let outputs = self.outputs(trace, layer, tokens.clone())?;
        if part == Part::Heads {
            return Ok(outputs.squeeze(0)?);
        }
        let rules = trace.rules.clone();
        let span = Span { sequences: 1, start: tokens.start, angles: Angles::default(), rules };
        let values = self.after_heads(layer, &stream, outputs, &span, &edit::NONE)?;
        match (part, values.mlp) {
            (Part::Mlp, Some(mlp)) => Ok(mlp),
            (Part::Mlp, None) => bail!("layer {layer} has no MLP"),
            _ => Ok(values.attention),
        }
    }
}
