//! Where weights, configuration and tokenizer come from: a folder, a file, or the program itself.

pub mod embedded;
pub mod gguf;
pub mod kernels;
pub mod safetensors;
pub mod tokenizer;
pub mod weights;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use self::{gguf::Metadata, tokenizer::Tokenizer, weights::Weights};

/// What a checkpoint says of the model in it.
pub enum Description {
    /// `config.json`.
    Hub(Map<String, Value>),
    /// The metadata of a GGUF file.
    Gguf(Metadata),
}

/// A checkpoint whose files were found and whose weights are mapped.
pub struct Checkpoint {
    /// Short name for the title: the last part of the path, or the name of a shipped model.
    pub name: String,
    /// Where it is: a path, or `embedded`.
    pub source: String,
    /// The file that describes the model; messages about keys name it.
    pub origin: String,
    /// What it says.
    pub description: Description,
    /// The weights.
    pub weights: Weights,
    /// The tokenizer, or why there is none.
    pub tokenizer: Result<Tokenizer, String>,
}

impl Checkpoint {
    /// Opens what `MODEL` on the command line names; without it, the shipped default.
    pub fn open(model: Option<&str>) -> Result<Self> {
        let Some(model) = model else { return embedded::open(embedded::DEFAULT) };
        let path = Path::new(model);
        if path.is_dir() {
            return open_folder(path);
        }
        if path.is_file() {
            return open_file(path);
        }
        if embedded::NAMES.contains(&model) {
            return embedded::open(model);
        }
        let looks_like_hub = model.split('/').count() == 2 && !model.starts_with(['.', '/', '~']);
        if looks_like_hub && !model.ends_with(".gguf") && !model.ends_with(".safetensors") {
            bail!(
                "`{model}` is no file or folder here, and this version does not download: \
                 fetch it with `hf download {model} --local-dir DIR` and open DIR"
            );
        }
        bail!("{model} does not exist (shipped models: {})", embedded::NAMES.join(", "))
    }
}

fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let mut weights = Weights::default();
    let (single, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    if single.is_file() {
        safetensors::read_file(&single, &mut weights)?;
    } else if index.is_file() {
        safetensors::read_sharded(&index, &mut weights)?;
    } else {
        let mut others: Vec<PathBuf> = std::fs::read_dir(folder)
            .with_context(|| format!("{} cannot be read", folder.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|kind| kind == "gguf" || kind == "safetensors"))
            .collect();
        others.sort();
        match others.as_slice() {
            [] => bail!(
                "{} holds no model.safetensors, model.safetensors.index.json or .gguf file: name the folder that does",
                folder.display()
            ),
            [one] => return open_file(one),
            [first, ..] => bail!(
                "{} holds {} weight files and no index: name one, such as {}",
                folder.display(),
                others.len(),
                first.display()
            ),
        }
    }
    described(folder, folder, weights)
}

fn open_file(path: &Path) -> Result<Checkpoint> {
    let kind = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
    match kind {
        "gguf" => {
            let (content, weights) = gguf::read_file(path)?;
            let origin = path.display().to_string();
            let tokenizer =
                Tokenizer::from_gguf(&content.metadata, &origin).map_err(|error| format!("{error:#}"));
            Ok(Checkpoint {
                name: path
                    .file_stem()
                    .map_or_else(|| origin.clone(), |name| name.to_string_lossy().into_owned()),
                source: origin.clone(),
                origin,
                description: Description::Gguf(content.metadata),
                weights,
                tokenizer,
            })
        }
        "safetensors" => {
            let mut weights = Weights::default();
            safetensors::read_file(path, &mut weights)?;
            described(path.parent().unwrap_or(Path::new(".")), path, weights)
        }
        _ => bail!(
            "{}: only .safetensors and .gguf files are read; convert it, or name the folder of a checkpoint",
            path.display()
        ),
    }
}

/// The checkpoint of weights that `config.json` and `tokenizer.json` in `folder` belong to.
fn described(folder: &Path, path: &Path, weights: Weights) -> Result<Checkpoint> {
    let config = folder.join("config.json");
    let origin = config.display().to_string();
    let text = std::fs::read(&config)
        .with_context(|| format!("{origin} cannot be read; it must lie beside the weights"))?;
    let values = serde_json::from_slice(&text).with_context(|| format!("{origin} is no JSON object"))?;
    let file = folder.join("tokenizer.json");
    let tokenizer = match file.is_file() {
        true => Tokenizer::from_file(&file).map_err(|error| format!("{error:#}")),
        false => Err(format!("{} is missing", file.display())),
    };
    let canonical = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    Ok(Checkpoint {
        name: canonical
            .file_name()
            .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
        source: path.display().to_string(),
        origin,
        description: Description::Hub(values),
        weights,
        tokenizer,
    })
}
