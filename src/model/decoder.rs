//! The one decoder: embedding, layers of attention and MLP, unembedding, as a [`Spec`] describes them.

mod ends;
pub mod finite;
mod heads;

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use self::heads::{Angles, smear};
use super::{
    attention::{Attention, Inputs, Rule, Watch},
    linear::Linear,
    mlp::MlpWeights,
    norm::NormWeights,
    spec::{NormPlace, Spec},
    trace::{LayerTrace, Trace},
};
use crate::{error::Interrupted, head::Head};

/// The weights of a layer.
pub struct LayerWeights {
    /// Normalisation before attention.
    pub norm: NormWeights,
    /// Normalisation of what attention writes, or of the residual stream after it.
    pub post_norm: Option<NormWeights>,
    /// Query projection.
    pub query: Linear,
    /// Key projection.
    pub key: Linear,
    /// Value projection.
    pub value: Linear,
    /// Normalisation of queries before they are rotated; its gain is as wide as the specification says.
    pub query_norm: Option<NormWeights>,
    /// Normalisation of keys before they are rotated.
    pub key_norm: Option<NormWeights>,
    /// The share of the key before in a smeared key, `1 - sigmoid(alpha)`, `[kv_heads, 1, 1]`.
    pub key_smear: Option<Tensor>,
    /// Output projection.
    pub output: Linear,
    /// The MLP, in models that have one.
    pub mlp: Option<MlpWeights>,
}

/// A model, ready to run.
pub struct Decoder {
    /// What it is.
    pub spec: Arc<Spec>,
    /// Where it runs.
    pub device: Device,
    /// Token embedding, `[vocabulary, embedding width]`.
    pub(super) embedding: Linear,
    /// From the embedding's width to the residual stream's.
    pub(super) projection_in: Option<Linear>,
    pub(super) embedding_norm: Option<NormWeights>,
    /// Learned positions, `[offset + context, width]`, where the family has them.
    pub(super) positions: Option<Linear>,
    /// The weights of each layer.
    pub layers: Vec<LayerWeights>,
    /// How scores become attention in each layer.
    pub rules: Arc<[Rule]>,
    /// The way of its device to compute attention.
    pub attention: Arc<dyn Attention>,
    /// The last normalisation.
    pub norm: NormWeights,
    /// From the residual stream's width to the embedding's.
    pub(super) projection_out: Option<Linear>,
    pub(super) unembedding: Option<Linear>,
}

/// How a pass tells what it has done and learns that it is no longer wanted.
pub struct Control<'a> {
    /// Called with layers done and layers in all.
    pub progress: &'a dyn Fn(usize, usize),
    /// Asked before each layer.
    pub cancelled: &'a dyn Fn() -> bool,
}

impl Control<'_> {
    /// A pass that nobody watches or stops.
    pub const FREE: Control<'static> = Control { progress: &|_, _| (), cancelled: &|| false };

    /// Ends the work when it is no longer wanted.
    pub fn check(&self) -> Result<()> {
        if (self.cancelled)() { Err(Interrupted.into()) } else { Ok(()) }
    }

    fn layer(&self, done: usize, total: usize) -> Result<()> {
        self.check()?;
        (self.progress)(done, total);
        Ok(())
    }
}

impl Decoder {
    /// A trace of nothing yet.
    pub fn trace(&self) -> Trace {
        Trace::new(self.spec.clone(), self.rules.clone(), self.attention.clone())
    }

    /// Runs `ids` after what `trace` holds and appends them to it: a prompt, or the next token of one. Where the rotation
    /// depends on the length of the whole sequence, and changes with these tokens, all of it is run again.
    ///
    /// Heads in `ablated` have their output replaced by its mean over the prompt that was run first.
    /// A pass that fails or is cancelled leaves the trace as it was.
    pub fn extend(
        &self,
        trace: &mut Trace,
        ids: &[u32],
        ablated: &BTreeSet<Head>,
        control: &Control<'_>,
    ) -> Result<()> {
        let start = trace.len();
        self.check_ids(ids, start)?;
        let total = start + ids.len();
        if ids.is_empty() && self.spec.turns_alike(trace.turned, total) {
            return Ok(());
        }
        if start > 0 && !self.spec.turns_alike(trace.turned, total) {
            let mut again = self.trace();
            for (new, old) in again.layers.iter_mut().zip(&trace.layers) {
                new.means.clone_from(&old.means);
            }
            let all = [&trace.ids, ids].concat();
            self.extend(&mut again, &all, ablated, control)?;
            *trace = again;
            return Ok(());
        }
        let before = trace.turned;
        trace.turned = total;
        let result = (|| {
            let x = self.embed(ids, 1, start)?;
            self.run_layers(trace, 0, x, start, ablated, control)
        })();
        match result {
            Ok(()) => trace.ids.extend_from_slice(ids),
            Err(_) => {
                trace.truncate(start);
                trace.turned = before;
            }
        }
        result
    }

    /// Keeps the first `length` tokens of a trace, and runs them again where the rotation of the shorter sequence is
    /// another.
    pub fn shorten(
        &self,
        trace: &mut Trace,
        length: usize,
        ablated: &BTreeSet<Head>,
        control: &Control<'_>,
    ) -> Result<()> {
        trace.truncate(length);
        self.extend(trace, &[], ablated, control)
    }

    /// Runs the layers from `layer` on again, with the heads in `ablated` replaced by their means; the cached residual
    /// stream is where it begins.
    ///
    /// # Errors
    /// A pass that is cancelled leaves a trace that must be made anew; it is emptied.
    pub fn rerun(
        &self,
        trace: &mut Trace,
        layer: usize,
        ablated: &BTreeSet<Head>,
        control: &Control<'_>,
    ) -> Result<()> {
        let (tokens, width) = (trace.len(), self.spec.width);
        let x = trace.layers[layer].residual.view()?.reshape((1, tokens, width))?.copy()?;
        trace.rewind(layer);
        for layer in &mut trace.layers[layer..] {
            layer.means.clear();
        }
        let result = self.run_layers(trace, layer, x, 0, ablated, control);
        if result.is_err() {
            trace.truncate(0);
        }
        result
    }

    fn run_layers(
        &self,
        trace: &mut Trace,
        from: usize,
        mut x: Tensor,
        start: usize,
        ablated: &BTreeSet<Head>,
        control: &Control<'_>,
    ) -> Result<()> {
        let angles = self.angles(start, x.dim(1)?, trace.turned)?;
        for layer in from..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            let heads: Vec<usize> =
                ablated.iter().filter(|head| head.layer == layer).map(|head| head.head).collect();
            let store = Some((&mut trace.layers[layer], heads.as_slice()));
            x = self.layer(layer, x, start, &angles, store, None)?;
            if x.dim(1)? > 1 {
                // An accelerator takes orders faster than it follows them: what is told as done should be.
                self.device.synchronize()?;
            }
        }
        control.layer(self.spec.layers, self.spec.layers)?;
        trace.finish(&x.squeeze(0)?)
    }

    /// Runs sequences of equal length and keeps nothing; `watch` sees every pattern on the way.
    ///
    /// What comes after the last layer's patterns is not computed.
    pub fn stream(&self, sequences: &[Vec<u32>], watch: &dyn Watch, control: &Control<'_>) -> Result<()> {
        let ids = sequences.concat();
        let tokens = sequences.first().map_or(0, Vec::len);
        for sequence in sequences {
            self.check_ids(sequence, 0)?;
        }
        let mut x = self.embed(&ids, sequences.len(), 0)?;
        let angles = self.angles(0, tokens, tokens)?;
        for layer in 0..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            x = self.layer(layer, x, 0, &angles, None, Some(watch))?;
        }
        control.layer(self.spec.layers, self.spec.layers)
    }

    /// The residual stream after the last layer at token `query`, `[1, width]`, were the output of `without` its mean
    /// over tokens `0..=query`; the trace stays as it is.
    pub fn last_without(
        &self,
        trace: &Trace,
        without: Head,
        query: usize,
        control: &Control<'_>,
    ) -> Result<Tensor> {
        let tokens = query + 1;
        let mut x = trace.layers[without.layer].residual.view()?.narrow(0, 0, tokens)?.unsqueeze(0)?;
        let angles = self.angles(0, tokens, trace.turned)?;
        for layer in without.layer..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            // A head ablated for good keeps the mean that it has in the trace.
            let mut scratch = LayerTrace::with_means(trace.layers[layer].means.clone());
            let mut heads: BTreeSet<usize> = scratch.means.keys().copied().collect();
            if layer == without.layer {
                heads.insert(without.head);
            }
            let heads: Vec<usize> = heads.into_iter().collect();
            x = self.layer(layer, x, 0, &angles, Some((&mut scratch, &heads)), None)?;
        }
        Ok(x.get(0)?.narrow(0, query, 1)?)
    }

    /// One layer: `[sequences, tokens, width]` to the same.
    ///
    /// With `store`, keys and values of earlier tokens come from there and this pass is appended to it; the heads beside
    /// it are ablated. With `watch`, the last layer ends after its patterns.
    fn layer(
        &self,
        index: usize,
        x: Tensor,
        start: usize,
        angles: &Angles,
        store: Option<(&mut LayerTrace, &[usize])>,
        watch: Option<&dyn Watch>,
    ) -> Result<Tensor> {
        let spec = &self.spec;
        let weights = &self.layers[index];
        let (sequences, tokens, width) = x.dims3()?;
        let flat = x.reshape((sequences * tokens, width))?;
        let normed = weights.norm.apply(&flat)?;
        let placed = self.placed(&normed, sequences, start)?;
        let queries = self.queries(index, &placed, sequences, angles)?;
        let mut keys = self.keys(index, &placed, sequences, angles)?;
        if let Some(share) = &weights.key_smear {
            let before = match &store {
                Some((store, _)) if start > 0 => self.key_before(index, store, start)?,
                _ => keys.narrow(2, 0, 1)?,
            };
            keys = smear(&keys, &before, share)?;
        }
        let mut values =
            self.split_heads(&self.clipped(weights.value.forward(&normed)?)?, sequences, spec.kv_heads)?;
        let mut means = None;
        if let Some((store, ablated)) = store {
            store.append(&x.get(0)?, &queries.get(0)?, &keys.get(0)?, &values.get(0)?)?;
            keys = store.keys.view()?.unsqueeze(0)?;
            values = store.values.view()?.unsqueeze(0)?;
            means = Some((&mut store.means, ablated));
        }
        let inputs = Inputs {
            queries: &queries,
            keys: &keys,
            values: &values,
            first: start,
            rule: &self.rules[index],
        };
        let mix = watch.is_none() || index + 1 < spec.layers;
        let Some(mut mixed) = self.attention.attend(index, &inputs, watch, mix)? else {
            return Ok(x);
        };
        if let Some((means, ablated)) = means {
            for &head in ablated {
                mixed = ablate(&mixed, head, spec.head_size, means)?;
            }
        }
        let written = weights.output.forward(&mixed.reshape((sequences * tokens, ()))?)?;
        let after = self.add(&flat, written, weights.post_norm.as_ref())?;
        let after = match (&weights.mlp, spec.mlp.get(index)) {
            (Some(weights), Some(mlp)) => {
                let made = weights.forward(if spec.parallel { &flat } else { &after }, mlp)?;
                self.add(&after, made, weights.post_norm.as_ref())?
            }
            _ => after,
        };
        Ok(after.reshape((sequences, tokens, width))?)
    }

    /// Adds what attention or an MLP has `written` to the residual stream, normalised where the family does so.
    fn add(&self, stream: &Tensor, written: Tensor, norm: Option<&NormWeights>) -> Result<Tensor> {
        let place = self.spec.norm.place;
        let written = match norm {
            Some(norm) if place.is_after() => norm.apply(&written)?,
            _ => written,
        };
        let written = scaled(written, self.spec.residual_scale)?;
        let sum = (stream + written)?;
        match norm {
            Some(norm) if place == NormPlace::Sum => norm.apply(&sum),
            _ => Ok(sum),
        }
    }

    /// What the first layer's MLP writes of embeddings that no attention has changed, `[rows, width]`; `None` where there
    /// is none.
    pub fn first_mlp(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let weights = self.layers.first().and_then(|layer| layer.mlp.as_ref());
        let (Some(weights), Some(mlp)) = (weights, self.spec.mlp.first()) else { return Ok(None) };
        let made = weights.forward(x, mlp)?;
        Ok(Some((self.add(x, made, weights.post_norm.as_ref())? - x)?))
    }

    /// Checks that `ids` exist and fit in the context after `start` tokens.
    pub fn check_ids(&self, ids: &[u32], start: usize) -> Result<()> {
        if start + ids.len() > self.spec.context {
            bail!(
                "the prompt has {} tokens, but the model's context is {}: shorten it",
                start + ids.len(),
                self.spec.context
            );
        }
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= self.spec.vocabulary) {
            bail!(
                "token {id} is outside the vocabulary: ids of this model go from 0 to {}",
                self.spec.vocabulary - 1
            );
        }
        Ok(())
    }
}

/// Rows of a table of positions.
fn places(start: usize, tokens: usize) -> Vec<u32> {
    (start..start + tokens).map(|place| place as u32).collect()
}

/// `x * factor`, where that is anything else.
fn scaled(x: Tensor, factor: f32) -> Result<Tensor> {
    Ok(if factor == 1.0 { x } else { (x * f64::from(factor))? })
}

/// Replaces the output of one head, in `[1, tokens, heads * head_size]`, by its mean over the tokens; a mean that is
/// known already is used again.
fn ablate(
    mixed: &Tensor,
    head: usize,
    size: usize,
    means: &mut std::collections::BTreeMap<usize, Vec<f32>>,
) -> Result<Tensor> {
    let (sequences, tokens, total) = mixed.dims3()?;
    let columns = mixed.narrow(2, head * size, size)?;
    let mean = match means.get(&head) {
        Some(mean) => Tensor::new(mean.as_slice(), mixed.device())?.reshape((1, 1, size))?,
        None => {
            let mean = columns.mean_keepdim(1)?;
            means.insert(head, mean.flatten_all()?.to_vec1()?);
            mean
        }
    };
    let mean = mean.broadcast_as((sequences, tokens, size))?;
    let parts = [
        mixed.narrow(2, 0, head * size)?,
        mean.contiguous()?,
        mixed.narrow(2, (head + 1) * size, total - (head + 1) * size)?,
    ];
    let parts: Vec<Tensor> = parts.into_iter().filter(|part| part.elem_count() > 0).collect();
    Ok(Tensor::cat(&parts, 2)?)
}
