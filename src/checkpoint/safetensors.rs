//! Weights in safetensors files.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow};
use safetensors::{Dtype, SafeTensors};

use super::{
    signature,
    weights::{Backing, StoredTensor, WeightType, Weights},
};

/// Adds the tensors of the file at `path`.
pub fn read_file(path: &Path, weights: &mut Weights) -> Result<()> {
    read(Arc::new(Backing::map(path)?), &path.display().to_string(), weights)
}

/// Adds the tensors in `backing`, which messages call `origin`.
pub fn read(backing: Arc<Backing>, origin: &str, weights: &mut Weights) -> Result<()> {
    let bytes = backing.bytes();
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| match signature::tell(bytes) {
            Some(what) if !bytes.get(8..).is_some_and(|header| header.starts_with(b"{")) => {
                anyhow!("{origin} is {what}")
            }
            _ => anyhow!("{origin} is no whole safetensors file ({error}): fetch it again"),
        })?;
    let start = header + 8;
    for (name, info) in metadata.tensors() {
        let kind = match info.dtype {
            Dtype::F64 => WeightType::F64,
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::BF16 => WeightType::BF16,
            Dtype::F8_E4M3 => WeightType::E4M3,
            Dtype::F8_E5M2 => WeightType::E5M2,
            Dtype::F8_E8M0 => WeightType::E8M0,
            Dtype::U8 if name.ends_with("_scales") => WeightType::E8M0,
            Dtype::U8 if name.ends_with("_blocks") => WeightType::E2M1,
            // Buffers such as masks and position ids, or what a quantiser packed.
            _ => {
                weights.leave_unread(name);
                continue;
            }
        };
        let (from, to) = info.data_offsets;
        let shape = if kind == WeightType::E2M1 { unpacked(&info.shape) } else { info.shape.clone() };
        let tensor = StoredTensor::new(name, kind, shape, backing.clone(), start + from..start + to)
            .with_context(|| origin.to_string())?;
        weights.insert(tensor);
    }
    Ok(())
}

/// The shape of numbers of which a byte has two, `[..., blocks, bytes]` to `[..., numbers]`.
fn unpacked(shape: &[usize]) -> Vec<usize> {
    match shape {
        [rows @ .., blocks, bytes] => [rows, &[blocks.saturating_mul(*bytes).saturating_mul(2)]].concat(),
        _ => shape.to_vec(),
    }
}
