//! The one decoder: embedding, layers of attention and MLP, unembedding, as a [`Spec`] describes them.

mod ends;
pub mod finite;
mod heads;
mod values;

use std::sync::Arc;

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};

use self::heads::{Angles, smear, split_heads};
use super::{
    attention::{Attention, Inputs, Rule, Watch},
    edit::{self, Edits, Part},
    linear::Linear,
    mlp::MlpWeights,
    norm::NormWeights,
    spec::{NormPlace, Spec},
    trace::{LayerTrace, Trace},
};
use crate::error::Interrupted;

/// The weights of a layer.
#[derive(Clone)]
pub struct LayerWeights {
    /// Normalisation before attention.
    pub norm: NormWeights,
    /// Normalisation of what attention writes, or of the residual stream after it.
    pub post_norm: Option<NormWeights>,
    /// What queries, keys and values are made of, where it is not the residual stream.
    pub latent: Option<LatentWeights>,
    /// Query projection.
    pub query: Linear,
    /// Key projection.
    pub key: Linear,
    /// Value projection.
    pub value: Linear,
    /// Normalisation of queries, before or after they are rotated; its gain is as wide as the specification says.
    pub query_norm: Option<NormWeights>,
    /// Normalisation of keys.
    pub key_norm: Option<NormWeights>,
    /// The share of the key before in a smeared key, `1 - sigmoid(alpha)`, `[kv_heads, 1, 1]`.
    pub key_smear: Option<Tensor>,
    /// Normalisation of what all heads put out, in families that have it.
    pub output_norm: Option<NormWeights>,
    /// Output projection.
    pub output: Linear,
    /// The MLP, in models that have one.
    pub mlp: Option<MlpWeights>,
}

/// What queries, or keys and values, are made of: the residual stream, projected and normalised.
#[derive(Clone)]
pub struct Made {
    /// The projection, to `[latent]`.
    pub linear: Linear,
    /// The normalisation.
    pub norm: NormWeights,
}

impl Made {
    fn of(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.apply(&self.linear.forward(x)?)
    }
}

/// The weights of multi-head latent attention.
#[derive(Clone)]
pub struct LatentWeights {
    /// What queries are made of, where it is not the residual stream.
    pub queries: Option<Made>,
    /// What keys and values are made of.
    pub keys: Made,
    /// From the residual stream to the last numbers of every head's key.
    pub rotated: Linear,
}

impl LayerWeights {
    /// Values `[rows, kv_heads * value_size]` of a normalised residual stream `[rows, width]`.
    pub fn values(&self, normed: &Tensor) -> Result<Tensor> {
        match &self.latent {
            Some(latent) => self.value.forward(&latent.keys.of(normed)?),
            None => self.value.forward(normed),
        }
    }
}

/// A model, ready to run. A copy shares the weights, and may read them in another way.
#[derive(Clone)]
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
    /// Vectors of positions, `[offset + context, width]`, where the family has them.
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

/// What a pass is run with.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// What is changed in it.
    pub edits: &'a Edits,
    /// How it tells and learns.
    pub control: &'a Control<'a>,
    /// Who sees every pattern on the way.
    pub watch: Option<&'a dyn Watch>,
}

impl<'a> Pass<'a> {
    /// A pass that changes nothing and that nobody watches or stops.
    pub const FREE: Pass<'static> = Pass { edits: &edit::NONE, control: &Control::FREE, watch: None };

    /// A pass that changes nothing.
    pub fn plain(control: &'a Control<'a>) -> Self {
        Self { control, ..Pass::FREE }
    }

    /// A pass with edits.
    pub fn edited(edits: &'a Edits, control: &'a Control<'a>) -> Self {
        Self { edits, ..Self::plain(control) }
    }
}

/// The tokens that a pass is at.
struct Span {
    /// Sequences of equal length.
    sequences: usize,
    /// Position of the first token.
    start: usize,
    /// How queries and keys are rotated there.
    angles: Angles,
    /// How scores become attention in each layer.
    rules: Arc<[Rule]>,
}

/// What a layer makes of some tokens on its way, each `[sequences * tokens, size]`.
struct LayerValues {
    /// What attention adds to the residual stream.
    attention: Tensor,
    /// What the MLP adds to it, where there is one.
    mlp: Option<Tensor>,
    /// The residual stream between the two.
    between: Tensor,
    /// The residual stream after both.
    after: Tensor,
}

impl Decoder {
    /// A trace of nothing yet.
    pub fn trace(&self) -> Trace {
        Trace::new(self.spec.clone(), self.rules.clone(), self.attention.clone())
    }

    /// Runs `ids` after what `trace` holds and appends them to it: a prompt, or the next token of one. Where the rotation
    /// depends on the length of the whole sequence, and changes with these tokens, all of it is run again.
    ///
    /// A pass that fails or is cancelled leaves the trace as it was.
    pub fn extend(&self, trace: &mut Trace, ids: &[u32], pass: &Pass<'_>) -> Result<()> {
        let start = trace.len();
        self.check_ids(ids, start)?;
        let total = start + ids.len();
        let alike = self.spec.rotates_alike(trace.rotated_for, total);
        if ids.is_empty() && alike {
            return Ok(());
        }
        if start > 0 && !alike {
            let mut again = self.trace();
            self.extend(&mut again, &[&trace.ids, ids].concat(), pass)?;
            *trace = again;
            return Ok(());
        }
        let before = std::mem::replace(&mut trace.rotated_for, total);
        let x = self.embed(ids, 1, start);
        let result = x.and_then(|x| self.run_layers(trace, 0, x, start, pass));
        match result {
            Ok(()) => trace.ids.extend_from_slice(ids),
            Err(_) => {
                trace.truncate(start);
                trace.rotated_for = before;
            }
        }
        result
    }

    /// Keeps the first `length` tokens of a trace, and runs them again where the rotation of the shorter sequence is
    /// another. A pass that fails or is cancelled leaves the trace as it was.
    pub fn shorten(&self, trace: &mut Trace, length: usize, pass: &Pass<'_>) -> Result<()> {
        // A copy shares the memory.
        let before = trace.clone();
        trace.truncate(length);
        let result = self.extend(trace, &[], pass);
        if result.is_err() {
            *trace = before;
        }
        result
    }

    /// Brings `trace` to the tokens of `base`, from which it differs by what the pass changes in layers from `layer` on. The
    /// layers below are those of `base`; the others run from the residual stream that is cached there, over the tokens that
    /// `trace` does not have yet.
    ///
    /// A pass that fails or is cancelled leaves the trace as it was.
    pub fn follow(&self, trace: &mut Trace, base: &Trace, layer: usize, pass: &Pass<'_>) -> Result<()> {
        // A copy shares the memory.
        let mut followed = match trace.is_rotated_like(base) {
            true => trace.clone(),
            false => self.trace(),
        };
        followed.truncate(base.len());
        let start = followed.len();
        followed.share(base, layer);
        if start < base.len() {
            let stream = base.residual_before(layer)?;
            let x = stream.narrow(0, start, base.len() - start)?.unsqueeze(0)?.copy()?;
            self.run_layers(&mut followed, layer, x, start, pass)?;
        }
        *trace = followed;
        Ok(())
    }

    fn run_layers(
        &self,
        trace: &mut Trace,
        from: usize,
        mut x: Tensor,
        start: usize,
        pass: &Pass<'_>,
    ) -> Result<()> {
        let layers = self.spec.layers;
        let angles = self.angles(start, x.dim(1)?, trace.rotated_for)?;
        let span = Span { sequences: 1, start, angles, rules: pass.edits.rules(&self.rules) };
        for layer in from..layers {
            pass.control.layer(layer, layers)?;
            x = self.layer(layer, x, &span, Some(&mut trace.layers[layer]), pass, true)?;
            if x.dim(1)? > 1 {
                // An accelerator takes orders faster than it follows them: what is told as done should be.
                self.device.synchronize()?;
            }
        }
        pass.control.layer(layers, layers)?;
        trace.finish(&pass.edits.apply(layers, Part::Residual, x, start)?.squeeze(0)?)?;
        trace.rules = span.rules;
        Ok(())
    }

    /// Runs sequences of equal length and keeps nothing; who watches the pass sees every pattern on the way.
    ///
    /// What comes after the last layer's patterns is not computed.
    pub fn stream(&self, sequences: &[Vec<u32>], pass: &Pass<'_>) -> Result<()> {
        let (ids, layers) = (sequences.concat(), self.spec.layers);
        let tokens = sequences.first().map_or(0, Vec::len);
        for sequence in sequences {
            self.check_ids(sequence, 0)?;
        }
        let mut x = self.embed(&ids, sequences.len(), 0)?;
        let rules = pass.edits.rules(&self.rules);
        let span =
            Span { sequences: sequences.len(), start: 0, angles: self.angles(0, tokens, tokens)?, rules };
        for layer in 0..layers {
            pass.control.layer(layer, layers)?;
            x = self.layer(layer, x, &span, None, pass, layer + 1 < layers)?;
        }
        pass.control.layer(layers, layers)
    }

    /// The residual stream after the last layer at token `query`, `[1, width]`, of the pass that differs from `trace` by what
    /// it changes in layers from `layer` on; the trace stays as it is.
    pub fn last_of(&self, trace: &Trace, layer: usize, query: usize, pass: &Pass<'_>) -> Result<Tensor> {
        let (tokens, layers) = (query + 1, self.spec.layers);
        let mut x = trace.residual_before(layer)?.narrow(0, 0, tokens)?.unsqueeze(0)?;
        let rules = pass.edits.rules(&self.rules);
        let span = Span { sequences: 1, start: 0, angles: self.angles(0, tokens, trace.rotated_for)?, rules };
        for layer in layer..layers {
            pass.control.layer(layer, layers)?;
            x = self.layer(layer, x, &span, None, pass, true)?;
        }
        let x = pass.edits.apply(layers, Part::Residual, x, 0)?;
        Ok(x.get(0)?.narrow(0, query, 1)?)
    }

    /// One layer: `[sequences, tokens, width]` to the same.
    ///
    /// With `store`, keys and values of earlier tokens come from there and this pass is appended to it. Unless `whole`, it
    /// ends after the patterns.
    fn layer(
        &self,
        index: usize,
        x: Tensor,
        span: &Span,
        store: Option<&mut LayerTrace>,
        pass: &Pass<'_>,
        whole: bool,
    ) -> Result<Tensor> {
        let spec = &self.spec;
        let weights = &self.layers[index];
        let Span { sequences, start, ref angles, .. } = *span;
        let x = pass.edits.apply(index, Part::Residual, x, start)?;
        let flat = x.reshape(((), spec.width))?;
        let normed = weights.norm.apply(&flat)?;
        let placed = self.placed(&normed, sequences, start)?;
        let mut queries = self.queries(index, &placed, sequences, angles)?;
        let mut keys = self.keys(index, &placed, sequences, angles)?;
        if let Some(share) = &weights.key_smear {
            let before = match &store {
                Some(store) if start > 0 => self.key_before(index, store, start)?,
                _ => keys.narrow(2, 0, 1)?,
            };
            keys = smear(&keys, &before, share)?;
        }
        if let Some(frozen) = pass.edits.frozen(index, start..start + queries.dim(2)?)? {
            [queries, keys] = frozen;
        }
        let mut values = split_heads(
            &self.clipped(weights.values(&normed)?)?,
            sequences,
            [spec.kv_heads, spec.value_size],
        )?;
        if let Some(store) = store {
            store.append(&x.get(0)?, &queries.get(0)?, &keys.get(0)?, &values.get(0)?)?;
            keys = store.keys.view()?.unsqueeze(0)?;
            values = store.values.view()?.unsqueeze(0)?;
        }
        let inputs = Inputs {
            queries: &queries,
            keys: &keys,
            values: &values,
            first: start,
            rule: &span.rules[index],
        };
        let Some(outputs) = self.attention.attend(index, &inputs, pass.watch, whole)? else {
            return Ok(x);
        };
        let after = self.after_heads(index, &flat, outputs, span, pass.edits)?.after;
        Ok(after.reshape(x.dims())?)
    }

    /// The rest of a layer that begins with the residual stream `flat`, `[sequences * tokens, width]`, and whose heads put
    /// out `outputs`, `[sequences, tokens, heads * value_size]`.
    fn after_heads(
        &self,
        index: usize,
        flat: &Tensor,
        outputs: Tensor,
        span: &Span,
        edits: &Edits,
    ) -> Result<LayerValues> {
        let (spec, weights) = (&self.spec, &self.layers[index]);
        let rows = flat.dim(0)?;
        let changed = |part, x: Tensor| -> Result<Tensor> {
            let apart = x.reshape((span.sequences, (), spec.width))?;
            Ok(edits.apply(index, part, apart, span.start)?.reshape((rows, spec.width))?)
        };
        let outputs = edits.apply(index, Part::Heads, outputs, span.start)?;
        let outputs = outputs.reshape((rows, ()))?;
        let outputs = match &weights.output_norm {
            Some(norm) => norm.apply(&outputs)?,
            None => outputs,
        };
        let written = weights.output.forward(&outputs)?;
        let attention = changed(Part::Attention, self.written(written, weights.post_norm.as_ref())?)?;
        let between = self.add(flat, &attention, weights.post_norm.as_ref())?;
        let (mlp, after) = match (&weights.mlp, spec.mlp.get(index)) {
            (Some(weights), Some(mlp)) => {
                let made = weights.forward(if spec.parallel { flat } else { &between }, mlp)?;
                let made = changed(Part::Mlp, self.written(made, weights.post_norm.as_ref())?)?;
                let after = self.add(&between, &made, weights.post_norm.as_ref())?;
                (Some(made), after)
            }
            _ => (None, between.clone()),
        };
        Ok(LayerValues { attention, mlp, between, after })
    }

    /// What is added to the residual stream of what attention or an MLP has `made`: normalised where the family does so.
    fn written(&self, made: Tensor, norm: Option<&NormWeights>) -> Result<Tensor> {
        let made = match norm {
            Some(norm) if self.spec.norm.place.is_after() => norm.apply(&made)?,
            _ => made,
        };
        scaled(made, self.spec.residual_scale)
    }

    /// Adds what attention or an MLP has `written` to the residual stream; the sum is normalised where the family does so.
    fn add(&self, stream: &Tensor, written: &Tensor, norm: Option<&NormWeights>) -> Result<Tensor> {
        let sum = (stream + written)?;
        match norm {
            Some(norm) if self.spec.norm.place == NormPlace::Sum => norm.apply(&sum),
            _ => Ok(sum),
        }
    }

    /// What the first layer's MLP writes of embeddings that no attention has changed, `[rows, width]`; `None` where there
    /// is none.
    pub fn first_mlp(&self, x: &Tensor) -> Result<Option<Tensor>> {
        let weights = self.layers.first().and_then(|layer| layer.mlp.as_ref());
        let (Some(weights), Some(mlp)) = (weights, self.spec.mlp.first()) else { return Ok(None) };
        let norm = weights.post_norm.as_ref();
        let written = self.written(weights.forward(x, mlp)?, norm)?;
        Ok(Some((self.add(x, &written, norm)? - x)?))
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

/// Positions `start..start + tokens`, as rows of a table.
fn indices(start: usize, tokens: usize) -> Vec<u32> {
    (start..start + tokens).map(|position| position as u32).collect()
}

/// `x * factor`, where that is anything else.
fn scaled(x: Tensor, factor: f32) -> Result<Tensor> {
    Ok(if factor == 1.0 { x } else { (x * f64::from(factor))? })
}
