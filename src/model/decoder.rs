//! The one decoder: embedding, layers of attention and MLP, unembedding, as a [`Spec`] describes them.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use super::{
    activation,
    attention::{self, Inputs, Watch},
    linear::Linear,
    spec::{Mlp, NormKind, Pairing, Positions, Spec},
    trace::{LayerTrace, Trace},
};
use crate::{error::Interrupted, head::Head};

/// A normalisation with its weights.
pub struct NormWeights {
    /// Gain, `[width]`.
    pub gain: Tensor,
    /// Bias, `[width]`; zero where the family has none.
    pub bias: Tensor,
}

/// The weights of an MLP.
pub struct MlpWeights {
    /// Gate, where there is one.
    pub gate: Option<Linear>,
    /// Way in.
    pub up: Linear,
    /// Way out.
    pub down: Linear,
    /// Normalisation before it.
    pub norm: NormWeights,
}

/// The weights of a layer.
pub struct LayerWeights {
    /// Normalisation before attention.
    pub norm: NormWeights,
    /// Query projection.
    pub query: Linear,
    /// Key projection.
    pub key: Linear,
    /// The share of the key before in a smeared key, `1 - sigmoid(alpha)`, `[kv_heads, 1, 1]`.
    pub key_smear: Option<Tensor>,
    /// Value projection.
    pub value: Linear,
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
    /// Token embedding, `[vocabulary, width]`.
    pub embedding: Linear,
    /// Learned positions, `[context, width]`, where the family has them.
    pub positions: Option<Linear>,
    /// The weights of each layer.
    pub layers: Vec<LayerWeights>,
    /// The last normalisation.
    pub norm: NormWeights,
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
    /// Runs `ids` after what `trace` holds and appends them to it: a prompt, or the next token of one.
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
        if ids.is_empty() {
            return Ok(());
        }
        let result = (|| {
            let x = self.embed(ids, 1, start)?;
            self.run_layers(trace, 0, x, start, ablated, control)
        })();
        match result {
            Ok(()) => trace.ids.extend_from_slice(ids),
            Err(_) => trace.truncate(start),
        }
        result
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
        let angles = self.angles(start, x.dim(1)?)?;
        for layer in from..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            let heads: Vec<usize> =
                ablated.iter().filter(|head| head.layer == layer).map(|head| head.head).collect();
            let store = Some((&mut trace.layers[layer], heads.as_slice()));
            x = self.layer(layer, x, start, angles.as_ref(), store, None)?;
        }
        control.layer(self.spec.layers, self.spec.layers)?;
        trace.finish(&x.squeeze(0)?)
    }

    /// Runs sequences of equal length and keeps nothing; `watch` sees every pattern on the way.
    ///
    /// What comes after the last layer's patterns is not computed.
    pub fn stream(&self, sequences: &[Vec<u32>], watch: Watch<'_>, control: &Control<'_>) -> Result<()> {
        let ids = sequences.concat();
        let tokens = sequences.first().map_or(0, Vec::len);
        for sequence in sequences {
            self.check_ids(sequence, 0)?;
        }
        let mut x = self.embed(&ids, sequences.len(), 0)?;
        let angles = self.angles(0, tokens)?;
        for layer in 0..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            x = self.layer(layer, x, 0, angles.as_ref(), None, Some(watch))?;
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
        let angles = self.angles(0, tokens)?;
        for layer in without.layer..self.spec.layers {
            control.layer(layer, self.spec.layers)?;
            // A head ablated for good keeps the mean that it has in the trace.
            let mut scratch = LayerTrace::with_means(trace.layers[layer].means.clone());
            let mut heads: BTreeSet<usize> = scratch.means.keys().copied().collect();
            if layer == without.layer {
                heads.insert(without.head);
            }
            let heads: Vec<usize> = heads.into_iter().collect();
            x = self.layer(layer, x, 0, angles.as_ref(), Some((&mut scratch, &heads)), None)?;
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
        angles: Option<&(Tensor, Tensor)>,
        store: Option<(&mut LayerTrace, &[usize])>,
        watch: Option<Watch<'_>>,
    ) -> Result<Tensor> {
        let spec = &self.spec;
        let weights = &self.layers[index];
        let (sequences, tokens, width) = x.dims3()?;
        let flat = x.reshape((sequences * tokens, width))?;
        let normed = self.normalise(&flat, &weights.norm)?;
        let heads_of = |linear: &Linear, heads| self.split_heads(&linear.forward(&normed)?, sequences, heads);
        let queries = self.rotate(&heads_of(&weights.query, spec.heads)?, angles)?;
        let mut keys = self.rotate(&heads_of(&weights.key, spec.kv_heads)?, angles)?;
        if let Some(share) = &weights.key_smear {
            let before = match &store {
                Some((store, _)) if start > 0 => self.key_before(weights, store, start)?,
                _ => keys.narrow(2, 0, 1)?,
            };
            keys = smear(&keys, &before, share)?;
        }
        let mut values = heads_of(&weights.value, spec.kv_heads)?;
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
            scale: spec.scale[index],
        };
        let mix = watch.is_none() || index + 1 < spec.layers;
        let Some(mut mixed) = attention::attend(index, &inputs, watch, mix)? else {
            return Ok(x);
        };
        if let Some((means, ablated)) = means {
            for &head in ablated {
                mixed = ablate(&mixed, head, spec.head_size, means)?;
            }
        }
        let flat = (flat + weights.output.forward(&mixed.reshape((sequences * tokens, ()))?)?)?;
        let flat = match (&weights.mlp, &spec.mlp) {
            (Some(weights), Some(mlp)) => (&flat + self.mlp(&flat, weights, mlp)?)?,
            _ => flat,
        };
        Ok(flat.reshape((sequences, tokens, width))?)
    }

    /// `[sequences * tokens, heads * head_size]` as `[sequences, heads, tokens, head_size]`.
    fn split_heads(&self, flat: &Tensor, sequences: usize, heads: usize) -> Result<Tensor> {
        let split = flat.reshape((sequences, (), heads, self.spec.head_size))?;
        Ok(split.transpose(1, 2)?.contiguous()?)
    }

    /// The key at `start - 1` before it was smeared, `[1, kv_heads, 1, head_size]`: made again from the residual stream,
    /// so that the trace need not keep every key twice.
    fn key_before(&self, weights: &LayerWeights, store: &LayerTrace, start: usize) -> Result<Tensor> {
        let x = store.residual.view()?.narrow(0, start - 1, 1)?;
        let key = weights.key.forward(&self.normalise(&x, &weights.norm)?)?;
        let angles = self.angles(start - 1, 1)?;
        self.rotate(&self.split_heads(&key, 1, self.spec.kv_heads)?, angles.as_ref())
    }

    /// The MLP's contribution, `[rows, width]` to the same.
    fn mlp(&self, x: &Tensor, weights: &MlpWeights, mlp: &Mlp) -> Result<Tensor> {
        let normed = self.normalise(x, &weights.norm)?;
        let up = weights.up.forward(&normed)?;
        let inner = match &weights.gate {
            Some(gate) => activation::apply(mlp.activation, gate.forward(&normed)?, Some(&up))?,
            None => activation::apply(mlp.activation, up, None)?,
        };
        weights.down.forward(&inner)
    }

    /// What the first layer's MLP makes of embeddings that no attention has changed, `[rows, width]`; `None` where there
    /// is none.
    pub fn first_mlp(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let weights = self.layers.first().and_then(|layer| layer.mlp.as_ref());
        match (weights, &self.spec.mlp) {
            (Some(weights), Some(mlp)) => self.mlp(x, weights, mlp).map(Some),
            _ => Ok(None),
        }
    }

    /// Normalises each row of `[rows, width]`.
    pub fn normalise(&self, x: &Tensor, weights: &NormWeights) -> Result<Tensor> {
        let x = x.contiguous()?;
        Ok(match self.spec.norm.kind {
            NormKind::Rms => candle_nn::ops::rms_norm(&x, &weights.gain, self.spec.norm.epsilon)?,
            NormKind::Layer => {
                candle_nn::ops::layer_norm(&x, &weights.gain, &weights.bias, self.spec.norm.epsilon)?
            }
        })
    }

    /// Cosines and sines for positions `start..start + tokens`, each `[tokens, head_size / 2]`.
    fn angles(&self, start: usize, tokens: usize) -> Result<Option<(Tensor, Tensor)>> {
        let Positions::Rotary(rotary) = &self.spec.positions else { return Ok(None) };
        let frequencies = Tensor::new(rotary.frequencies.as_slice(), &Device::Cpu)?.unsqueeze(0)?;
        let positions: Vec<f32> = (start..start + tokens).map(|position| position as f32).collect();
        let angles = Tensor::from_vec(positions, (tokens, 1), &Device::Cpu)?.broadcast_mul(&frequencies)?;
        Ok(Some((angles.cos()?.to_device(&self.device)?, angles.sin()?.to_device(&self.device)?)))
    }

    /// Queries or keys of positions `0..tokens`, `[sequences, heads, tokens, head_size]`, as positions turn them: rotated
    /// in rotary models, else as they are.
    pub fn rotated(&self, x: &Tensor) -> Result<Tensor> {
        self.rotate(x, self.angles(0, x.dim(2)?)?.as_ref())
    }

    /// Rotates queries or keys, `[sequences, heads, tokens, head_size]`.
    fn rotate(&self, x: &Tensor, angles: Option<&(Tensor, Tensor)>) -> Result<Tensor> {
        let (Positions::Rotary(rotary), Some((cos, sin))) = (&self.spec.positions, angles) else {
            return Ok(x.clone());
        };
        Ok(match rotary.pairing {
            Pairing::Halves => candle_nn::rotary_emb::rope(x, cos, sin)?,
            Pairing::Neighbours => candle_nn::rotary_emb::rope_i(x, cos, sin)?,
        })
    }

    /// Embeds `sequences` sequences of equal length that begin at position `start`: `[sequences, tokens, width]`.
    fn embed(&self, ids: &[u32], sequences: usize, start: usize) -> Result<Tensor> {
        let tokens = ids.len() / sequences;
        let x = self.embedding.rows(ids, &self.device)?.reshape((sequences, tokens, self.spec.width))?;
        Ok(match &self.positions {
            Some(positions) => {
                let places: Vec<u32> = (start..start + tokens).map(|place| place as u32).collect();
                x.broadcast_add(&positions.rows(&places, &self.device)?)?
            }
            None => x,
        })
    }

    /// Logits, `[rows, vocabulary]`, of the residual stream after the last layer, `[rows, width]`.
    pub fn logits(&self, last: &Tensor) -> Result<Tensor> {
        self.unembedding().product(&self.normalise(last, &self.norm)?)
    }

    /// What the heads of a layer write to the residual stream, `[rows, width]`, when their outputs side by side are
    /// `[rows, heads * head_size]`; without the projection's bias, which belongs to no head.
    pub fn write(&self, layer: usize, outputs: &Tensor) -> Result<Tensor> {
        self.layers[layer].output.product(outputs)
    }

    /// Logits that `part` of the residual stream makes by itself, `[1, vocabulary]`, where the whole is `last`
    /// `[1, width]`: the last normalisation is taken with the whole's mean square (or variance).
    pub fn direct_logits(&self, part: &Tensor, last: &Tensor) -> Result<Tensor> {
        let centre = |x: &Tensor| match self.spec.norm.kind {
            NormKind::Rms => Ok::<_, candle_core::Error>(x.clone()),
            NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(1)?),
        };
        let square = centre(last)?.sqr()?.mean_keepdim(1)?;
        let divisor = (square + f64::from(self.spec.norm.epsilon))?.sqrt()?;
        let part = centre(part)?.broadcast_div(&divisor)?.broadcast_mul(&self.norm.gain)?;
        self.unembedding().product(&part)
    }

    /// The matrix that turns the residual stream into logits.
    pub fn unembedding(&self) -> &Linear {
        self.unembedding.as_ref().unwrap_or(&self.embedding)
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

/// Mixes each of `keys`, `[sequences, heads, tokens, head_size]`, with the one before it; `before` comes before the first,
/// and is the first itself at the start of a sequence, which then stays as it is.
fn smear(keys: &Tensor, before: &Tensor, share: &Tensor) -> Result<Tensor> {
    let earlier = Tensor::cat(&[before, &keys.narrow(2, 0, keys.dim(2)? - 1)?], 2)?;
    Ok((keys + (earlier - keys)?.broadcast_mul(share)?)?)
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
