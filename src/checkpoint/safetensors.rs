//! Weights in safetensors files, single or sharded.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use super::weights::{Backing, StoredTensor, WeightType, Weights};

/// `model.safetensors.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, String>,
}

/// Adds the tensors of the file at `path`.
pub fn read_file(path: &Path, weights: &mut Weights) -> Result<()> {
    read(Arc::new(Backing::map(path)?), &path.display().to_string(), weights)
}

/// Adds the tensors of every shard that the index at `path` names; they lie beside it.
pub fn read_sharded(path: &Path, weights: &mut Weights) -> Result<()> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let index: Index = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no index of safetensors shards", path.display()))?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    for shard in shards {
        let inside =
            Path::new(shard).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            bail!(
                "{}: shard `{}` lies outside the checkpoint's folder",
                path.display(),
                shard.escape_debug()
            );
        }
        let file = path.with_file_name("").join(shard);
        if !file.is_file() {
            bail!("{} is missing: {} names it; fetch the shard again", file.display(), path.display());
        }
        read_file(&file, weights)?;
    }
    if let Some(name) = index.weight_map.keys().find(|name| !weights.contains(name)) {
        bail!("{} promises tensor `{}`, which no shard holds", path.display(), name.escape_debug());
    }
    Ok(())
}

/// Adds the tensors in `backing`, which messages call `origin`.
pub fn read(backing: Arc<Backing>, origin: &str, weights: &mut Weights) -> Result<()> {
    let bytes = backing.bytes();
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| {
        anyhow::anyhow!("{origin} is no whole safetensors file ({error}): fetch it again")
    })?;
    let start = header + 8;
    for (name, info) in metadata.tensors() {
        let kind = match info.dtype {
            Dtype::F64 => WeightType::F64,
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::BF16 => WeightType::BF16,
            // Buffers such as masks and position ids; a family that asked for one would be told that it is missing.
            _ => continue,
        };
        let (from, to) = info.data_offsets;
        let tensor =
            StoredTensor::new(name, kind, info.shape.clone(), backing.clone(), start + from..start + to)
                .with_context(|| origin.to_string())?;
        weights.insert(tensor);
    }
    Ok(())
}
