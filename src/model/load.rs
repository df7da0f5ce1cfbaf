//! From a plan and stored weights to a decoder: every shape is checked on the way, and no tensor is left over.

use std::{cell::RefCell, collections::BTreeSet, sync::Arc};

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};

use super::{
    attention::{self, Rule},
    decoder::{Decoder, LatentWeights, LayerWeights, Made},
    host::Matrix,
    linear::{Landing, Linear},
    mlp::{Body, Mixture, MlpWeights, Projections},
    norm::NormWeights,
    place::Placement,
    slot::{LayerSlot, Layout, MlpSlot, Part, Plan, Share, Slot, Source},
    spec::{Activation, Experts, Latent, Mlp, NormKind, NormOver, NormPlace, Positions, Spec},
};
use crate::{
    checkpoint::weights::{StoredTensor, WeightType, Weights},
    error::Interrupted,
};

/// How names end of buffers that checkpoints of many families hold and that can be computed.
const BUFFERS: [&str; 6] = [
    "rotary_emb.inv_freq",
    ".attn.bias",
    ".attn.masked_bias",
    ".attention.bias",
    ".attention.masked_bias",
    "position_ids",
];

/// Builds the decoder of `plan`; `progress` is told layers done and layers in all, and answers false to stop.
///
/// # Errors
/// When a tensor is missing or has another shape than the configuration asks for, or when one is left over that may change
/// what the model computes.
pub fn load(
    plan: &Plan,
    weights: &Weights,
    placement: &Placement,
    progress: &dyn Fn(usize, usize) -> bool,
) -> Result<Decoder> {
    let spec = &plan.spec;
    let landing = Landing::new(placement)?;
    let loader = Loader { plan, spec, weights, placement, landing, used: RefCell::default() };
    let (mut layers, mut rules) = (Vec::new(), Vec::new());
    for layer in 0..spec.layers {
        if !progress(layer, spec.layers) {
            return Err(Interrupted.into());
        }
        layers.push(loader.layer(layer)?);
        rules.push(loader.rule(layer)?);
    }
    let (width, outside) = (spec.width, spec.embedding.width);
    let positions = match spec.positions {
        Positions::Learned { offset, .. } => {
            Some(loader.linear(Slot::Positions, None, [offset + spec.context, width])?)
        }
        Positions::Sinusoidal { offset, zero } => {
            Some(loader.sinusoidal([offset + spec.context, width], zero)?)
        }
        _ => None,
    };
    let head = Slot::Unembedding(Part::Weight);
    let unembedding = match (plan.source)(head) {
        Some(_) if spec.logits.missing.is_none() => {
            let bias = Some(Slot::Unembedding(Part::Bias));
            Some(loader.linear(head, bias, [spec.vocabulary, outside])?)
        }
        _ => None,
    };
    let project = |slot, shape| match outside == width {
        true => Ok(None),
        false => loader.linear(slot, None, shape).map(Some),
    };
    let decoder = Decoder {
        embedding: loader.linear(Slot::Embedding, None, [spec.vocabulary, outside])?,
        projection_in: project(Slot::ProjectionIn, [width, outside])?,
        embedding_norm: match spec.embedding.norm {
            true => Some(loader.norm(Slot::EmbeddingNorm, width, spec.norm.kind)?),
            false => None,
        },
        positions,
        layers,
        rules: rules.into(),
        attention: attention::on(&placement.device),
        norm: loader.last_norm()?,
        projection_out: project(Slot::ProjectionOut, [outside, width])?,
        unembedding,
        spec: Arc::new(loader.with_curves()?),
        device: placement.device.clone(),
    };
    loader.nothing_left()?;
    Ok(decoder)
}

struct Loader<'a> {
    plan: &'a Plan,
    spec: &'a Spec,
    weights: &'a Weights,
    placement: &'a Placement,
    landing: Landing<'a>,
    /// Names of the tensors that a slot has asked for.
    used: RefCell<BTreeSet<String>>,
}

impl Loader<'_> {
    fn layer(&self, layer: usize) -> Result<LayerWeights> {
        let spec = self.spec;
        let latent = spec.attention.latent;
        let (queries, outputs) = (spec.heads * spec.head_size, spec.heads * spec.value_size);
        let keys = spec.kv_heads * (spec.head_size - latent.map_or(0, |latent| latent.rotated));
        let query_from = latent.and_then(|latent| latent.queries).unwrap_or(spec.width);
        let from = latent.map_or(spec.width, |latent| latent.keys);
        let linear = |place, shape| self.layer_linear(layer, place, shape);
        let before = spec.norm.place.is_before();
        let key_smear = match spec.attention.smeared_keys {
            true => Some(self.key_smear(layer)?),
            false => None,
        };
        Ok(LayerWeights {
            norm: self.norm_if(before, |part| Slot::Layer(layer, LayerSlot::AttentionNorm, part))?,
            post_norm: self.post_norm(layer, LayerSlot::AttentionPostNorm)?,
            latent: latent.map(|latent| self.latent(layer, latent)).transpose()?,
            query: linear(LayerSlot::Query, [queries, query_from])?,
            key: linear(LayerSlot::Key, [keys, from])?,
            value: linear(LayerSlot::Value, [spec.kv_heads * spec.value_size, from])?,
            query_norm: self.query_key_norm(layer, LayerSlot::QueryNorm, spec.heads)?,
            key_norm: self.query_key_norm(layer, LayerSlot::KeyNorm, spec.kv_heads)?,
            key_smear,
            output_norm: match spec.attention.output_norm {
                Some(kind) => {
                    Some(self.norm(|part| Slot::Layer(layer, LayerSlot::OutputNorm, part), outputs, kind)?)
                }
                None => None,
            },
            output: linear(LayerSlot::Output, [spec.width, outputs])?,
            mlp: match spec.mlp.get(layer) {
                Some(mlp) => Some(self.mlp(layer, mlp)?),
                None => None,
            },
        })
    }

    fn latent(&self, layer: usize, latent: Latent) -> Result<LatentWeights> {
        let made = |place, norm, size| -> Result<Made> {
            let of_norm = |part| Slot::Layer(layer, norm, part);
            let mut norm = self.norm(of_norm, size, NormKind::Rms)?;
            norm.epsilon = latent.epsilon;
            Ok(Made { linear: self.layer_linear(layer, place, [size, self.spec.width])?, norm })
        };
        let of_queries = |size| made(LayerSlot::QueryLatent, LayerSlot::QueryLatentNorm, size);
        Ok(LatentWeights {
            queries: latent.queries.map(of_queries).transpose()?,
            keys: made(LayerSlot::KeyLatent, LayerSlot::KeyLatentNorm, latent.keys)?,
            rotated: self.layer_linear(layer, LayerSlot::RotatedKey, [latent.rotated, self.spec.width])?,
        })
    }

    fn mlp(&self, layer: usize, mlp: &Mlp) -> Result<MlpWeights> {
        let spec = self.spec;
        let body = match mlp.experts {
            None => Body::Dense(Box::new(self.projections(layer, LayerSlot::Mlp, mlp)?)),
            Some(experts) => Body::Experts(Box::new(self.mixture(layer, mlp, &experts)?)),
        };
        let before = spec.norm.place.is_before();
        Ok(MlpWeights {
            norm: self.norm_if(before, |part| Slot::Layer(layer, LayerSlot::MlpNorm, part))?,
            post_norm: self.post_norm(layer, LayerSlot::MlpPostNorm)?,
            body,
        })
    }

    fn mixture(&self, layer: usize, mlp: &Mlp, experts: &Experts) -> Result<Mixture> {
        let width = self.spec.width;
        let gated = experts.shared.is_some_and(|shared| shared.gated);
        Ok(Mixture {
            router: self.layer_linear(layer, LayerSlot::Router, [experts.count, width])?,
            correction: match experts.router.corrected {
                true => Some(self.correction(layer, experts.count)?),
                false => None,
            },
            experts: (0..experts.count)
                .map(|expert| self.projections(layer, |place| LayerSlot::Expert(expert, place), mlp))
                .collect::<Result<_>>()?,
            shared: match experts.shared {
                Some(shared) => {
                    let mlp = Mlp { inner: shared.inner, ..*mlp };
                    Some(self.projections(layer, LayerSlot::Shared, &mlp)?)
                }
                None => None,
            },
            shared_gate: match gated {
                true => Some(self.layer_linear(layer, LayerSlot::SharedGate, [1, width])?),
                false => None,
            },
        })
    }

    /// What is added to each expert's share, `[experts]`.
    fn correction(&self, layer: usize, experts: usize) -> Result<Vec<f32>> {
        let slot = Slot::Layer(layer, LayerSlot::RouterCorrection, Part::Weight);
        let source = self.source(slot).with_context(|| format!("the family names no tensor for {slot:?}"))?;
        let tensor = self.stored(&source)?;
        // Some files have it as the one row of a matrix.
        if tensor.shape != [1, experts] {
            check_shape(&tensor, &[experts])?;
        }
        Ok(tensor.to_f32())
    }

    fn projections(
        &self,
        layer: usize,
        place: impl Fn(MlpSlot) -> LayerSlot,
        mlp: &Mlp,
    ) -> Result<Projections> {
        let (inner, width) = (mlp.inner, self.spec.width);
        let linear = |slot, shape| self.layer_linear(layer, place(slot), shape);
        Ok(Projections {
            gate: if mlp.gated { Some(linear(MlpSlot::Gate, [inner, width])?) } else { None },
            up: linear(MlpSlot::Up, [inner, width])?,
            inner_norm: match mlp.inner_norm {
                Some(kind) => {
                    let slot = |part| Slot::Layer(layer, place(MlpSlot::InnerNorm), part);
                    Some(self.norm(slot, inner, kind)?)
                }
                None => None,
            },
            down: linear(MlpSlot::Down, [width, inner])?,
        })
    }

    /// The specification with what its nonlinearities have learned.
    fn with_curves(&self) -> Result<Spec> {
        let mut spec = self.spec.clone();
        for (layer, mlp) in spec.mlp.iter_mut().enumerate() {
            let slot = Slot::Layer(layer, LayerSlot::Mlp(MlpSlot::Curve), Part::Weight);
            if let Activation::Xielu { .. } = mlp.activation
                && let Some(&[positive, negative, linear, edge]) = self.vector(slot, 4)?.as_deref()
            {
                mlp.activation = Activation::xielu([positive, negative, linear, edge]);
            }
        }
        Ok(spec)
    }

    /// The table of [`Positions::Sinusoidal`].
    fn sinusoidal(&self, [rows, width]: [usize; 2], zero: Option<usize>) -> Result<Linear> {
        let half = width / 2;
        let step = 10_000f32.ln() / half.saturating_sub(1).max(1) as f32;
        let angle = |row: usize, at: usize| row as f32 * (at as f32 * -step).exp();
        let number = |row: usize, column: usize| match column {
            _ if zero == Some(row) => 0.0,
            column if column < half => angle(row, column).sin(),
            column if column < 2 * half => angle(row, column - half).cos(),
            _ => 0.0,
        };
        let numbers = (0..rows).flat_map(|row| (0..width).map(move |column| (row, column)));
        let numbers: Vec<f32> = numbers.map(|(row, column)| number(row, column)).collect();
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let table = StoredTensor::owned("positions".into(), WeightType::F32, vec![rows, width], bytes)?;
        Linear::new(Matrix::new(table, Layout::OutIn, Share::range(0..rows, rows), rows), None, &self.landing)
    }

    /// How scores become attention in a layer.
    fn rule(&self, layer: usize) -> Result<Rule> {
        let attention = &self.spec.attention;
        let sinks = match attention.sinks {
            true => {
                self.needed_vector(Slot::Layer(layer, LayerSlot::Sinks, Part::Weight), self.spec.heads)?
            }
            false => Vec::new(),
        };
        let (slopes, rounded) = match &self.spec.positions {
            Positions::Alibi { slopes, rounded } => (slopes.clone(), *rounded),
            _ => (Vec::new(), false),
        };
        let (scale, window) = (attention.scale[layer], attention.windows[layer]);
        let (cap, gated, cuts, chunked) = (attention.cap, attention.gated, Vec::new(), attention.chunked);
        Ok(Rule { scale, cap, slopes, rounded, window, chunked, sinks, cuts, gated })
    }

    fn layer_linear(&self, layer: usize, place: LayerSlot, shape: [usize; 2]) -> Result<Linear> {
        let slot = |part| Slot::Layer(layer, place, part);
        self.linear(slot(Part::Weight), Some(slot(Part::Bias)), shape)
    }

    /// The linear layer of a slot that needs `[outputs, inputs]`.
    fn linear(&self, slot: Slot, bias: Option<Slot>, [outputs, inputs]: [usize; 2]) -> Result<Linear> {
        let source = self.source(slot).with_context(|| format!("the family names no tensor for {slot:?}"))?;
        let bias = match bias {
            Some(slot) => self.vector(slot, outputs)?.map(|bias| self.tensor(bias)).transpose()?,
            None => None,
        };
        let matrix = match source.by_head {
            true => self.by_head(slot, &source, [outputs, inputs])?,
            false => self.matrix(source, [outputs, inputs])?,
        };
        Linear::new(matrix, bias, &self.landing)
    }

    fn matrix(&self, source: Source, [outputs, inputs]: [usize; 2]) -> Result<Matrix> {
        let share = source.share.clone().unwrap_or(Share::range(0..outputs, outputs));
        let wanted = match source.layout {
            Layout::OutIn => [share.total, inputs],
            Layout::InOut => [inputs, share.total],
        };
        let tensor = self.stored(&source)?;
        // GGUF files have a matrix of one row as a vector.
        let tensor = if wanted[0] == 1 { tensor.as_row() } else { tensor };
        check_shape(&tensor, &wanted)?;
        Ok(Matrix::new(tensor, source.layout, share, outputs))
    }

    /// A matrix whose heads are stored apart, each `[heads, ..]` a matrix in the source's layout: as it is where the heads
    /// follow one another along its first side, else put together in memory.
    fn by_head(&self, slot: Slot, source: &Source, [outputs, inputs]: [usize; 2]) -> Result<Matrix> {
        let (tensor, size) = (self.stored(source)?, self.spec.head_size);
        let whole = Share::range(0..outputs, outputs);
        // Heads are the inputs of the output projection, and the outputs of the others.
        let (split, first) = match slot {
            Slot::Layer(_, LayerSlot::Output, _) => ([outputs, size], Layout::InOut),
            _ => ([size, inputs], Layout::OutIn),
        };
        let heads = outputs * inputs / (split[0] * split[1]);
        let sides = match source.layout {
            Layout::OutIn => split,
            Layout::InOut => [split[1], split[0]],
        };
        check_shape(&tensor, &[heads, sides[0], sides[1]])?;
        if source.layout == first {
            return Ok(Matrix::new(tensor.joined()?, first, whole, outputs));
        }
        let stored = Tensor::from_vec(tensor.to_f32(), tensor.shape.as_slice(), &Device::Cpu)?;
        let numbers = stored.transpose(1, 2)?.flatten_all()?.to_vec1::<f32>()?;
        let kind = tensor.kind;
        let bytes = kind.narrow(&numbers).with_context(|| {
            format!("tensor `{}` is {}; f32, f16 or bf16 is read here", tensor.name, kind.name())
        })?;
        let shape = vec![heads * sides[1], sides[0]];
        let together = StoredTensor::owned(tensor.name.clone(), kind, shape, bytes)?;
        Ok(Matrix::new(together, first, whole, outputs))
    }

    /// The share of the key before in each smeared key, `[kv_heads, 1, 1]`.
    fn key_smear(&self, layer: usize) -> Result<Tensor> {
        let heads = self.spec.kv_heads;
        let slot = Slot::Layer(layer, LayerSlot::KeySmear, Part::Weight);
        let alpha = self.tensor(self.needed_vector(slot, heads)?)?;
        // 1 - sigmoid(alpha).
        Ok((alpha.exp()? + 1.0)?.recip()?.reshape((heads, 1, 1))?)
    }

    fn post_norm(&self, layer: usize, place: LayerSlot) -> Result<Option<NormWeights>> {
        let norm = &self.spec.norm;
        let slot = |part| Slot::Layer(layer, place, part);
        match norm.place.is_after() || norm.place == NormPlace::Sum {
            true => self.norm(slot, self.spec.width, norm.kind).map(Some),
            false => Ok(None),
        }
    }

    fn query_key_norm(&self, layer: usize, place: LayerSlot, heads: usize) -> Result<Option<NormWeights>> {
        let Some(norm) = self.spec.attention.query_key_norm else { return Ok(None) };
        let size = match norm.over {
            NormOver::Head => self.spec.head_size,
            NormOver::HeadWithItsGains | NormOver::AllHeads => heads * self.spec.head_size,
        };
        self.norm(|part| Slot::Layer(layer, place, part), size, norm.kind).map(Some)
    }

    /// The normalisation of a slot, or one that leaves everything as it is.
    fn norm_if(&self, there: bool, slot: impl Fn(Part) -> Slot) -> Result<NormWeights> {
        match there && self.spec.norm.kind != NormKind::None {
            true => self.norm(slot, self.spec.width, self.spec.norm.kind),
            false => self.norm_of(NormKind::None, vec![1.0; self.spec.width], None),
        }
    }

    /// That before the unembedding.
    fn last_norm(&self) -> Result<NormWeights> {
        match self.spec.norm.last_kind {
            Some(kind) if self.spec.norm.last => self.norm(Slot::FinalNorm, self.spec.width, kind),
            _ => self.norm_if(self.spec.norm.last, Slot::FinalNorm),
        }
    }

    /// A normalisation; a family that names no tensor has no gain or no bias.
    fn norm(&self, slot: impl Fn(Part) -> Slot, width: usize, kind: NormKind) -> Result<NormWeights> {
        let gain = match self.vector(slot(Part::Weight), width)? {
            Some(gain) => gain.into_iter().map(|gain| gain + self.spec.norm.gain_offset).collect(),
            None => vec![1.0; width],
        };
        self.norm_of(kind, gain, self.vector(slot(Part::Bias), width)?)
    }

    fn norm_of(&self, kind: NormKind, gain: Vec<f32>, bias: Option<Vec<f32>>) -> Result<NormWeights> {
        let bias = bias.unwrap_or_else(|| vec![0.0; gain.len()]);
        let epsilon = self.spec.norm.epsilon;
        Ok(NormWeights { kind, epsilon, gain: self.tensor(gain)?, bias: self.tensor(bias)? })
    }

    fn needed_vector(&self, slot: Slot, size: usize) -> Result<Vec<f32>> {
        self.vector(slot, size)?.with_context(|| format!("the family names no tensor for {slot:?}"))
    }

    /// The numbers of a slot, `size` of them; `None` where the family has none.
    fn vector(&self, slot: Slot, size: usize) -> Result<Option<Vec<f32>>> {
        let Some(source) = self.source(slot) else { return Ok(None) };
        let pieces = 1 + source.more.len();
        let share = source.share.clone().unwrap_or(Share::range(0..size / pieces, size / pieces));
        let wanted = match source.by_head {
            true => vec![size / self.spec.head_size, self.spec.head_size],
            false => vec![share.total],
        };
        let mut numbers = Vec::with_capacity(size);
        for name in [&source.tensor].into_iter().chain(&source.more) {
            let tensor = self.stored(&Source { tensor: name.clone(), ..source.clone() })?;
            // A vector of one number may be stored as a number.
            let is_number = tensor.shape.is_empty() && wanted == [1];
            if !is_number {
                check_shape(&tensor, &wanted)?;
            }
            let all = tensor.to_f32();
            numbers.extend((0..size / pieces).map(|index| all[share.stored(index)]));
        }
        Ok(Some(numbers))
    }

    /// Where a slot's tensor is; each that is named is used.
    fn source(&self, slot: Slot) -> Option<Source> {
        let source = (self.plan.source)(slot)?;
        self.used.borrow_mut().extend(source.more.iter().chain([&source.tensor]).cloned());
        Some(source)
    }

    fn stored(&self, source: &Source) -> Result<StoredTensor> {
        let tensor = self.weights.get(&source.tensor)?;
        match source.entry {
            Some(entry) => {
                let experts = self.spec.mlp.iter().find_map(|mlp| mlp.experts);
                if let (Some(experts), Some(&stacked)) = (experts, tensor.shape.first())
                    && experts.count != stacked
                {
                    bail!(
                        "tensor `{}` is {:?}, but the configuration asks for {} experts",
                        tensor.name.escape_debug(),
                        tensor.shape,
                        experts.count
                    );
                }
                tensor.part(entry)
            }
            None => Ok(tensor.clone()),
        }
    }

    fn tensor(&self, numbers: Vec<f32>) -> Result<Tensor> {
        let size = numbers.len();
        Ok(Tensor::from_vec(numbers, size, &Device::Cpu)?.to_device(&self.placement.device)?)
    }

    /// Refuses a checkpoint with a tensor that no slot has asked for, and that is none of those without use.
    fn nothing_left(&self) -> Result<()> {
        let used = self.used.borrow();
        let ends = |name: &str, ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        let beside = |name: &str| self.plan.beside.iter().any(|start| name.starts_with(start.as_str()));
        let left = |name: &&str| {
            !used.contains(*name) && !ends(name, &BUFFERS) && !ends(name, self.plan.unused) && !beside(name)
        };
        let Some(name) = self.weights.iter().map(|tensor| tensor.name.as_str()).find(left) else {
            return Ok(());
        };
        let nearest = crate::text::nearest(name, used.iter().map(String::as_str)).unwrap_or_default();
        bail!(
            "tensor `{}` has no place in a model with this configuration (the nearest that has: `{nearest}`); the weights \
             belong to another model, or do more than attnscope knows of",
            name.escape_debug()
        )
    }
}

fn check_shape(tensor: &StoredTensor, wanted: &[usize]) -> Result<()> {
    if tensor.shape != wanted {
        bail!(
            "tensor `{}` is {:?}, but the configuration asks for {wanted:?}: the two are of different models",
            tensor.name.escape_debug(),
            tensor.shape
        );
    }
    Ok(())
}
