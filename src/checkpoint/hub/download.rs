//! One file into the cache: on from where its bytes ended, checked, and put in place when it is whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
    time::Duration,
};

use sha1::{Digest, Sha1};
use sha2::Sha256;
use tokio::time::sleep;

use super::{
    board::Board,
    cache::Shelf,
    exchange::{Hub, Tries},
    failure::Failure,
    name::Name,
};
use crate::{checkpoint::progress::TransferState, text::line};

/// Time between two looks at a lock that another process holds.
const LOCK: Duration = Duration::from_millis(200);
/// Bytes read at once of a part that was here before.
const BLOCK: usize = 1 << 20;

/// A file to fetch.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its path in the repository.
    pub path: String,
    /// The name of its contents in the cache.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// What its contents must add up to.
    pub sum: Sum,
}

/// How contents are checked, as far as the hub says what they must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// The ETag is the SHA-256 of the contents: files that git does not hold itself.
    Sha256,
    /// The ETag is git's own hash: SHA-1 of `blob LENGTH\0` and the contents.
    Git,
    /// Only the length is known.
    Length,
}

impl Sum {
    /// What an ETag is, where `oid` is the file's object in git.
    pub fn of(etag: &str, oid: &str) -> Self {
        let hex = etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match etag.len() {
            64 if hex => Self::Sha256,
            40 if hex && etag == oid => Self::Git,
            _ => Self::Length,
        }
    }
}

/// A sum over bytes that come one after the other.
enum Running {
    Sha256(Sha256),
    Git(Sha1),
    Length,
}

impl Running {
    fn new(item: &Item) -> Self {
        match item.sum {
            Sum::Sha256 => Self::Sha256(Sha256::new()),
            Sum::Git => Self::Git(Sha1::new().chain_update(format!("blob {}\0", item.size))),
            Sum::Length => Self::Length,
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(sum) => sum.update(bytes),
            Self::Git(sum) => sum.update(bytes),
            Self::Length => {}
        }
    }

    /// Whether the sum is what the ETag says.
    fn holds(self, etag: &str) -> bool {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            Self::Sha256(sum) => hex(&sum.finalize()) == etag,
            Self::Git(sum) => hex(&sum.finalize()) == etag,
            Self::Length => true,
        }
    }
}

/// What fetches the files of one commit.
pub struct Fetch<'a> {
    /// The hub.
    pub hub: &'a Hub,
    /// What is fetched.
    pub name: &'a Name,
    /// Its commit.
    pub commit: &'a str,
    /// Where it goes.
    pub shelf: &'a Shelf,
    /// Where it is told.
    pub board: &'a Board,
}

impl Fetch<'_> {
    /// Fetches a file, which is number `at` on the board, and puts it in place.
    pub async fn file(&self, at: usize, item: &Item) -> Result<(), Failure> {
        if self.shelf.has(self.commit, &item.path, &item.etag) {
            self.board.set(at, item.size, TransferState::Done);
            return Ok(());
        }
        self.shelf.prepare().map_err(|error| {
            match Failure::of_disk(&error, self.shelf.folder(), item.size) {
                Failure::Cache(_) => Failure::Cache(error.to_string()),
                full => full,
            }
        })?;
        let _lock = self.lock(at, item).await?;
        if !self.shelf.blob(&item.etag).is_file() {
            let whole = self.bytes(at, item).await?;
            // What was here before may have been another's, or spoilt: once more from the start.
            if !whole && !self.bytes(at, item).await? {
                let what = "its hash is not the one that the hub names";
                return Err(Failure::Damaged(line(&item.path), what.to_owned()));
            }
        }
        self.shelf
            .place(self.commit, &item.path, &item.etag)
            .map_err(|error| self.trouble(&error, self.shelf.folder(), 0))?;
        self.board.set(at, item.size, TransferState::Done);
        Ok(())
    }

    /// Waits for the lock on a file's contents.
    async fn lock(&self, at: usize, item: &Item) -> Result<File, Failure> {
        let mut waited = false;
        loop {
            let lock = self.shelf.lock(&item.etag);
            match lock.map_err(|error| self.trouble(&error, self.shelf.locks(), item.size))? {
                Some(lock) => {
                    if waited {
                        self.board.note(None);
                    }
                    return Ok(lock);
                }
                None => {
                    waited = true;
                    let here = self.shelf.part(&item.etag).metadata().map_or(0, |part| part.len());
                    self.board.set(at, here.min(item.size), TransferState::Waiting);
                    self.board.note(Some(format!(
                        "another process downloads {}, waiting for it",
                        line(&item.path)
                    )));
                    sleep(LOCK).await;
                }
            }
        }
    }

    /// Makes a file's contents whole; false, and nothing is left, when they are not what the hub promised.
    async fn bytes(&self, at: usize, item: &Item) -> Result<bool, Failure> {
        let part = self.shelf.part(&item.etag);
        let mut growing = self.reopen(at, item, &part).await?;
        let mut tries = Tries::of_bytes(self.hub.settings.pause);
        while growing.length < item.size {
            let before = growing.length;
            let end = self.stream(at, item, &mut growing).await;
            if growing.length > before {
                tries.progress();
            }
            match end {
                Ok(()) if growing.length == item.size => {}
                Ok(()) => {
                    let cut = Failure::Network(format!("{} broke off", line(&item.path)));
                    self.again(&mut tries, cut).await?;
                }
                Err(failure) => self.again(&mut tries, failure).await?,
            }
        }
        let left = |error: io::Error| self.trouble(&error, &part, 0);
        growing.file.sync_all().map_err(left)?;
        if !growing.sum.holds(&item.etag) {
            fs::remove_file(&part).map_err(left)?;
            return Ok(false);
        }
        fs::rename(&part, self.shelf.blob(&item.etag)).map_err(left)?;
        Ok(true)
    }

    /// The part of a file that is here, read once for its sum.
    async fn reopen(&self, at: usize, item: &Item, part: &Path) -> Result<Growing, Failure> {
        let trouble = |error: io::Error| self.trouble(&error, part, item.size);
        let file = OpenOptions::new().create(true).append(true).read(true).open(part).map_err(trouble)?;
        let here = file.metadata().map_err(trouble)?.len();
        let mut read = file.try_clone().map_err(trouble)?.take(here);
        let mut growing = Growing { length: 0, sum: Running::new(item), file };
        if here > item.size {
            growing.restart(item).map_err(trouble)?;
        }
        let mut block = vec![0; BLOCK];
        loop {
            let count = read.read(&mut block).map_err(trouble)?;
            if count == 0 {
                return Ok(growing);
            }
            growing.sum.add(&block[..count]);
            growing.length += count as u64;
            self.board.set(at, growing.length, TransferState::Checking);
            // Whoever stops the fetch is heard between blocks.
            tokio::task::yield_now().await;
        }
    }

    /// Appends what the server sends from where the part ends, until it ends.
    async fn stream(&self, at: usize, item: &Item, growing: &mut Growing) -> Result<(), Failure> {
        let mut body = self.hub.body(self.name, self.commit, &item.path, growing.length).await?;
        let part = self.shelf.part(&item.etag);
        if body.start != growing.length {
            if body.start != 0 {
                return Err(Failure::NotTheHub(format!(
                    "{}: another range than asked for",
                    line(&item.path)
                )));
            }
            growing.restart(item).map_err(|error| self.trouble(&error, &part, item.size))?;
        }
        self.board.set(at, growing.length, TransferState::Running);
        loop {
            let chunk = body.response.chunk().await;
            let chunk = chunk.map_err(|error| Failure::of_request(&error, self.hub.settings.patience))?;
            let Some(chunk) = chunk else { return Ok(()) };
            let left = item.size - growing.length;
            if chunk.len() as u64 > left {
                growing.restart(item).map_err(|error| self.trouble(&error, &part, item.size))?;
                let what = format!("more than the {} bytes that the hub names", item.size);
                return Err(Failure::Damaged(line(&item.path), what));
            }
            growing.file.write_all(&chunk).map_err(|error| self.trouble(&error, &part, left))?;
            growing.sum.add(&chunk);
            growing.length += chunk.len() as u64;
            self.board.receive(at, chunk.len() as u64);
        }
    }

    async fn again(&self, tries: &mut Tries, failure: Failure) -> Result<(), Failure> {
        match tries.next(&failure) {
            Some(pause) => {
                self.board.pause(&failure, pause).await;
                Ok(())
            }
            None => Err(failure),
        }
    }

    fn trouble(&self, error: &io::Error, path: &Path, left: u64) -> Failure {
        Failure::of_disk(error, path, left)
    }
}

/// A file that grows.
struct Growing {
    file: File,
    length: u64,
    sum: Running,
}

impl Growing {
    /// Forgets what is here.
    fn restart(&mut self, item: &Item) -> io::Result<()> {
        self.file.set_len(0)?;
        self.length = 0;
        self.sum = Running::new(item);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(sum: Sum, etag: &str, bytes: &[u8]) -> bool {
        let item = Item { path: "f".into(), etag: etag.into(), size: bytes.len() as u64, sum };
        let mut running = Running::new(&item);
        bytes.chunks(2).for_each(|chunk| running.add(chunk));
        running.holds(etag)
    }

    #[test]
    fn sums_are_those_of_the_hub() {
        // `printf hello | sha256sum` and `printf hello | git hash-object --stdin`.
        let sha256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
        let git = "b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0";
        assert!(holds(Sum::Sha256, sha256, b"hello") && !holds(Sum::Sha256, sha256, b"hallo"));
        assert!(holds(Sum::Git, git, b"hello") && !holds(Sum::Git, git, b"hallo"));
        assert!(holds(Sum::Length, "any", b"hello"));
        assert_eq!(Sum::of(sha256, git), Sum::Sha256);
        assert_eq!((Sum::of(git, git), Sum::of(git, sha256)), (Sum::Git, Sum::Length));
        assert_eq!(Sum::of("d41d8cd98f00b204e9800998ecf8427e", git), Sum::Length);
    }
}
