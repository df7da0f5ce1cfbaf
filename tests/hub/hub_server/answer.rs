//! What the hub and the CDN answer when nothing goes wrong.

use serde_json::{Value, json};

use super::{
    Origin, Site,
    http::{Reply, Request, encode, encode_path},
    repository::{Branch, Entry, Lfs, Repository, sha256},
};

/// The most entries of a tree on one page: few, so that paging shows.
const PAGE: usize = 3;

/// The token that is good for nothing.
const EXPIRED: &str = "hf_expired";
/// The token of someone whom gated repositories have let in.
const ACCEPTED: &str = "hf_accepted";

pub fn answer(site: &Site, origin: Origin, request: &Request) -> Reply {
    match (request.method.as_str(), origin) {
        ("GET" | "HEAD", Origin::Hub) => hub(site, request),
        ("GET" | "HEAD", Origin::Cdn) => cdn(site, request),
        _ => Reply::text(405, "Method Not Allowed").with("Allow", "GET, HEAD"),
    }
}

/// What a request is about.
struct Target {
    id: String,
    what: What,
}

enum What {
    Info { revision: String },
    Tree { revision: String },
    Refs,
    Resolve { revision: String, path: String },
    Cached { commit: String, path: String },
}

impl Target {
    fn of(segments: &[&str]) -> Option<Self> {
        match segments {
            ["api", "models", rest @ ..] => Self::api(rest),
            ["api", "resolve-cache", "models", org, name, commit, path @ ..] if !path.is_empty() => {
                let what = What::Cached { commit: (*commit).to_owned(), path: path.join("/") };
                Some(Self { id: format!("{org}/{name}"), what })
            }
            ["api", ..] => None,
            _ => Self::resolve(segments),
        }
    }

    fn api(segments: &[&str]) -> Option<Self> {
        let (id, rest) = split_id(segments, |rest| matches!(rest, [] | ["revision" | "tree" | "refs", ..]))?;
        let what = match rest {
            [] => What::Info { revision: "main".to_owned() },
            ["revision", revision] => What::Info { revision: (*revision).to_owned() },
            ["tree", revision] => What::Tree { revision: (*revision).to_owned() },
            ["refs"] => What::Refs,
            _ => return None,
        };
        Some(Self { id, what })
    }

    fn resolve(segments: &[&str]) -> Option<Self> {
        let (id, rest) = split_id(segments, |rest| matches!(rest, ["resolve", _, _, ..]))?;
        let ["resolve", revision, path @ ..] = rest else { return None };
        Some(Self { id, what: What::Resolve { revision: (*revision).to_owned(), path: path.join("/") } })
    }
}

/// Parts a repository's name, which has an organisation or, from the early days, none, from what follows it.
fn split_id<'a, 'b>(
    segments: &'a [&'b str],
    follows: impl Fn(&[&str]) -> bool,
) -> Option<(String, &'a [&'b str])> {
    [1, 2].into_iter().find_map(|words| {
        let (id, rest) = segments.split_at_checked(words)?;
        follows(rest).then(|| (id.join("/"), rest))
    })
}

fn hub(site: &Site, request: &Request) -> Reply {
    let token = request.token();
    if token == Some(EXPIRED) {
        return refusal(401, None, "Invalid credentials in Authorization header");
    }
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let Some(target) = Target::of(&segments) else { return Reply::text(404, "Not Found") };
    let mut visible = site.repositories.iter().filter(|it| it.visible_to(token));
    let Some(repository) = visible.find(|it| it.id == target.id || it.was(&target.id)) else {
        return no_repository(token);
    };
    if repository.id != target.id {
        let old = format!("/{}", target.id);
        let location = request.target.replacen(&old, &format!("/{}", repository.id), 1);
        return Reply::empty(307).with("Location", &location);
    }
    Asked { site, request, repository }.answer(&target.what)
}

/// A request that has found its repository.
struct Asked<'a> {
    site: &'a Site,
    request: &'a Request,
    repository: &'a Repository,
}

impl Asked<'_> {
    fn answer(&self, what: &What) -> Reply {
        match what {
            What::Refs => Reply::json(200, &self.repository.refs()),
            What::Info { revision } => self.at(revision, |branch| {
                let blobs = self.request.param("blobs").is_some_and(|value| truthy(&value));
                Reply::json(200, &self.repository.info(branch, blobs))
            }),
            What::Tree { revision } => self.at(revision, |branch| self.tree(revision, branch)),
            What::Resolve { revision, path } => self.entry(revision, path, |branch, entry| {
                let commit = self.repository.commit_of(branch);
                let reply = match &entry.lfs {
                    None => self.to_cache(&commit, path, entry),
                    Some(lfs) if self.repository.direct => self.direct(lfs, entry),
                    Some(lfs) => self.to_cdn(&commit, path, lfs, entry),
                };
                reply.with("X-Repo-Commit", &commit)
            }),
            What::Cached { commit, path } => self.entry(commit, path, |_, entry| {
                Reply::file(&entry.bytes, &quoted(&entry.oid), self.request).with("X-Repo-Commit", commit)
            }),
        }
    }

    fn at(&self, revision: &str, then: impl FnOnce(&Branch) -> Reply) -> Reply {
        match self.repository.find(revision) {
            Some(branch) => then(branch),
            None => refusal(404, Some("RevisionNotFound"), &format!("Invalid rev id: {revision}")),
        }
    }

    /// A page of a branch's tree, which names the next.
    fn tree(&self, revision: &str, branch: &Branch) -> Reply {
        let recursive = self.request.param("recursive").is_some_and(|value| truthy(&value));
        let entries = branch.tree(recursive);
        let from = self.request.param("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let page: Vec<&Value> = entries.iter().skip(from).take(PAGE).collect();
        let next = from + page.len();
        let reply = Reply::json(200, &json!(page));
        if next >= entries.len() {
            return reply;
        }
        let Site { endpoint, .. } = self.site;
        let (id, revision) = (&self.repository.id, encode(revision));
        let url = format!(
            "{endpoint}/api/models/{id}/tree/{revision}?recursive={recursive}&limit={PAGE}&cursor={next}"
        );
        reply.with("Link", &format!("<{url}>; rel=\"next\""))
    }

    /// A file, for those who may have it.
    fn entry(&self, revision: &str, path: &str, then: impl FnOnce(&Branch, &Entry) -> Reply) -> Reply {
        if let Some(refused) = self.gate() {
            return refused;
        }
        self.at(revision, |branch| match branch.files.get(path) {
            Some(entry) => then(branch, entry),
            None => refusal(404, Some("EntryNotFound"), "Entry not found")
                .with("X-Repo-Commit", &self.repository.commit_of(branch)),
        })
    }

    /// The refusal of a gated repository's files.
    fn gate(&self) -> Option<Reply> {
        let id = &self.repository.id;
        let (status, why) = match self.request.token() {
            Some(ACCEPTED) => return None,
            _ if !self.repository.gated => return None,
            Some(_) => (
                403,
                format!(
                    "Access to model {id} is restricted and you are not in the authorized list. \
                     Visit https://huggingface.co/{id} to ask for access."
                ),
            ),
            None => (
                401,
                format!(
                    "Access to model {id} is restricted. You must have access to it and be \
                     authenticated to access it. Please log in."
                ),
            ),
        };
        Some(refusal(status, Some("GatedRepo"), &why))
    }

    /// A regular file is at another path of the hub.
    fn to_cache(&self, commit: &str, path: &str, entry: &Entry) -> Reply {
        let (id, file) = (&self.repository.id, encode_path(path));
        let etag = quoted(&entry.oid);
        let query = format!("{}=&etag={}", encode(self.request.path()), encode(&etag));
        let location = format!("/api/resolve-cache/models/{id}/{commit}/{file}?{query}");
        Reply::empty(307).with("Location", &location).with("ETag", &etag)
    }

    /// An LFS file is at the CDN, under a link that is signed.
    fn to_cdn(&self, commit: &str, path: &str, lfs: &Lfs, entry: &Entry) -> Reply {
        let Site { endpoint, cdn, .. } = self.site;
        let Lfs { sha256, xet, .. } = lfs;
        let name = path.rsplit('/').next().unwrap_or(path);
        let disposition = encode(&format!("inline; filename*=UTF-8''{name}; filename=\"{name}\";"));
        let location = format!(
            "{cdn}/xet-bridge/{sha256}?X-Signature={}&X-Expires=3600&response-content-disposition={disposition}",
            signature(sha256)
        );
        let id = &self.repository.id;
        let xet_links = format!(
            "<{endpoint}/api/models/{id}/xet-read-token/{commit}>; rel=\"xet-auth\", \
             <{cdn}/reconstructions/{xet}>; rel=\"xet-reconstruction-info\""
        );
        linked(Reply::empty(302), lfs, entry)
            .with("Location", &location)
            .with("ETag", &format!("W/{}", quoted(&entry.oid)))
            .with("X-Xet-Hash", xet)
            .with("Link", &xet_links)
    }

    /// An LFS file is right here.
    fn direct(&self, lfs: &Lfs, entry: &Entry) -> Reply {
        linked(Reply::file(&entry.bytes, &quoted(&lfs.sha256), self.request), lfs, entry)
    }
}

/// The headers by which the hub says what an LFS file is, wherever it is.
fn linked(reply: Reply, lfs: &Lfs, entry: &Entry) -> Reply {
    let size = entry.bytes.len().to_string();
    reply.with("X-Linked-Size", &size).with("X-Linked-Etag", &quoted(&lfs.sha256))
}

/// The CDN knows files by hash, and only signed links.
fn cdn(site: &Site, request: &Request) -> Reply {
    let Some(sha256) = request.path().strip_prefix("/xet-bridge/") else {
        return Reply::text(404, "Not Found");
    };
    if request.param("X-Signature") != Some(signature(sha256)) {
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>";
        return Reply::new(403, "application/xml", body);
    }
    let mut entries = site.repositories.iter().flat_map(Repository::lfs_entries);
    match entries.find(|(lfs, _)| lfs.sha256 == sha256) {
        Some((lfs, entry)) => Reply::file(&entry.bytes, &quoted(&lfs.xet), request),
        None => Reply::text(404, "Not Found"),
    }
}

fn signature(sha: &str) -> String {
    sha256(format!("signed {sha}").as_bytes())
}

/// A repository that is not there, and one that is not for these eyes, look the same.
fn no_repository(token: Option<&str>) -> Reply {
    match token {
        None => refusal(401, Some("RepoNotFound"), "Invalid username or password."),
        Some(_) => refusal(404, Some("RepoNotFound"), "Repository not found"),
    }
}

/// An error, as the hub words it: in headers, for a HEAD has nothing else, and in the body.
fn refusal(status: u16, code: Option<&str>, message: &str) -> Reply {
    let mut reply = Reply::json(status, &json!({ "error": message })).with("X-Error-Message", message);
    if let Some(code) = code {
        reply = reply.with("X-Error-Code", code);
    }
    if status == 401 {
        reply = reply.with("WWW-Authenticate", "Bearer realm=\"Authentication required\", charset=\"UTF-8\"");
    }
    reply
}

fn quoted(hash: &str) -> String {
    format!("\"{hash}\"")
}

/// Python's clients write `True`.
fn truthy(value: &str) -> bool {
    value.eq_ignore_ascii_case("true") || value == "1"
}
