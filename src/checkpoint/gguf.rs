//! Weights, metadata and vocabulary in a GGUF file.

mod head;

use std::{collections::HashMap, io::Cursor, path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::{Content, Value};

use super::{
    signature,
    weights::{Backing, StoredTensor, WeightType, Weights},
};

/// The key/value pairs at the head of a GGUF file.
pub type Metadata = HashMap<String, Value>;

/// Reads the head of the file at `path` and maps its tensors.
pub fn read_file(path: &Path) -> Result<(Content, Weights)> {
    let origin = path.display().to_string();
    let backing = Arc::new(Backing::map(path)?);
    if !backing.bytes().starts_with(b"GGUF") {
        bail!("{origin} is {}", signature::tell(backing.bytes()).unwrap_or("no GGUF file: fetch it again"));
    }
    head::check(backing.bytes()).with_context(|| origin.clone())?;
    let content = Content::read(&mut Cursor::new(backing.bytes()))
        .map_err(|error| anyhow!("{origin} is no whole GGUF file ({error}): fetch it again"))?;
    let mut weights = Weights::default();
    for (name, info) in &content.tensor_infos {
        let kind = match info.ggml_dtype {
            candle_core::quantized::GgmlDType::F32 => WeightType::F32,
            candle_core::quantized::GgmlDType::F16 => WeightType::F16,
            candle_core::quantized::GgmlDType::BF16 => WeightType::BF16,
            quantised => WeightType::Block(quantised),
        };
        let shape = info.shape.dims().to_vec();
        let start = content.tensor_data_offset.saturating_add(info.offset) as usize;
        let count = shape.iter().fold(1usize, |product, &side| product.saturating_mul(side));
        let range = start..start.saturating_add(kind.bytes(count));
        let tensor = StoredTensor::new(name.clone(), kind, shape, backing.clone(), range)
            .with_context(|| origin.clone())?;
        weights.insert(tensor);
    }
    Ok((content, weights))
}
