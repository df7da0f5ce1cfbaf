//! From a plan and stored weights to a decoder, checking every shape on the way.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};

use super::{
    decoder::{Decoder, LayerWeights, MlpWeights, NormWeights},
    linear::Linear,
    place::Placement,
    slot::{LayerSlot, Layout, Part, Plan, Share, Slot},
    spec::{Positions, Spec},
};
use crate::{
    checkpoint::weights::{StoredTensor, Weights},
    error::Interrupted,
};

/// Builds the decoder of `plan`; `progress` is told layers done and layers in all, and answers false to stop.
pub fn load(
    plan: &Plan,
    weights: &Weights,
    placement: &Placement,
    progress: &dyn Fn(usize, usize) -> bool,
) -> Result<Decoder> {
    let spec = &plan.spec;
    let loader = Loader { plan, weights, placement };
    let mut layers = Vec::new();
    for layer in 0..spec.layers {
        if !progress(layer, spec.layers) {
            return Err(Interrupted.into());
        }
        layers.push(loader.layer(layer, spec)?);
    }
    let positions = match spec.positions {
        Positions::Learned => Some(loader.linear(Slot::Positions, None, [spec.context, spec.width])?),
        Positions::Rotary(_) => None,
    };
    let unembedding = match (plan.source)(Slot::Unembedding) {
        Some(_) => Some(loader.linear(Slot::Unembedding, None, [spec.vocabulary, spec.width])?),
        None => None,
    };
    Ok(Decoder {
        embedding: loader.linear(Slot::Embedding, None, [spec.vocabulary, spec.width])?,
        positions,
        layers,
        norm: loader.norm(Slot::FinalNorm, spec.width)?,
        unembedding,
        spec: Arc::new(spec.clone()),
        device: placement.device.clone(),
    })
}

struct Loader<'a> {
    plan: &'a Plan,
    weights: &'a Weights,
    placement: &'a Placement,
}

impl Loader<'_> {
    fn layer(&self, layer: usize, spec: &Spec) -> Result<LayerWeights> {
        let (queries, keys) = (spec.heads * spec.head_size, spec.kv_heads * spec.head_size);
        let linear = |place, outputs, inputs| {
            let slot = |part| Slot::Layer(layer, place, part);
            self.linear(slot(Part::Weight), Some(slot(Part::Bias)), [outputs, inputs])
        };
        let norm = |place| self.norm(|part| Slot::Layer(layer, place, part), spec.width);
        let mlp = match &spec.mlp {
            Some(mlp) => Some(MlpWeights {
                gate: if mlp.gated { Some(linear(LayerSlot::Gate, mlp.inner, spec.width)?) } else { None },
                up: linear(LayerSlot::Up, mlp.inner, spec.width)?,
                down: linear(LayerSlot::Down, spec.width, mlp.inner)?,
                norm: norm(LayerSlot::MlpNorm)?,
            }),
            None => None,
        };
        let key_smear = match spec.smeared_keys {
            true => Some(self.key_smear(layer, spec.kv_heads)?),
            false => None,
        };
        Ok(LayerWeights {
            norm: norm(LayerSlot::AttentionNorm)?,
            key_smear,
            query: linear(LayerSlot::Query, queries, spec.width)?,
            key: linear(LayerSlot::Key, keys, spec.width)?,
            value: linear(LayerSlot::Value, keys, spec.width)?,
            output: linear(LayerSlot::Output, spec.width, queries)?,
            mlp,
        })
    }

    /// The linear layer of a slot that needs `[outputs, inputs]`.
    fn linear(&self, slot: Slot, bias: Option<Slot>, [outputs, inputs]: [usize; 2]) -> Result<Linear> {
        let source =
            (self.plan.source)(slot).with_context(|| format!("the family names no tensor for {slot:?}"))?;
        let tensor = self.weights.get(&source.tensor)?;
        let share = source.share.unwrap_or(Share { outputs: 0..outputs, total: outputs });
        let wanted = match source.layout {
            Layout::OutIn => [share.total, inputs],
            Layout::InOut => [inputs, share.total],
        };
        check_shape(tensor, &wanted)?;
        let bias = match bias {
            Some(slot) => self.vector(slot, outputs)?,
            None => None,
        };
        Linear::new(tensor, source.layout, share.outputs, bias, self.placement)
    }

    /// The share of the key before in each smeared key, `[kv_heads, 1, 1]`.
    fn key_smear(&self, layer: usize, kv_heads: usize) -> Result<Tensor> {
        let slot = Slot::Layer(layer, LayerSlot::KeySmear, Part::Weight);
        let alpha = self
            .vector(slot, kv_heads)?
            .with_context(|| format!("the family names no tensor for {slot:?}"))?;
        // 1 - sigmoid(alpha).
        Ok((alpha.exp()? + 1.0)?.recip()?.reshape((kv_heads, 1, 1))?)
    }

    fn norm(&self, slot: impl Fn(Part) -> Slot, width: usize) -> Result<NormWeights> {
        let gain = self.vector(slot(Part::Weight), width)?;
        let gain =
            gain.with_context(|| format!("the family names no tensor for {:?}", slot(Part::Weight)))?;
        let bias = match self.vector(slot(Part::Bias), width)? {
            Some(bias) => bias,
            None => Tensor::zeros(width, candle_core::DType::F32, &self.placement.device)?,
        };
        Ok(NormWeights { gain, bias })
    }

    /// The vector of a slot, `[size]` in f32; `None` where the family has none.
    fn vector(&self, slot: Slot, size: usize) -> Result<Option<Tensor>> {
        let Some(source) = (self.plan.source)(slot) else { return Ok(None) };
        let tensor = self.weights.get(&source.tensor)?;
        let share = source.share.unwrap_or(Share { outputs: 0..size, total: size });
        check_shape(tensor, &[share.total])?;
        let vector = Tensor::new(&tensor.to_f32()[share.outputs], &Device::Cpu)?;
        Ok(Some(vector.to_device(&self.placement.device)?))
    }
}

fn check_shape(tensor: &StoredTensor, wanted: &[usize]) -> Result<()> {
    if tensor.shape != wanted {
        bail!("tensor `{}` is {:?}, but the configuration asks for {wanted:?}", tensor.name, tensor.shape);
    }
    Ok(())
}
