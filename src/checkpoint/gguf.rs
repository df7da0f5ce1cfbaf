//! Weights, metadata and vocabulary in a GGUF file.

mod head;

use std::{collections::HashMap, io::Cursor, path::Path, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::quantized::gguf_file::{Content, Value};

use super::{
    shards, signature,
    weights::{Backing, StoredTensor, WeightType, Weights},
};

/// How many parts a model is in.
const COUNT: &str = "split.count";
/// Which of them a file is, from 0.
const NUMBER: &str = "split.no";
/// How many tensors they hold together.
const TENSORS: &str = "split.tensors.count";

/// The key/value pairs at the head of a GGUF file.
pub type Metadata = HashMap<String, Value>;

/// Reads the metadata of the file at `path` and maps its tensors; where it is one part of several, all of them, which lie
/// beside it. The first part has the metadata of the model.
///
/// # Errors
/// When a file is missing, damaged, or is no part of the others; the message names it.
pub fn read_file(path: &Path) -> Result<(Metadata, Weights)> {
    let Some(names) = path.file_name().and_then(|name| shards::parts(name.to_str()?)) else {
        return read_one(path).map(|(content, weights)| (content.metadata, weights));
    };
    let files: Vec<_> = names.iter().map(|name| path.with_file_name(name)).collect();
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        bail!("{} is missing, one of {} parts: fetch it too", missing.display(), files.len());
    }
    let (mut metadata, mut weights) = (Metadata::new(), Weights::default());
    for (at, file) in files.iter().enumerate() {
        let (content, tensors) = read_one(file)?;
        let said = |key| content.metadata.get(key).and_then(count);
        for (key, expected) in [(COUNT, files.len()), (NUMBER, at)] {
            if let Some(said) = said(key).filter(|&said| said != expected as u64) {
                bail!(
                    "{}: key `{key}` is {said}, and its name says {expected}: fetch the parts again",
                    file.display()
                );
            }
        }
        tensors.iter().for_each(|tensor| weights.insert(tensor.clone()));
        if at == 0 {
            metadata = content.metadata;
        }
    }
    let (held, promised) = (weights.iter().count(), metadata.get(TENSORS).and_then(count));
    if let Some(promised) = promised.filter(|&promised| promised != held as u64) {
        bail!(
            "{}: key `{TENSORS}` is {promised}, and its parts hold {held} tensors: fetch them again",
            files[0].display()
        );
    }
    Ok((metadata, weights))
}

/// A whole number of any stored width.
fn count(value: &Value) -> Option<u64> {
    match *value {
        Value::U8(n) => Some(n.into()),
        Value::U16(n) => Some(n.into()),
        Value::U32(n) => Some(n.into()),
        Value::U64(n) => Some(n),
        Value::I32(n) => n.try_into().ok(),
        Value::I64(n) => n.try_into().ok(),
        _ => None,
    }
}

/// Reads the head of the file at `path` and maps its tensors.
fn read_one(path: &Path) -> Result<(Content, Weights)> {
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
