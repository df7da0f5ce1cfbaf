//! Where weights, configuration and tokenizer come from: a folder, a file, or the program itself.

pub mod adapter;
pub mod embedded;
pub mod formats;
pub mod gguf;
#[cfg(feature = "hub")]
pub mod hub;
pub mod kernels;
pub mod pickle;
pub mod progress;
mod quantised;
pub mod safetensors;
pub mod shards;
mod signature;
pub mod snapshot;
pub mod tokenizer;
mod trainer;
pub mod weights;

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use self::{
    adapter::Adapter, formats::Found, gguf::Metadata, progress::Watcher, tokenizer::Tokenizer,
    weights::Weights,
};

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
    /// What is worth a line each about how its weights were read.
    pub remarks: Vec<String>,
}

/// What is to be opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// `MODEL` on the command line; without it, the shipped default.
    pub model: Option<&'a str>,
    /// The weight file to take where there are several: a path in the folder or the repository.
    pub file: Option<&'a str>,
    /// The model that an adapter is merged into.
    pub base: Option<&'a str>,
    /// The folder or the `tokenizer.json` to take the tokenizer from, in place of the checkpoint's own.
    pub tokenizer: Option<&'a str>,
    /// Ask the hub for a newer commit of a model that is in the cache.
    pub update: bool,
    /// Bytes that are free where the weights go, as far as is known.
    pub memory: Option<u64>,
}

impl Wanted<'_> {
    /// Says that a model is opened without the base that was given for an adapter.
    fn leave_base(&self, model: &str, watcher: &dyn Watcher) {
        if let Some(base) = self.base {
            watcher.note(&format!("{model} is no adapter, so it is opened without --base {base}"));
        }
    }
}

impl Checkpoint {
    /// Opens what is wanted while `watcher` follows.
    pub fn open(wanted: &Wanted<'_>, watcher: &dyn Watcher) -> Result<Self> {
        let checkpoint = Self::open_with_its_own(wanted, watcher)?;
        let Some(path) = wanted.tokenizer else { return Ok(checkpoint) };
        let tokenizer = match Path::new(path) {
            folder if folder.is_dir() => Tokenizer::from_folder(folder),
            file if file.extension().is_some_and(|kind| kind == "gguf") => {
                gguf::read_file(file).and_then(|(metadata, _)| Tokenizer::from_gguf(&metadata, path))
            }
            file => Tokenizer::from_file(file),
        };
        let tokenizer = tokenizer.with_context(|| format!("--tokenizer {path}"))?;
        Ok(Self { tokenizer: Ok(tokenizer), ..checkpoint })
    }

    /// The same with the tokenizer that lies beside it.
    fn open_with_its_own(wanted: &Wanted<'_>, watcher: &dyn Watcher) -> Result<Self> {
        let Some(model) = wanted.model else { return embedded::open(embedded::DEFAULT) };
        let path = Path::new(model);
        if path.is_dir() {
            let last = snapshot::last_snapshot(path);
            if let Some(last) = &last {
                watcher
                    .note(&format!("{model} is a training run: this is its last snapshot, {}", last.model));
            }
            let path = last.as_ref().map_or(path, |last| Path::new(&last.model));
            if let Some(adapter) = Adapter::at(path) {
                return adapter.open(wanted, watcher);
            }
            wanted.leave_base(model, watcher);
            return match wanted.file {
                Some(file) => open_file(&path.join(file), path),
                None => open_folder(path),
            };
        }
        if let Some(adapter) = Adapter::at(path) {
            return adapter.open(wanted, watcher);
        }
        if let (Some(file), true) = (wanted.file, path.is_file() || embedded::has(model)) {
            bail!(
                "{model} is one model, and --file {file} picks one in a folder or a hub repository: leave it out"
            );
        }
        if path.is_file() {
            wanted.leave_base(model, watcher);
            return open_file(path, path.parent().unwrap_or(Path::new(".")));
        }
        if embedded::has(model) {
            wanted.leave_base(model, watcher);
            return embedded::open(model);
        }
        open_hub(wanted, model, watcher)
    }
}

/// A model of the hub: from the cache, or downloaded into it.
#[cfg(feature = "hub")]
fn open_hub(wanted: &Wanted<'_>, model: &str, watcher: &dyn Watcher) -> Result<Checkpoint> {
    // With a base, the name of a file is that of one of the base's.
    let file = wanted.file.filter(|_| wanted.base.is_none());
    let snapshot = hub::open(&Wanted { file, ..*wanted }, model, watcher)?;
    let path = snapshot.file.as_ref().map_or(snapshot.folder.clone(), |file| snapshot.folder.join(file));
    if let Some(adapter) = Adapter::at(&path) {
        return adapter.named(snapshot.name(), snapshot.source()).open(wanted, watcher);
    }
    wanted.leave_base(model, watcher);
    let checkpoint = match &snapshot.file {
        Some(_) => open_file(&path, &snapshot.folder),
        None => open_folder(&path),
    };
    let checkpoint = checkpoint.with_context(|| snapshot.remedy())?;
    Ok(Checkpoint { name: snapshot.name(), source: snapshot.source(), ..checkpoint })
}

#[cfg(not(feature = "hub"))]
fn open_hub(_: &Wanted<'_>, model: &str, _: &dyn Watcher) -> Result<Checkpoint> {
    let looks_like_hub = model.split('/').count() == 2 && !model.starts_with(['.', '/', '~']);
    if looks_like_hub {
        bail!(
            "{model} is no file or folder here, and this program was built without the hub: fetch it with \
             `hf download {model} --local-dir DIR` and open DIR, or build with `--features hub`"
        );
    }
    bail!("{}", unknown(model))
}

/// What is said of a name that nothing has.
fn unknown(model: &str) -> String {
    format!("{model} does not exist (shipped models: {})", embedded::NAMES.join(", "))
}

fn open_folder(folder: &Path) -> Result<Checkpoint> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file());
    let names: Vec<String> = files.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    match formats::find(&names) {
        Found::Nothing => match trainer::nested_weights(folder) {
            Some(file) => open_file(&file, folder),
            None => bail!(trainer::refusal(folder).unwrap_or_else(|| nothing_in(folder, &names))),
        },
        Found::One(name) if formats::is_usual(name) => {
            let mut weights = Weights::default();
            formats::read_file(&folder.join(name), &mut weights)?;
            described(folder, folder, weights)
        }
        Found::One(name) => open_file(&folder.join(name), folder),
        Found::Several(names) if trainer::part(&folder.join(names[0])).is_some() => {
            open_file(&folder.join(names[0]), folder)
        }
        Found::Several(names) => bail!(
            "{} holds {} weight files and no index: name one, such as `--file {}`",
            folder.display(),
            names.len(),
            names[0]
        ),
    }
}

/// What is said of a folder without weights.
fn nothing_in(folder: &Path, names: &BTreeSet<&str>) -> String {
    let folder = folder.display();
    if let Some(missing) = adapter::missing(names) {
        return format!("{folder} holds {missing}");
    }
    let shard = names.iter().find(|name| formats::is_weights(name) && formats::is_shard(name));
    match shard {
        Some(shard) => format!(
            "{folder} holds {} and other parts, and no index that says what is in each: fetch the .index.json file too",
            shard.escape_debug()
        ),
        None => format!(
            "{folder} holds no model.safetensors, .gguf or pytorch_model.bin file, and no index of shards: name the folder \
             that does"
        ),
    }
}

/// Opens a weight file; `config.json` and the tokenizer lie beside it or, for a file in a folder of a checkpoint, in
/// `home`.
fn open_file(path: &Path, home: &Path) -> Result<Checkpoint> {
    if let Some(what) = trainer::part(path) {
        bail!("{} is {what}", path.display());
    }
    if path.extension().is_none_or(|kind| kind != "gguf") {
        let mut weights = Weights::default();
        formats::read_file(path, &mut weights)?;
        let beside = path.parent().unwrap_or(home);
        let places = [Some(beside), Some(home), trainer::around(beside)];
        let place = places.into_iter().flatten().find(|place| place.join("config.json").is_file());
        return described(place.unwrap_or(home), path, weights);
    }
    let (metadata, weights) = gguf::read_file(path)?;
    let origin = path.display().to_string();
    let tokenizer = Tokenizer::from_gguf(&metadata, &origin).map_err(|error| format!("{error:#}"));
    Ok(Checkpoint {
        name: path.file_stem().map_or_else(|| origin.clone(), |name| name.to_string_lossy().into_owned()),
        source: origin.clone(),
        origin,
        description: Description::Gguf(metadata),
        weights,
        tokenizer,
        remarks: Vec::new(),
    })
}

/// The checkpoint of weights that `config.json` and the tokenizer in `folder` belong to.
fn described(folder: &Path, path: &Path, mut weights: Weights) -> Result<Checkpoint> {
    weights.unwrap_names();
    quantised::refuse(&weights).with_context(|| path.display().to_string())?;
    let (origin, values) = description(folder, path, &weights)?;
    let remark = quantised::join(&mut weights, &values, &origin)?;
    let tokenizer = Tokenizer::from_folder(folder).map_err(|error| format!("{error:#}"));
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
        remarks: remark.into_iter().collect(),
    })
}

/// What describes the weights at `path`, and the file that says it: `config.json` in `folder`, or without one the
/// checkpoint of nanoGPT that they are.
fn description(folder: &Path, path: &Path, weights: &Weights) -> Result<(String, Map<String, Value>)> {
    let config = folder.join("config.json");
    if !config.exists()
        && path.is_file()
        && formats::is_pickle(path)
        && let Some(values) = pickle::described_by_nanogpt(path)?
    {
        return Ok((path.display().to_string(), values));
    }
    let origin = config.display().to_string();
    let text = std::fs::read(&config).with_context(|| {
        format!("{origin} cannot be read; it must lie beside the weights{}", advice(weights))
    })?;
    let values = serde_json::from_slice(&text).with_context(|| match signature::tell(&text) {
        Some(what) => format!("{origin} is {what}"),
        None => format!("{origin} is no JSON object"),
    })?;
    Ok((origin, values))
}

/// What to write beside weights of TransformerLens, which are often found alone: the sizes that their shapes tell, and which
/// keys nothing tells.
fn advice(weights: &Weights) -> String {
    let shape = |name| weights.get(name).map(|tensor| tensor.shape.as_slice()).unwrap_or_default();
    let (&[vocabulary, width], &[heads, _, size]) = (shape("embed.W_E"), shape("blocks.0.attn.W_Q")) else {
        return String::new();
    };
    let layers = (0..).take_while(|layer| weights.contains(&format!("blocks.{layer}.attn.W_Q"))).count();
    let context = shape("pos_embed.W_pos").first().map_or("?".into(), usize::to_string);
    let mlp = match shape("blocks.0.mlp.W_in") {
        &[_, inner] => format!("\"attn_only\": false, \"d_mlp\": {inner}, \"act_fn\": \"?\""),
        _ => "\"attn_only\": true".into(),
    };
    format!(
        ". These are of TransformerLens: write {{\"n_layers\": {layers}, \"d_model\": {width}, \"n_heads\": {heads}, \
         \"d_head\": {size}, \"n_ctx\": {context}, \"d_vocab\": {vocabulary}, {mlp}, \"normalization_type\": null, \
         \"shortformer_pos\": true}} to it, with LN or LNPre for null where it normalises, and false where positions are \
         added to the embedding"
    )
}
