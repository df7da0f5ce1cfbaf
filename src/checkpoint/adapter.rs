//! LoRA adapters of peft: small matrices that change those of a base model, merged into it when they are opened.
//!
//! Only the matrices that change are made anew, in f32; all others stay where the base has them.

mod ends;
mod merge;
mod settings;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use self::{merge::merge, settings::Settings};
use super::{
    Checkpoint, Description, Wanted, formats,
    progress::Watcher,
    tokenizer::{self, Tokenizer},
    weights::Weights,
};

/// The file that says what an adapter changes.
pub const CONFIG: &str = "adapter_config.json";
/// The files that its weights may be in, the better one first.
pub const WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// The names of what is in a folder; none where it cannot be read.
fn names_in(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The weight file of an adapter among the files of a folder or a repository that holds no whole model.
pub fn among(names: &BTreeSet<&str>) -> Option<&'static str> {
    let alone = names.contains(CONFIG) && !names.iter().any(|name| formats::is_usual(name));
    WEIGHTS.into_iter().find(|name| alone && names.contains(name))
}

/// What is missing of an adapter in a folder that has no model, and a part of one.
pub fn missing(names: &BTreeSet<&str>) -> Option<String> {
    let weights = WEIGHTS.into_iter().find(|name| names.contains(name));
    match (names.contains(CONFIG), weights) {
        (true, None) => Some(format!("{CONFIG} of an adapter and no {}: fetch its weights", WEIGHTS[0])),
        (false, Some(weights)) => Some(format!("{weights} of an adapter and no {CONFIG}: fetch it")),
        _ => None,
    }
}

/// An adapter as it lies on the disk.
pub struct Adapter {
    /// Short name for the title.
    name: String,
    /// Where it is: what opens it again.
    source: String,
    folder: PathBuf,
    weights: PathBuf,
}

impl Adapter {
    /// The adapter that `path` is: its folder, where there is no whole model in it, or its weight file.
    pub fn at(path: &Path) -> Option<Self> {
        let (folder, weights) = if path.is_dir() {
            let names = names_in(path);
            (path, path.join(among(&names.iter().map(String::as_str).collect())?))
        } else {
            path.file_name().and_then(|name| name.to_str()).filter(|name| WEIGHTS.contains(name))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            (parent.unwrap_or(Path::new(".")), path.to_path_buf())
        };
        if !folder.join(CONFIG).is_file() {
            return None;
        }
        let real = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
        let source = path.display().to_string();
        let name =
            real.file_name().map_or_else(|| source.clone(), |name| name.to_string_lossy().into_owned());
        Some(Self { name, source, folder: folder.to_path_buf(), weights })
    }

    /// The adapter under the name that it has on the hub.
    pub fn named(self, name: String, source: String) -> Self {
        Self { name, source, ..self }
    }

    /// Opens the base that is wanted with it and merges the adapter into it.
    ///
    /// # Errors
    /// When no base is named, when either cannot be read, or when they do not go together.
    pub fn open(&self, wanted: &Wanted<'_>, watcher: &dyn Watcher) -> Result<Checkpoint> {
        let settings = Settings::read(&self.folder.join(CONFIG))?;
        let source = &self.source;
        let Some(base) = wanted.base else {
            let base = settings.base.as_deref().unwrap_or("a model that it does not name").escape_debug();
            bail!(
                "{source} is an adapter of {base}: give that model, or a folder that holds it, with --base"
            );
        };
        let mut base = Checkpoint::open(&Wanted { model: Some(base), base: None, ..*wanted }, watcher)
            .with_context(|| format!("the base of {source}"))?;
        let Description::Hub(values) = &mut base.description else {
            bail!(
                "{source} cannot be merged into {}, whose tensors have other names: give the base as safetensors",
                base.source
            );
        };
        let mut tensors = Weights::default();
        formats::read_one(&self.weights, &mut tensors)?;
        tensors.unwrap_names();
        let remarks = merge(tensors, &settings, &mut base.weights, values).with_context(|| {
            let of = settings.base.as_deref().unwrap_or("an unnamed model").escape_debug();
            format!("{}, an adapter of {of}, with {}", self.weights.display(), base.source)
        })?;
        let names = names_in(&self.folder);
        let tokenizer = match tokenizer::files(&names.iter().map(String::as_str).collect()).is_empty() {
            true => base.tokenizer,
            false => Tokenizer::from_folder(&self.folder).map_err(|error| format!("{error:#}")),
        };
        Ok(Checkpoint {
            name: format!("{} + {}", self.name, base.name),
            source: format!("{source} + {}", base.source),
            tokenizer,
            remarks: base
                .remarks
                .into_iter()
                .chain(remarks.iter().map(|remark| format!("{source}: {remark}")))
                .collect(),
            ..base
        })
    }
}
