//! A linear layer whose weights stay where they are cheapest: mapped in their stored type on the processor, in the
//! device's memory on an accelerator.

use anyhow::Result;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::{host, place::Placement};

/// `y = x W^T + b`. A copy shares the weights.
#[derive(Clone)]
pub struct Linear {
    weights: Held,
    bias: Option<Tensor>,
    outputs: usize,
    inputs: usize,
}

#[derive(Clone)]
enum Held {
    /// On the processor.
    Host(host::Matrix),
    /// On an accelerator, `[outputs, inputs]`, and the type that products are computed in.
    Device(Tensor, DType),
}

/// Where linear layers are loaded to, and the way there.
pub struct Landing<'a> {
    placement: &'a Placement,
    #[cfg(feature = "cuda")]
    staging: Option<std::cell::RefCell<super::gpu::Staging>>,
}

impl<'a> Landing<'a> {
    /// The way to where weights are held.
    pub fn new(placement: &'a Placement) -> Result<Self> {
        Ok(Self {
            placement,
            #[cfg(feature = "cuda")]
            staging: match &placement.device {
                Device::Cuda(device) => Some(super::gpu::Staging::new(device)?.into()),
                _ => None,
            },
        })
    }

    /// A copy of a stored matrix in the accelerator's memory; as its bytes lie in the file where they can stay so.
    fn copied(&self, matrix: &host::Matrix) -> Result<Held> {
        let shape = matrix.shape().into();
        let (held, device) = (self.placement.held(matrix.kind()), &self.placement.device);
        let copy = match matrix.plain() {
            Some((dtype, bytes)) if dtype == held => self.raw(bytes, dtype, shape)?,
            _ => {
                let whole = Tensor::from_vec(matrix.to_f32(), shape, &Device::Cpu)?;
                whole.to_dtype(held)?.to_device(device)?
            }
        };
        Ok(Held::Device(copy, self.placement.computed()))
    }

    fn raw(&self, bytes: &[u8], dtype: DType, shape: (usize, usize)) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if let Some(staging) = &self.staging {
            return staging.borrow_mut().copy(bytes, dtype, shape);
        }
        let whole = Tensor::from_raw_buffer(bytes, dtype, &[shape.0, shape.1], &Device::Cpu)?;
        Ok(whole.to_device(&self.placement.device)?)
    }
}

/// `x W^T` in f32 on an accelerator, `[rows, inputs]` and `[outputs, inputs]`, computed in that type.
///
/// Weights in bf16 are taken as they are also where the product is computed in f32, which is several times as fast and widens
/// nothing.
fn product_on_device(x: &Tensor, weights: &Tensor, computed: DType) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        match (weights.dtype(), computed) {
            (DType::BF16, DType::F32) => return super::gpu::exact_product(x, weights),
            (held, computed) if held == computed && held != DType::F32 => {
                return super::gpu::half_product(&x.to_dtype(computed)?, weights);
            }
            _ => (),
        }
    }
    Ok(x.to_dtype(computed)?.matmul(&weights.to_dtype(computed)?.t()?)?.to_dtype(DType::F32)?)
}

impl Linear {
    /// A layer with that matrix; for an accelerator it is copied there.
    pub fn new(matrix: host::Matrix, bias: Option<Tensor>, landing: &Landing<'_>) -> Result<Self> {
        let [outputs, inputs] = matrix.shape();
        let weights = match landing.placement.device.is_cpu() {
            true => Held::Host(match landing.placement.rounded(matrix.kind()) {
                Some(kind) => matrix.rounded(kind)?,
                None => matrix,
            }),
            false => landing.copied(&matrix)?,
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

    /// What it adds, `[outputs]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
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
                product_on_device(&x.reshape((rows, self.inputs))?, weights, *computed)?
            }
        })
    }

    /// The same weights read with outputs and inputs exchanged, where they are as many and stored by themselves.
    pub fn transposed(&self) -> Option<Self> {
        let weights = match &self.weights {
            Held::Host(matrix) => Held::Host(matrix.transposed()?),
            Held::Device(weights, computed) if self.outputs == self.inputs => {
                Held::Device(weights.t().and_then(|it| it.contiguous()).ok()?, *computed)
            }
            Held::Device(..) => return None,
        };
        Some(Self { weights, ..self.clone() })
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
        checkpoint::weights::{StoredTensor, WeightType},
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
                let landing = Landing::new(&placement).unwrap();
                let host = Linear::new(matrix.clone(), None, &landing).unwrap();
                let weights = landing.copied(&matrix).unwrap();
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
