//! Where a model runs, in which type its weights are held, and whether they fit.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device};

use super::spec::Spec;
use crate::{
    checkpoint::weights::{WeightType, Weights},
    memory,
    text::size,
};

/// `--device`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first accelerator that this program was built for and that answers, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU.
    Cuda(usize),
    /// Apple's GPU.
    Metal,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "metal" => Self::Metal,
            "cuda" => Self::Cuda(0),
            _ => match text.strip_prefix("cuda:").and_then(|index| index.parse().ok()) {
                Some(index) => Self::Cuda(index),
                None => return Err("expected auto, cpu, cuda, cuda:N or metal".into()),
            },
        })
    }
}

impl DeviceChoice {
    /// Opens the device.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Auto => {
                let accelerator = if cfg!(feature = "cuda") {
                    cuda(0).ok()
                } else if cfg!(feature = "metal") {
                    Device::new_metal(0).ok()
                } else {
                    None
                };
                Ok(accelerator.unwrap_or(Device::Cpu))
            }
            Self::Cuda(_) if !cfg!(feature = "cuda") => {
                bail!("--device cuda: this program was built without it; build it with `--features cuda`")
            }
            Self::Metal if !cfg!(feature = "metal") => {
                bail!("--device metal: this program was built without it; build it with `--features metal`")
            }
            Self::Cuda(index) => cuda(index).with_context(|| {
                format!("--device cuda:{index} does not answer; `nvidia-smi` lists the GPUs there are")
            }),
            Self::Metal => Device::new_metal(0).context("--device metal does not answer"),
        }
    }
}

/// `--dtype`: the type that weights are held in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtypeChoice {
    /// As stored; products are computed in f32.
    #[default]
    Auto,
    /// f32.
    F32,
    /// bf16; on an accelerator products are computed in it too.
    Bf16,
    /// f16; on an accelerator products are computed in it too.
    F16,
}

impl FromStr for DtypeChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auto" => Self::Auto,
            "f32" => Self::F32,
            "bf16" => Self::Bf16,
            "f16" => Self::F16,
            _ => return Err("expected auto, f32, bf16 or f16".into()),
        })
    }
}

/// A device and the type of weights on it.
#[derive(Clone)]
pub struct Placement {
    /// The device.
    pub device: Device,
    /// The type of weights.
    pub dtype: DtypeChoice,
}

impl Placement {
    /// The type in which an accelerator holds weights that are stored as `stored`.
    pub fn held(&self, stored: WeightType) -> DType {
        match (self.dtype, stored) {
            (DtypeChoice::F32, _) => DType::F32,
            (DtypeChoice::Bf16, _) | (DtypeChoice::Auto, WeightType::BF16) => DType::BF16,
            (DtypeChoice::F16, _) | (DtypeChoice::Auto, WeightType::F16) => DType::F16,
            (DtypeChoice::Auto, _) => DType::F32,
        }
    }

    /// The type in which an accelerator computes products.
    pub fn computed(&self) -> DType {
        match self.dtype {
            DtypeChoice::Auto | DtypeChoice::F32 => DType::F32,
            DtypeChoice::Bf16 => DType::BF16,
            DtypeChoice::F16 => DType::F16,
        }
    }

    /// The type that the processor rounds weights to that are stored as `stored`; `None` where they stay as they lie in
    /// the file.
    pub fn rounded(&self, stored: WeightType) -> Option<WeightType> {
        let kind = match self.dtype {
            DtypeChoice::Auto => return None,
            DtypeChoice::F32 => WeightType::F32,
            DtypeChoice::Bf16 => WeightType::BF16,
            DtypeChoice::F16 => WeightType::F16,
        };
        Some(kind).filter(|&kind| kind != stored)
    }

    /// The largest number of the type that weights are rounded to.
    pub fn most(&self) -> f32 {
        match self.dtype {
            DtypeChoice::F16 => f32::from(half::f16::MAX),
            DtypeChoice::Bf16 => f32::from(half::bf16::MAX),
            DtypeChoice::Auto | DtypeChoice::F32 => f32::MAX,
        }
    }

    /// Whether rounding changes numbers: some weights are held in another half type than they are stored in, or an
    /// accelerator computes in one.
    pub fn loses(&self, weights: &Weights) -> bool {
        let held = match self.dtype {
            DtypeChoice::Auto | DtypeChoice::F32 => return false,
            DtypeChoice::Bf16 => WeightType::BF16,
            DtypeChoice::F16 => WeightType::F16,
        };
        !self.device.is_cpu() || weights.iter().any(|tensor| tensor.shape.len() > 1 && tensor.kind != held)
    }

    /// `cpu`, `cuda:0`, `metal`.
    pub fn device_name(&self) -> String {
        match self.device.location() {
            candle_core::DeviceLocation::Cpu => "cpu".into(),
            candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
            candle_core::DeviceLocation::Metal { .. } => "metal".into(),
        }
    }

    /// Bytes that new allocations may take on the device, where it or the system says.
    pub fn free_memory(&self) -> Option<u64> {
        if self.device.is_cpu() { memory::available() } else { accelerator_memory(&self.device) }
    }

    /// The type that most weights are held in.
    pub fn dtype_name(&self, weights: &Weights) -> String {
        let stored = weights.main_type().unwrap_or(WeightType::F32);
        match self.dtype {
            DtypeChoice::Auto if self.device.is_cpu() => stored.name(),
            _ => self.held(stored).as_str().into(),
        }
    }
}

/// Bytes that a model and its work will take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Weights, in the type they are held in.
    pub weights: u64,
    /// The trace of `tokens` tokens and the buffers of their pass.
    pub work: u64,
}

impl Need {
    /// What `weights` of a model `spec` take at `placement` for prompts of `tokens` tokens.
    pub fn of(spec: &Spec, weights: &Weights, placement: &Placement, tokens: usize) -> Self {
        let held = weights
            .distinct()
            .map(|tensor| {
                if placement.dtype == DtypeChoice::Auto && placement.device.is_cpu() {
                    tensor.bytes().len() as u64
                } else {
                    (tensor.count() * placement.held(tensor.kind).size_in_bytes()) as u64
                }
            })
            .sum();
        Self { weights: held, ..Self::of_prompt(spec, tokens) }
    }

    /// What a prompt of `tokens` tokens takes besides the weights.
    pub fn of_prompt(spec: &Spec, tokens: usize) -> Self {
        let of_keys = spec.kv_heads * (spec.head_size + spec.value_size);
        let trace = spec.layers * (spec.width + spec.heads * spec.head_size + of_keys);
        let pass = 8 * spec.width + 3 * spec.mlp.iter().map(|mlp| mlp.inner).max().unwrap_or(0);
        Self { weights: 0, work: 4 * (tokens * (trace + pass)) as u64 + 4 * spec.vocabulary as u64 }
    }

    /// Refuses what cannot fit in memory that is free, where the machine tells.
    pub fn check(self, placement: &Placement) -> Result<()> {
        let total = self.weights + self.work;
        match placement.free_memory() {
            Some(free) if total > free => {
                let way = if placement.device.is_cpu() {
                    match placement.dtype {
                        DtypeChoice::F32 => {
                            "use `--dtype auto`, which keeps weights as stored, or a quantised GGUF file"
                        }
                        _ => "use a smaller or more strongly quantised model, or a shorter prompt",
                    }
                } else {
                    "use `--dtype bf16`, which takes half of f32, or `--device cpu`"
                };
                bail!("{} are needed ({self}) but {} are free: {way}", size(total), size(free))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weights {}, work {}", size(self.weights), size(self.work))
    }
}

#[cfg(feature = "cuda")]
use super::gpu::open as cuda;

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> candle_core::Result<Device> {
    Device::new_cuda(index)
}

#[cfg(feature = "cuda")]
fn accelerator_memory(device: &Device) -> Option<u64> {
    super::gpu::free_memory(device.as_cuda_device().ok()?)
}

#[cfg(not(feature = "cuda"))]
fn accelerator_memory(_: &Device) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_read_and_odd_ones_refused() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
        assert!("gpu".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn what_cannot_fit_is_refused_with_a_way_out() {
        let placement = Placement { device: Device::Cpu, dtype: DtypeChoice::F32 };
        let error =
            Need { weights: u64::MAX / 2, work: 0 }.check(&placement).err().map(|error| error.to_string());
        if placement.free_memory().is_some() {
            assert!(error.unwrap().contains("--dtype auto"));
        }
    }
}
