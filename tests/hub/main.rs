//! Models by their names: real exchanges with a loopback server that speaks the hub's protocol, and goes wrong on request.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used)]

mod hub_server;
#[path = "../terminal/mod.rs"]
mod terminal;

mod commands;
mod download;
mod hostile;
#[cfg(feature = "real-python")]
mod python;
mod resume;
mod screen;
mod server_selftest;
mod trouble;

use std::{
    cell::RefCell,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use attnscope::{
    checkpoint::{
        Checkpoint, Wanted,
        hub::{
            self, Snapshot,
            name::Name,
            settings::{Settings, Token},
        },
        progress::{Download, Nobody, Progress, TransferState, Watcher},
    },
    error::is_interrupted,
};
use hub_server::{
    Fault, Hub, On, Origin, Repository, Seen,
    models::{NAME, WEIGHTS, fixture, sharded, tiny, without_tokenizer},
};
use tempfile::TempDir;

/// A server, a cache, and how one speaks to the other.
struct World {
    hub: Hub,
    cache: TempDir,
    settings: Settings,
}

impl World {
    fn new(repository: Repository) -> Self {
        let (hub, cache) = (Hub::start(vec![repository]), tempfile::tempdir().unwrap());
        let settings = Settings {
            endpoint: hub.endpoint(),
            cache: cache.path().to_owned(),
            token: None,
            offline: None,
            patience: Duration::from_secs(60),
            pause: Duration::from_millis(1),
        };
        Self { hub, cache, settings }
    }

    fn with_token(mut self, secret: &str) -> Self {
        self.settings.token = Some(Token { secret: secret.into(), origin: "HF_TOKEN".into() });
        self
    }

    fn open(&self) -> Result<Snapshot> {
        self.open_as(NAME, &Wanted::default(), &Nobody)
    }

    fn open_as(&self, name: &str, wanted: &Wanted<'_>, watcher: &dyn Watcher) -> Result<Snapshot> {
        hub::open_with(&self.settings, wanted, &Name::parse(name).unwrap(), watcher)
    }

    /// The line of a failure, which must be one line without anything odd in it.
    fn error(&self) -> String {
        let line = format!("{:#}", self.open().unwrap_err());
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        line
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    /// The contents of a file that grows, if it does.
    fn part(&self) -> Option<Vec<u8>> {
        fs::read(self.folder().join("blobs").join(etag()).with_extension("incomplete")).ok()
    }

    /// Requests for the weights' bytes.
    fn bodies(&self) -> Vec<Seen> {
        let requests = self.hub.requests().into_iter();
        requests.filter(|seen| seen.origin == Origin::Cdn && seen.method == "GET").collect()
    }
}

/// The ETag of the weights.
fn etag() -> String {
    hub_server::sha256(&fixture("gpt2/model.safetensors"))
}

fn weights_of(snapshot: &Snapshot) -> Vec<u8> {
    fs::read(snapshot.folder.join(WEIGHTS)).unwrap()
}

fn assert_whole(world: &World) {
    let snapshot = world.open().unwrap();
    assert_eq!(weights_of(&snapshot), fixture("gpt2/model.safetensors"));
    assert!(world.part().is_none(), "nothing unfinished is left");
}

/// Writes down what it is told, stops when told to, and answers questions.
#[derive(Default)]
struct Scribe {
    notes: RefCell<Vec<String>>,
    downloads: RefCell<Vec<Download>>,
    questions: RefCell<Vec<String>>,
    /// Stops the download when that many bytes are here.
    stop_at: Option<u64>,
    answer: Option<bool>,
}

impl Watcher for Scribe {
    fn progress(&self, _: Progress) -> bool {
        true
    }

    fn download(&self, download: &Download) -> bool {
        self.downloads.borrow_mut().push(download.clone());
        self.stop_at.is_none_or(|bytes| download.done() < bytes)
    }

    fn ask(&self, question: &str) -> Result<Option<bool>> {
        self.questions.borrow_mut().push(question.to_owned());
        Ok(self.answer)
    }

    fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}
