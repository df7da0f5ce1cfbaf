//! What is missing of a model, into the cache: ask what there is, choose, say what it takes, download.

use std::{collections::BTreeMap, io, path::Path};

use anyhow::{Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::{Builder, Runtime};

use super::{
    Snapshot,
    board::Board,
    cache::{Shelf, is_etag},
    choose::{Choice, TOKENIZER, shards},
    download::{Fetch, Item, Sum},
    exchange::{Entry, Hub, Reference},
    failure::{Failure, said},
    name::Name,
    settings::Settings,
};
use crate::{
    checkpoint::{Wanted, formats::is_weights, progress::Watcher, shards::is_inside},
    memory,
    text::size,
};

/// Files that are downloaded side by side.
const SIDE_BY_SIDE: usize = 4;
/// Files whose descriptions are asked for side by side.
const ASKED: usize = 8;

/// What came of a fetch.
pub enum Fetched {
    /// Everything is in the cache.
    Whole(Snapshot),
    /// It is not, because of this; whether bytes that had come are kept.
    Failed(Failure, bool),
}

/// Fetches what `wanted` takes of a model, as far as the cache at `settings` does not hold it.
///
/// # Errors
/// When `watcher` stops it, or whoever is asked says no.
pub fn fetch(
    settings: &Settings,
    name: &Name,
    wanted: &Wanted<'_>,
    watcher: &dyn Watcher,
) -> Result<Fetched> {
    let hub = match Hub::new(settings.clone()) {
        Ok(hub) => hub,
        Err(failure) => return Ok(Fetched::Failed(failure, false)),
    };
    let runtime = runtime()?;
    let shelf = Shelf::new(&settings.cache, &name.repository);
    let board = Board::new();
    let plan = match runtime.block_on(board.follow(watcher, plan(&hub, name, wanted, &shelf, &board)))? {
        Ok(plan) => plan,
        Err(failure) => return Ok(Fetched::Failed(failure, false)),
    };
    permit(&plan, settings, name, wanted, watcher)?;
    let done = board.follow(watcher, plan.download(&hub, name, &shelf, &board));
    Ok(match runtime.block_on(done)? {
        Ok(()) => Fetched::Whole(Snapshot::new(name, &shelf, &plan.commit, &plan.choice)),
        Err(failure) => {
            Fetched::Failed(failure, plan.items.iter().any(|item| shelf.part(&item.etag).exists()))
        }
    })
}

/// The branches and tags of a repository.
pub fn references(settings: &Settings, name: &Name, watcher: &dyn Watcher) -> Result<Vec<Reference>> {
    let explained = |failure: Failure| anyhow::anyhow!(failure.explain(name, settings));
    let hub = Hub::new(settings.clone()).map_err(explained)?;
    let board = Board::new();
    runtime()?.block_on(board.follow(watcher, hub.references(name, &board)))?.map_err(explained)
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// The files of a commit that a model needs.
struct Plan {
    commit: String,
    choice: Choice,
    /// All of them; some may be in the cache already.
    items: Vec<Item>,
    /// Files and bytes that are still to come.
    missing: (usize, u64),
    /// Bytes of the weights.
    weights: u64,
}

/// Asks what a model consists of. The only file that is fetched for that is the index of its shards.
async fn plan(
    hub: &Hub,
    name: &Name,
    wanted: &Wanted<'_>,
    shelf: &Shelf,
    board: &Board,
) -> Result<Plan, Failure> {
    let commit = hub.commit(name, board).await?;
    let tree = hub.tree(name, &commit, board).await?;
    let entries: BTreeMap<&str, &Entry> = tree
        .iter()
        .filter(|entry| is_inside(&entry.path))
        .map(|entry| (entry.path.as_str(), entry))
        .collect();
    let names: Vec<String> = entries.keys().map(|&name| name.to_owned()).collect();
    let choice = Choice::among(&names, wanted.file).map_err(Failure::Unusable)?;

    let mut weights = vec![choice.weights.clone()];
    if choice.sharded {
        let index = item(hub, name, &commit, entries[choice.weights.as_str()], board).await?;
        Fetch { hub, name, commit: &commit, shelf, board }.file(usize::MAX, &index).await?;
        let path = shelf.snapshot(&commit).join(&choice.weights);
        weights = shards(&path, &choice.weights)
            .map_err(|error| Failure::Unusable(format!("cannot be opened: {error:#}")))?;
    }
    let wanted = choice.companions.iter().chain(&weights);
    let wanted = wanted.map(|path| {
        entries.get(path.as_str()).copied().ok_or_else(|| {
            Failure::Unusable(format!("has no {}, which {} names", said(path), said(&choice.weights)))
        })
    });
    let wanted: Vec<&Entry> = wanted.collect::<Result<_, _>>()?;
    let items: Vec<Item> = stream::iter(wanted)
        .map(|entry| item(hub, name, &commit, entry, board))
        .buffered(ASKED)
        .try_collect()
        .await?;
    let missing: Vec<u64> =
        items.iter().map(|item| missing(shelf, item)).filter(|&bytes| bytes > 0).collect();
    let missing = (missing.len(), missing.into_iter().sum());
    let holds = |path: &String| weights.contains(path) || is_weights(path);
    let weights = items.iter().filter(|item| holds(&item.path)).map(|item| item.size).sum();
    Ok(Plan { commit, choice, items, missing, weights })
}

/// What has to be known of a file to fetch it.
async fn item(hub: &Hub, name: &Name, commit: &str, entry: &Entry, board: &Board) -> Result<Item, Failure> {
    let description = hub.describe(name, commit, &entry.path, board).await?;
    let damaged = |what: String| Failure::Damaged(said(&entry.path), what);
    if !is_etag(&description.etag) {
        return Err(damaged(format!("its ETag `{}` is none of the hub's", said(&description.etag))));
    }
    match description.size {
        Some(size) if size != entry.size => {
            Err(damaged(format!("{} bytes are listed and {size} announced", entry.size)))
        }
        _ => Ok(Item {
            path: entry.path.clone(),
            sum: Sum::of(&description.etag, &entry.oid),
            etag: description.etag,
            size: entry.size,
        }),
    }
}

/// Bytes of a file that the cache does not hold.
fn missing(shelf: &Shelf, item: &Item) -> u64 {
    if shelf.blob(&item.etag).is_file() {
        return 0;
    }
    let here = shelf.part(&item.etag).metadata().map_or(0, |part| part.len());
    // A part that is longer than the file is no part of it.
    item.size - if here > item.size { 0 } else { here }
}

/// Says what a download takes, and asks when that is more than there is.
fn permit(
    plan: &Plan,
    settings: &Settings,
    name: &Name,
    wanted: &Wanted<'_>,
    watcher: &dyn Watcher,
) -> Result<()> {
    let (files, missing) = plan.missing;
    if missing == 0 {
        return Ok(());
    }
    let disk = memory::free_disk(&settings.cache);
    let left = |bytes: Option<u64>, of: &str| {
        bytes.map_or_else(String::new, |bytes| format!(" ({} of {of} free)", size(bytes)))
    };
    let needs = format!(
        "{name} at commit {}: {files} {}, {} to download{}, {} of weights{}",
        &plan.commit[..7],
        if files == 1 { "file" } else { "files" },
        size(missing),
        left(disk, "disk"),
        size(plan.weights),
        left(wanted.memory, "memory")
    );
    let short = |need: u64, free: Option<u64>| free.is_some_and(|free| need > free);
    let what = match (short(missing, disk), short(plan.weights, wanted.memory)) {
        (false, false) => {
            watcher.note(&needs);
            return Ok(());
        }
        (true, _) => "free some disk, or set HF_HUB_CACHE to another one",
        (false, true) => "take a smaller or more strongly quantised model",
    };
    match watcher.ask(&format!("{needs}: download it all the same?"))? {
        Some(true) => Ok(()),
        Some(false) => bail!("{needs}: not downloaded"),
        None => bail!("{needs}: {what}"),
    }
}

impl Plan {
    /// Downloads what is not in the cache and puts everything in place.
    async fn download(&self, hub: &Hub, name: &Name, shelf: &Shelf, board: &Board) -> Result<(), Failure> {
        board.list(self.items.iter().map(|item| (item.path.clone(), item.size)));
        let fetch = Fetch { hub, name, commit: &self.commit, shelf, board };
        stream::iter(self.items.iter().enumerate())
            .map(|(at, item)| fetch.file(at, item))
            .buffer_unordered(SIDE_BY_SIDE)
            .try_collect::<()>()
            .await?;
        let remembered = || {
            if self.choice.lacks_tokenizer {
                shelf.remember_lack(&self.commit, TOKENIZER)?;
            }
            shelf.remember(name, &self.commit)
        };
        remembered().map_err(|error| cache_trouble(&error, shelf.folder()))
    }
}

fn cache_trouble(error: &io::Error, path: &Path) -> Failure {
    Failure::of_disk(error, path, 0)
}
