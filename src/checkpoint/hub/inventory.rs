//! What the cache holds, and taking models out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result, bail};
use hf_hub::{
    HFClient,
    cache::{CachedRepoInfo, CachedRevisionInfo},
};
use tokio::runtime::Builder;

use super::{
    cache::Shelf,
    name::{Name, is_short},
    settings::Settings,
};
use crate::text::size;

/// The models in the cache.
#[derive(Debug, Default)]
pub struct Inventory {
    /// By name.
    pub models: Vec<Model>,
    /// Data sets and spaces, which this program does not touch: how many, and their bytes.
    pub others: (usize, u64),
    /// What could not be read, a line each.
    pub warnings: Vec<String>,
}

/// A model in the cache.
#[derive(Clone, Debug)]
pub struct Model {
    /// `org/model`.
    pub repository: String,
    /// Its commits.
    pub revisions: Vec<Revision>,
    /// Bytes on disk; contents that revisions share count once.
    pub size: u64,
    /// Bytes of downloads that were begun and not ended.
    pub unfinished: u64,
    shelf: Shelf,
}

/// A commit in the cache.
#[derive(Clone, Debug)]
pub struct Revision {
    /// Its hash.
    pub commit: String,
    /// Branches and tags that meant it when they were last asked for.
    pub references: Vec<String>,
    /// Bytes of its files.
    pub size: u64,
    /// Number of its files.
    pub files: usize,
    /// When one of them was last written.
    pub modified: SystemTime,
    folder: PathBuf,
    blobs: BTreeSet<PathBuf>,
}

/// Reads the cache.
pub fn read(settings: &Settings) -> Result<Inventory> {
    let origin = settings.cache.display();
    let client =
        HFClient::builder().cache_dir(&settings.cache).build().context("the hub's client cannot be made")?;
    let runtime = Builder::new_current_thread().build()?;
    let scan =
        runtime.block_on(client.scan_cache().send()).with_context(|| format!("{origin} cannot be read"))?;
    let mut inventory = Inventory { warnings: scan.warnings, ..Inventory::default() };
    for repository in scan.repos {
        if repository.repo_type == "model" && Name::parse(&repository.repo_id).is_some() {
            inventory.models.push(model(settings, repository));
        } else {
            inventory.others = (inventory.others.0 + 1, inventory.others.1 + repository.size_on_disk);
        }
    }
    inventory.models.sort_by(|one, other| one.repository.cmp(&other.repository));
    Ok(inventory)
}

fn model(settings: &Settings, repository: CachedRepoInfo) -> Model {
    let shelf = Shelf::new(&settings.cache, &repository.repo_id);
    let mut revisions: Vec<Revision> =
        repository.revisions.into_iter().map(|one| revision(&shelf, one)).collect();
    revisions.sort_by(|one, other| other.modified.cmp(&one.modified).then(one.commit.cmp(&other.commit)));
    Model {
        repository: repository.repo_id,
        size: repository.size_on_disk,
        unfinished: parts(&shelf).iter().filter_map(|part| Some(part.metadata().ok()?.len())).sum(),
        revisions,
        shelf,
    }
}

fn revision(shelf: &Shelf, revision: CachedRevisionInfo) -> Revision {
    let mut references = revision.refs;
    references.sort();
    // Two names of the same contents take their place once.
    let sizes: BTreeMap<&PathBuf, u64> =
        revision.files.iter().map(|file| (&file.blob_path, file.size_on_disk)).collect();
    Revision {
        references,
        size: sizes.values().sum(),
        files: revision.files.len(),
        modified: revision.last_modified,
        blobs: revision.files.iter().filter_map(|file| contents(shelf, &file.file_path)).collect(),
        folder: revision.snapshot_path,
        commit: revision.commit_hash,
    }
}

/// The contents that a file of a snapshot links to, where they lie among those of its model.
fn contents(shelf: &Shelf, file: &Path) -> Option<PathBuf> {
    let target = file.parent()?.join(fs::read_link(file).ok()?);
    let folder = target.parent()?.canonicalize().ok()?;
    let blobs = shelf.folder().join("blobs").canonicalize().ok()?;
    let name = target.file_name()?;
    (folder == blobs).then(|| blobs.join(name))
}

/// What downloads, also those of other programs, have left unfinished.
fn parts(shelf: &Shelf) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(shelf.folder().join("blobs")) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "incomplete")).collect()
}

/// What is to be taken out of the cache.
#[derive(Debug)]
pub struct Removal<'a> {
    model: &'a Model,
    what: What<'a>,
}

#[derive(Debug)]
enum What<'a> {
    /// All of the model.
    Model,
    /// A commit, with every name it has.
    Commit(&'a Revision),
    /// One of several names of a commit, which stays.
    Name(&'a Revision, String),
    /// What downloads have left unfinished.
    Unfinished,
}

impl Inventory {
    /// What `org/model` or `org/model@revision` names.
    ///
    /// # Errors
    /// When the cache holds nothing of that name.
    pub fn removal(&self, text: &str) -> Result<Removal<'_>> {
        let (name, model) = self.find(text)?;
        if !text.contains('@') {
            return Ok(Removal { model, what: What::Model });
        }
        let named = model.revisions.iter().find(|one| one.references.contains(&name.revision));
        if let Some(revision) = named.filter(|revision| revision.references.len() > 1) {
            return Ok(Removal { model, what: What::Name(revision, name.revision) });
        }
        let meant = |one: &&Revision| {
            one.commit == name.revision || is_short(&name.revision) && one.commit.starts_with(&name.revision)
        };
        let commit = named.or_else(|| model.revisions.iter().find(meant)).with_context(|| {
            format!("{} is in the cache, but not its revision {}", name.repository, name.revision)
        })?;
        let what = if model.revisions.len() > 1 { What::Commit(commit) } else { What::Model };
        Ok(Removal { model, what })
    }

    /// What downloads of a model have left unfinished.
    ///
    /// # Errors
    /// When the cache holds nothing of that name.
    pub fn unfinished(&self, text: &str) -> Result<Removal<'_>> {
        Ok(Removal { model: self.find(text)?.1, what: What::Unfinished })
    }

    fn find(&self, text: &str) -> Result<(Name, &Model)> {
        let Some(name) = Name::parse(text) else {
            bail!("{text} is no name of a model: name org/model[@revision]")
        };
        let found = self.models.iter().find(|model| model.repository == name.repository);
        let model =
            found.with_context(|| format!("{text} is not in the cache: `attnscope cache` lists what is"))?;
        Ok((name, model))
    }
}

impl Removal<'_> {
    /// Bytes that become free.
    pub fn size(&self) -> u64 {
        match &self.what {
            What::Model => self.model.size + self.model.unfinished,
            What::Commit(commit) => {
                self.lone(commit).filter_map(|blob| Some(blob.metadata().ok()?.len())).sum()
            }
            What::Name(..) => 0,
            What::Unfinished => self.model.unfinished,
        }
    }

    /// What goes, for the question.
    pub fn describe(&self) -> String {
        let repository = &self.model.repository;
        let what = match &self.what {
            What::Model => match self.model.revisions.len() {
                0 | 1 => repository.clone(),
                several => format!("{repository} with its {several} revisions"),
            },
            What::Commit(commit) => match commit.references.as_slice() {
                [] => format!("{repository}@{}", &commit.commit),
                names => format!("{repository}@{}", names.join(", ")),
            },
            What::Name(commit, name) => {
                let others =
                    commit.references.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>();
                return format!(
                    "the name {repository}@{name} (its files stay, for {} means them too)",
                    others.join(", ")
                );
            }
            What::Unfinished => format!("unfinished downloads of {repository}"),
        };
        format!("{what} (frees {})", size(self.size()))
    }

    /// Takes it out.
    ///
    /// # Errors
    /// When another process downloads the model, or the disk refuses.
    pub fn carry_out(&self) -> Result<()> {
        if self.is_busy() {
            bail!("another process downloads {}: stop it first", self.model.repository);
        }
        let (shelf, failed) = (&self.model.shelf, || format!("{} cannot be removed", self.describe()));
        match &self.what {
            What::Model => remove(shelf.locks()).and_then(|()| remove(shelf.folder())),
            What::Commit(commit) => self.remove_commit(commit),
            What::Name(_, name) => fs::remove_file(shelf.folder().join("refs").join(name)),
            What::Unfinished => parts(shelf).into_iter().try_for_each(fs::remove_file),
        }
        .with_context(failed)
    }

    /// Contents that only this commit uses.
    fn lone<'a>(&'a self, commit: &'a Revision) -> impl Iterator<Item = &'a PathBuf> {
        let others = self.model.revisions.iter().filter(|other| other.commit != commit.commit);
        let shared: BTreeSet<&PathBuf> = others.flat_map(|other| &other.blobs).collect();
        commit.blobs.iter().filter(move |blob| !shared.contains(blob))
    }

    /// The names go first: a removal that breaks off leaves nothing that looks whole.
    fn remove_commit(&self, commit: &Revision) -> io::Result<()> {
        let folder = self.model.shelf.folder();
        for reference in &commit.references {
            fs::remove_file(folder.join("refs").join(reference))?;
        }
        remove(&folder.join(".no_exist").join(&commit.commit))?;
        remove(&commit.folder)?;
        self.lone(commit).try_for_each(fs::remove_file)
    }

    fn is_busy(&self) -> bool {
        let Ok(locks) = fs::read_dir(self.model.shelf.locks()) else { return false };
        locks.flatten().any(|lock| {
            let name = lock.file_name().into_string().unwrap_or_default();
            name.strip_suffix(".lock").is_some_and(|etag| matches!(self.model.shelf.lock(etag), Ok(None)))
        })
    }
}

/// Removes a folder with all that is in it; links are removed, never followed.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
