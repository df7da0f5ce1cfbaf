//! Repositories: branches of files, and what the API says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::{Value, json};
use sha1::Digest as _;

/// The hash under which git keeps a file of these bytes.
pub fn git_blob(bytes: &[u8]) -> String {
    git_object("blob", bytes)
}

/// The SHA-256 of some bytes, under which LFS keeps a file.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}

fn git_object(kind: &str, bytes: &[u8]) -> String {
    let header = format!("{kind} {}\0", bytes.len());
    hex(&sha1::Sha1::new().chain_update(header).chain_update(bytes).finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file.
#[derive(Clone)]
pub struct Entry {
    pub bytes: Arc<Vec<u8>>,
    /// The hash of what git has under the file's name: for an LFS file its pointer.
    pub oid: String,
    pub lfs: Option<Lfs>,
}

/// What there is to know of an LFS file besides.
#[derive(Clone)]
pub struct Lfs {
    pub sha256: String,
    /// The hash that Xet, which stores the file nowadays, has for it.
    pub xet: String,
    pointer_size: usize,
}

impl Entry {
    fn regular(bytes: Vec<u8>) -> Self {
        Self { oid: git_blob(&bytes), bytes: Arc::new(bytes), lfs: None }
    }

    fn lfs(bytes: Vec<u8>) -> Self {
        let sha256 = sha256(&bytes);
        let size = bytes.len();
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
        let xet = self::sha256(format!("xet {sha256}").as_bytes());
        Self {
            bytes: Arc::new(bytes),
            oid: git_blob(pointer.as_bytes()),
            lfs: Some(Lfs { sha256, xet, pointer_size: pointer.len() }),
        }
    }

    /// How a tree lists the file.
    fn listed(&self, path: &str) -> Value {
        let mut entry = json!({ "type": "file", "oid": self.oid, "size": self.bytes.len(), "path": path });
        if let Some(lfs) = &self.lfs {
            entry["lfs"] =
                json!({ "oid": lfs.sha256, "size": self.bytes.len(), "pointerSize": lfs.pointer_size });
            entry["xetHash"] = json!(lfs.xet);
        }
        entry
    }

    /// How a repository's description lists the file, with what is asked for by `blobs=true` or without.
    fn sibling(&self, path: &str, blobs: bool) -> Value {
        let mut sibling = json!({ "rfilename": path });
        if blobs {
            sibling["blobId"] = json!(self.oid);
            sibling["size"] = json!(self.bytes.len());
            if let Some(lfs) = &self.lfs {
                let size = self.bytes.len();
                sibling["lfs"] =
                    json!({ "sha256": lfs.sha256, "size": size, "pointerSize": lfs.pointer_size });
            }
        }
        sibling
    }
}

/// A branch, which has one commit: the last.
#[derive(Clone)]
pub struct Branch {
    name: String,
    pub files: BTreeMap<String, Entry>,
}

impl Branch {
    /// The entries of its tree by path: files, and the directories they are in.
    pub fn tree(&self, recursive: bool) -> Vec<Value> {
        let parents = |path: &str| path.match_indices('/').map(|(at, _)| path[..at].to_owned()).collect();
        let directories: BTreeSet<String> =
            self.files.keys().flat_map(|path| -> Vec<String> { parents(path) }).collect();
        let mut entries: BTreeMap<&str, Value> =
            self.files.iter().map(|(path, entry)| (path.as_str(), entry.listed(path))).collect();
        entries.extend(directories.iter().map(|path| {
            let oid = git_object("tree", path.as_bytes());
            (path.as_str(), json!({ "type": "directory", "oid": oid, "size": 0, "path": path }))
        }));
        entries.retain(|path, _| recursive || !path.contains('/'));
        entries.into_values().collect()
    }
}

/// A repository, built up call by call. Files go to the branch at hand, which is main at first.
#[derive(Clone)]
pub struct Repository {
    pub(super) id: String,
    branches: Vec<Branch>,
    at: usize,
    /// Tags with the place of the branch they are at the end of.
    tags: Vec<(String, usize)>,
    pub(super) gated: bool,
    private: Option<String>,
    former: Vec<String>,
    pub(super) direct: bool,
}

impl Repository {
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            branches: vec![Branch { name: "main".to_owned(), files: BTreeMap::new() }],
            at: 0,
            tags: Vec::new(),
            gated: false,
            private: None,
            former: Vec::new(),
            direct: false,
        }
    }

    /// A file that git has itself.
    pub fn file(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.put(path, Entry::regular(bytes.into()))
    }

    /// A file that git has a pointer to.
    pub fn lfs(self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.put(path, Entry::lfs(bytes.into()))
    }

    fn put(mut self, path: &str, entry: Entry) -> Self {
        self.branches[self.at].files.insert(path.to_owned(), entry);
        self
    }

    /// A new branch with main's files so far, to which the calls after this one go.
    pub fn commit(mut self, branch: &str) -> Self {
        self.at = self.branches.len();
        self.branches.push(Branch { name: branch.to_owned(), files: self.branches[0].files.clone() });
        self
    }

    /// Goes back to the main branch.
    pub fn main(mut self) -> Self {
        self.at = 0;
        self
    }

    /// A tag of the commit that the branch at hand has in the end.
    pub fn tag(mut self, name: &str) -> Self {
        self.tags.push((name.to_owned(), self.at));
        self
    }

    /// Files only for those who were accepted, who have the token `hf_accepted`.
    pub fn gated(mut self) -> Self {
        self.gated = true;
        self
    }

    /// Nothing to be seen without this token.
    pub fn private(mut self, token: &str) -> Self {
        self.private = Some(token.to_owned());
        self
    }

    /// A name that it had before, from which requests are redirected. May be one without an organisation.
    pub fn named_before(mut self, id: &str) -> Self {
        self.former.push(id.to_owned());
        self
    }

    /// LFS files come from the hub itself, without a redirect.
    pub fn direct_lfs(mut self) -> Self {
        self.direct = true;
        self
    }

    /// The commit of a branch or tag.
    pub fn sha(&self, revision: &str) -> String {
        self.commit_of(self.find(revision).unwrap())
    }

    pub(super) fn was(&self, id: &str) -> bool {
        self.former.iter().any(|former| former == id)
    }

    pub(super) fn visible_to(&self, token: Option<&str>) -> bool {
        self.private.is_none() || self.private.as_deref() == token
    }

    /// The branch that a branch's name, a tag or a full commit hash leads to.
    pub(super) fn find(&self, revision: &str) -> Option<&Branch> {
        let tagged =
            || self.tags.iter().find(|(name, _)| name == revision).map(|(_, at)| &self.branches[*at]);
        let named = self.branches.iter().find(|branch| branch.name == revision).or_else(tagged);
        named.or_else(|| self.branches.iter().find(|branch| self.commit_of(branch) == revision))
    }

    /// A hash that is always the same for the same content, and another for another branch.
    pub(super) fn commit_of(&self, branch: &Branch) -> String {
        let files = branch.files.iter().map(|(path, entry)| format!("{} {path}\n", entry.oid));
        let text = format!("{}\n{}\n{}", self.id, branch.name, files.collect::<String>());
        git_object("commit", text.as_bytes())
    }

    /// Every LFS file that any branch has.
    pub(super) fn lfs_entries(&self) -> impl Iterator<Item = (&Lfs, &Entry)> {
        let entries = self.branches.iter().flat_map(|branch| branch.files.values());
        entries.filter_map(|entry| Some((entry.lfs.as_ref()?, entry)))
    }

    /// The description at a branch.
    pub(super) fn info(&self, branch: &Branch, blobs: bool) -> Value {
        let siblings: Vec<Value> =
            branch.files.iter().map(|(path, entry)| entry.sibling(path, blobs)).collect();
        json!({
            "_id": &git_object("blob", self.id.as_bytes())[..24],
            "id": self.id,
            "modelId": self.id,
            "author": self.id.split_once('/').map(|(author, _)| author),
            "sha": self.commit_of(branch),
            "lastModified": "2024-05-01T12:00:00.000Z",
            "createdAt": "2024-05-01T12:00:00.000Z",
            "gated": if self.gated { json!("manual") } else { json!(false) },
            "private": self.private.is_some(),
            "disabled": false,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": siblings,
        })
    }

    /// The branches and tags.
    pub(super) fn refs(&self) -> Value {
        let listed = |kind: &str, name: &str, branch: &Branch| {
            let commit = self.commit_of(branch);
            json!({ "name": name, "ref": format!("refs/{kind}/{name}"), "targetCommit": commit })
        };
        let branches: Vec<_> =
            self.branches.iter().map(|branch| listed("heads", &branch.name, branch)).collect();
        let tags: Vec<_> =
            self.tags.iter().map(|(name, at)| listed("tags", name, &self.branches[*at])).collect();
        json!({ "branches": branches, "tags": tags, "converts": [] })
    }
}
