//! Models of the Hugging Face Hub by their names: from the cache that Python shares, or downloaded into it.
//!
//! What the cache holds whole is opened without asking anybody. Otherwise `fetch` asks the hub what there is, `choose` takes
//! the files of one format, and `download` brings each, on from where its bytes ended.

mod board;
mod cache;
mod choose;
mod download;
mod exchange;
mod failure;
mod fetch;
pub mod inventory;
pub mod name;
pub mod revisions;
pub mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use self::{
    cache::Shelf,
    choose::{Choice, TOKENIZER, shards},
    fetch::Fetched,
    name::Name,
    settings::Settings,
};
use super::{Wanted, progress::Watcher, unknown};

/// A commit of a repository whose files are in the cache.
#[derive(Debug)]
pub struct Snapshot {
    /// The folder with its files.
    pub folder: PathBuf,
    /// The weight file to open, a path in `folder`; `None` where the folder itself says which.
    pub file: Option<String>,
    name: Name,
    commit: String,
}

impl Snapshot {
    fn new(name: &Name, shelf: &Shelf, commit: &str, choice: &Choice) -> Self {
        let (name, commit) = (name.clone(), commit.to_owned());
        Self { folder: shelf.snapshot(&commit), file: choice.file(), name, commit }
    }

    /// Short name: `model`, or `model@revision`.
    pub fn name(&self) -> String {
        let name = self.name.to_string();
        name.rsplit_once('/').map_or(name.clone(), |(_, model)| model.to_owned())
    }

    /// What opens exactly this again: `org/model@COMMIT`.
    pub fn source(&self) -> String {
        format!("{}@{}", self.name.repository, self.commit)
    }

    /// What helps when its files cannot be read.
    pub fn remedy(&self) -> String {
        format!(
            "{} in the hub's cache (should a file be broken, `attnscope cache rm {}` makes it come anew)",
            self.source(),
            self.name.repository
        )
    }
}

/// What the cache holds of a model.
enum Cached {
    /// Everything.
    Whole(Snapshot),
    /// Enough to open it: only the tokenizer is not here.
    WithoutTokenizer(Snapshot),
    /// Too little, and what is missing.
    Not(String),
}

/// The model that `text` names, from the cache or through the network, as the variables of the process say.
pub fn open(wanted: &Wanted<'_>, text: &str, watcher: &dyn Watcher) -> Result<Snapshot> {
    let Some(name) = Name::parse(text) else { bail!("{}", unknown(text)) };
    let settings = Settings::from_env()?;
    if !name.has_owner() && matches!(look(&settings, &name, wanted.file), Cached::Not(_)) {
        bail!("{}; models of the hub are named org/model", unknown(text));
    }
    let (owner, model) = name.parts();
    if Path::new(owner).is_dir() && matches!(look(&settings, &name, wanted.file), Cached::Not(_)) {
        watcher.note(&format!(
            "there is no {model} in the folder {owner} here: {text} is looked for on the hub"
        ));
    }
    open_with(&settings, wanted, &name, watcher)
}

/// The model that `name` names, under given settings.
pub fn open_with(
    settings: &Settings,
    wanted: &Wanted<'_>,
    name: &Name,
    watcher: &dyn Watcher,
) -> Result<Snapshot> {
    let cached = look(settings, name, wanted.file);
    if let Some(variable) = settings.offline {
        if wanted.update {
            bail!("--update asks the hub, and {variable} forbids the network: leave one of them out");
        }
        return match cached {
            Cached::Whole(snapshot) | Cached::WithoutTokenizer(snapshot) => {
                watcher.note(&format!("offline ({variable} is set): {name} is opened from the cache"));
                Ok(snapshot)
            }
            Cached::Not(what) => bail!(
                "{name} is no file or folder here, as a model of the hub it is not in the cache ({what}), and {variable} \
                 forbids the network: check the path, or unset it"
            ),
        };
    }
    let here = match cached {
        Cached::Whole(snapshot) if !wanted.update => return Ok(snapshot),
        Cached::Whole(snapshot) | Cached::WithoutTokenizer(snapshot) => Some(snapshot),
        Cached::Not(_) => None,
    };
    match (fetch::fetch(settings, name, wanted, watcher)?, here) {
        (Fetched::Whole(snapshot), before) => {
            if wanted.update {
                watcher.note(&updated(before.as_ref(), &snapshot));
            }
            Ok(snapshot)
        }
        (Fetched::Failed(failure, _), Some(snapshot)) if !wanted.update => {
            let how = if failure.is_offline() { "offline: " } else { "" };
            let why = failure.explain(name, settings);
            watcher.note(&format!("{how}{name} is opened from the cache as it is, because {why}"));
            Ok(snapshot)
        }
        (Fetched::Failed(failure, kept), here) => {
            let kept = if kept { "; what was downloaded is kept" } else { "" };
            let way = if here.is_some() { "; without --update it opens from the cache" } else { "" };
            bail!("{}{kept}{way}", failure.explain(name, settings))
        }
    }
}

/// What `--update` came to.
fn updated(before: Option<&Snapshot>, now: &Snapshot) -> String {
    let commit = &now.commit[..7];
    match before {
        Some(before) if before.commit == now.commit => {
            format!("{} is up to date at commit {commit}", now.name)
        }
        Some(before) => format!("{} moved from commit {} to {commit}", now.name, &before.commit[..7]),
        None => format!("{} is now at commit {commit}", now.name),
    }
}

/// Looks for a model in the cache alone.
fn look(settings: &Settings, name: &Name, file: Option<&str>) -> Cached {
    let shelf = Shelf::new(&settings.cache, &name.repository);
    let Some(commit) = shelf.commit(name) else { return Cached::Not("nothing of it is there".to_owned()) };
    let files = shelf.files(&commit);
    let choice = match Choice::among(&files, file) {
        Ok(choice) => choice,
        Err(what) => return Cached::Not(format!("what is there {what}")),
    };
    let snapshot = Snapshot::new(name, &shelf, &commit, &choice);
    if choice.sharded {
        let shards = shards(&snapshot.folder.join(&choice.weights), &choice.weights);
        match shards.map(|shards| shards.into_iter().find(|shard| !files.contains(shard))) {
            Ok(None) => {}
            Ok(Some(shard)) => return Cached::Not(format!("{} is missing", failure::said(&shard))),
            Err(error) => return Cached::Not(format!("{error:#}")),
        }
    }
    if choice.lacks_tokenizer && !shelf.lacks(&commit, TOKENIZER) {
        return Cached::WithoutTokenizer(snapshot);
    }
    Cached::Whole(snapshot)
}
