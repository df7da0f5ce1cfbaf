//! A linear layer whose weights stay where they are cheapest: mapped in their stored type on the processor, in the
//! device's memory on an accelerator.

use anyhow::Result;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::{host, place::Placement};
use crate::checkpoint::weights::WeightType;

/// `y = x W^T + b`.
pub struct Linear {
    weights: Held,
    bias: Option<Tensor>,
    outputs: usize,
    inputs: usize,
}

enum Held {
    /// On the processor.
    Host(host::Matrix),
    /// On an accelerator, `[outputs, inputs]`, and the type that products are computed in.
    Device(Tensor, DType),
}

impl Held {
    /// A copy of a stored matrix in the device's memory.
    fn copied(matrix: &host::Matrix, stored: WeightType, placement: &Placement) -> Result<Self> {
        let [outputs, inputs] = matrix.shape();
        let whole = Tensor::from_vec(matrix.to_f32(), (outputs, inputs), &Device::Cpu)?;
        let whole = whole.to_dtype(placement.held(stored))?;
        Ok(Self::Device(whole.to_device(&placement.device)?, placement.computed()))
    }
}

impl Linear {
    /// A layer with that matrix; for an accelerator it is copied there.
    pub fn new(matrix: host::Matrix, bias: Option<Tensor>, placement: &Placement) -> Result<Self> {
        let [outputs, inputs] = matrix.shape();
        let stored = matrix.kind();
        let weights = match placement.device.is_cpu() {
            true => Held::Host(match placement.rounded(stored) {
                Some(kind) => matrix.rounded(kind)?,
                None => matrix,
            }),
            false => Held::copied(&matrix, stored, placement)?,
        };
        Ok(Self { weights, bias, outputs, inputs })
    }

    /// `[rows, inputs]` to `[rows, outputs]`, in f32.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.product(x)?;
        Ok(match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        })
    }

    /// Whether it adds a bias.
    pub fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// The same without the bias.
    pub fn product(&self, x: &Tensor) -> Result<Tensor> {
        let rows = x.elem_count() / self.inputs;
        Ok(match &self.weights {
            Held::Host(matrix) => {
                let y = with_host(&x.contiguous()?, |x| matrix.product(x, rows))?;
                Tensor::from_vec(y, (rows, self.outputs), x.device())?
            }
            Held::Device(weights, computed) => {
                let x = x.reshape((rows, self.inputs))?.to_dtype(*computed)?;
                x.matmul(&weights.to_dtype(*computed)?.t()?)?.to_dtype(DType::F32)?
            }
        })
    }

    /// The weights of outputs `indices`, `[indices, inputs]` in f32; an embedding's rows, say.
    pub fn rows(&self, indices: &[u32], device: &Device) -> Result<Tensor> {
        match &self.weights {
            Held::Host(matrix) => {
                let mut rows = vec![0.0; indices.len() * self.inputs];
                for (&index, row) in indices.iter().zip(rows.chunks_exact_mut(self.inputs)) {
                    matrix.output(index as usize, row);
                }
                Ok(Tensor::from_vec(rows, (indices.len(), self.inputs), device)?)
            }
            Held::Device(weights, _) => {
                let indices = Tensor::new(indices, weights.device())?;
                Ok(weights.index_select(&indices, 0)?.to_dtype(DType::F32)?)
            }
        }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
}

/// Runs `work` on the numbers of a contiguous f32 tensor on the processor.
pub fn with_host<R>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(numbers)) if layout.is_contiguous() => {
            let start = layout.start_offset();
            Ok(work(&numbers[start..start + layout.shape().elem_count()]))
        }
        _ => anyhow::bail!("a contiguous f32 tensor on the processor was expected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::weights::StoredTensor,
        model::{
            place::DtypeChoice,
            slot::{Layout, Share},
        },
    };

    #[test]
    fn the_accelerator_s_copy_computes_what_the_processor_does() {
        let (inputs, outputs) = (24, 40);
        let numbers: Vec<f32> = (0..inputs * outputs).map(|i| ((i * 31 % 64) as f32 - 32.0) / 32.0).collect();
        let x: Vec<f32> = (0..3 * inputs).map(|i| ((i * 17 % 23) as f32 - 11.0) / 8.0).collect();
        let x = Tensor::from_vec(x, (3, inputs), &Device::Cpu).unwrap();
        for (layout, shape) in [(Layout::OutIn, [outputs, inputs]), (Layout::InOut, [inputs, outputs])] {
            let bytes = WeightType::BF16.narrow(&numbers).unwrap();
            let tensor = StoredTensor::owned("w".into(), WeightType::BF16, shape.to_vec(), bytes).unwrap();
            let share = Share::range(3..outputs - 5, outputs);
            let matrix = host::Matrix::new(tensor, layout, share, outputs - 8);
            for dtype in [DtypeChoice::Auto, DtypeChoice::F32] {
                let placement = Placement { device: Device::Cpu, dtype };
                let host = Linear::new(matrix.clone(), None, &placement).unwrap();
                let weights = Held::copied(&matrix, WeightType::BF16, &placement).unwrap();
                let device = Linear { weights, bias: None, outputs: outputs - 8, inputs };
                let difference = (host.forward(&x).unwrap() - device.forward(&x).unwrap()).unwrap();
                let largest = difference.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                assert!(largest < 1e-5, "{layout:?} {dtype:?}: {largest}");
                let rows = [0u32, 7];
                let host = host.rows(&rows, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
                assert_eq!(host, device.rows(&rows, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap());
            }
        }
    }
}
