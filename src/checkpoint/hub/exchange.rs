//! The exchanges with the hub, and how often each is tried.
//!
//! Commits, listings and branches come through the `hf-hub` crate. Files do not: its stream does not tell whether the
//! server kept to the range that was asked for, and behind a redirect its metadata has lost the ETag that names the file in
//! the cache.

use std::{future::Future, time::Duration};

use futures_util::TryStreamExt;
use hf_hub::{
    HFClient, HFRepository, RepoTypeModel,
    repository::{GitRefInfo, RepoTreeEntry},
};
use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{
        ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, LOCATION, RANGE,
        RETRY_AFTER,
    },
    redirect::Policy,
};

use super::{
    board::Board,
    failure::{Failure, said},
    name::{Name, is_commit, is_short},
    settings::Settings,
};

/// Tries of an exchange that the hub or the way to it spoils.
const TRIES: u32 = 6;
/// Tries when there is no connection to begin with; whoever is offline should not wait long to be told.
const TRIES_OFFLINE: u32 = 3;
/// The longest wait that the hub may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Redirects of one request.
const REDIRECTS: usize = 10;
/// Time to find the server.
const CONNECT: Duration = Duration::from_secs(10);

/// The hub, as it is spoken to.
pub struct Hub {
    /// How.
    pub settings: Settings,
    client: HFClient,
    files: Client,
    endpoint: Url,
}

/// A file of a commit.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its path.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its object in git: the hash of the contents, or of the pointer to them.
    pub oid: String,
}

/// A file as the server that has it describes it.
#[derive(Clone, Debug)]
pub struct Description {
    /// The name of its contents in the cache.
    pub etag: String,
    /// Bytes.
    pub size: Option<u64>,
}

/// A branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Whether it is a tag.
    pub tag: bool,
    /// The commit it means.
    pub commit: String,
}

/// The body of a file, from some byte on.
pub struct Body {
    /// What comes.
    pub response: Response,
    /// The byte that it begins with: the one asked for, or 0 where the server keeps to no ranges.
    pub start: u64,
}

impl Hub {
    /// Speaks to the hub as `settings` say.
    pub fn new(settings: Settings) -> Result<Self, Failure> {
        let odd = |what: &str| Failure::Unusable(format!("cannot be asked for: {what}"));
        let endpoint = Url::parse(&settings.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| odd(&format!("HF_ENDPOINT `{}` is no web address", said(&settings.endpoint))))?;
        let http = |redirect| {
            Client::builder()
                .user_agent(concat!("attnscope/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT)
                .read_timeout(settings.patience)
                .redirect(redirect)
                // One connection for each file: several together are faster than one that they share.
                .http1_only()
                .build()
                .map_err(|error| odd(&format!("TLS cannot be set up ({error}): install ca-certificates")))
        };
        let mut client = HFClient::builder()
            .client(http(Policy::limited(REDIRECTS))?)
            .endpoint(&settings.endpoint)
            .cache_dir(&settings.cache)
            .retry_max_attempts(0);
        if let Some(token) = &settings.token {
            if !token.secret.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(odd(&format!(
                    "the token from {} holds characters that no token has",
                    token.origin
                )));
            }
            client = client.token(&token.secret);
        }
        let client = client.build().map_err(|error| Failure::of_hub(error, settings.patience))?;
        Ok(Self { files: http(Policy::none())?, client, endpoint, settings })
    }

    /// The commit that a revision means: a branch, a tag, a commit, or the beginning of the hash of a commit that a branch
    /// or a tag names.
    pub async fn commit(&self, name: &Name, board: &Board) -> Result<String, Failure> {
        match self.exact_commit(name, board).await {
            Err(Failure::Revision) if is_short(&name.revision) => {
                let all = self.references(name, board).await?;
                let mut commits: Vec<String> = all.into_iter().map(|one| one.commit).collect();
                commits.retain(|commit| is_commit(commit) && commit.starts_with(&name.revision));
                commits.sort();
                commits.dedup();
                <[String; 1]>::try_from(commits).map(|[commit]| commit).map_err(|_| Failure::Revision)
            }
            exact => exact,
        }
    }

    async fn exact_commit(&self, name: &Name, board: &Board) -> Result<String, Failure> {
        let repository = self.repository(name);
        let info = self
            .retrying(board, || async {
                let info = repository.info().revision(name.revision.as_str()).send().await;
                info.map_err(|error| self.meaning(error))
            })
            .await?;
        info.sha
            .filter(|commit| is_commit(commit))
            .ok_or_else(|| Failure::NotTheHub("a model without a commit".to_owned()))
    }

    /// The files of a commit.
    pub async fn tree(&self, name: &Name, commit: &str, board: &Board) -> Result<Vec<Entry>, Failure> {
        let repository = self.repository(name);
        let entries: Vec<RepoTreeEntry> = self
            .retrying(board, || async {
                let tree = repository.list_tree().revision(commit).recursive(true).send();
                tree.map_err(|error| self.meaning(error))?
                    .try_collect()
                    .await
                    .map_err(|error| self.meaning(error))
            })
            .await?;
        let file = |entry| match entry {
            RepoTreeEntry::File { path, size, oid, .. } => Some(Entry { path, size, oid }),
            RepoTreeEntry::Directory { .. } => None,
        };
        Ok(entries.into_iter().filter_map(file).collect())
    }

    /// The branches and tags of a repository.
    pub async fn references(&self, name: &Name, board: &Board) -> Result<Vec<Reference>, Failure> {
        let repository = self.repository(name);
        let all = self
            .retrying(board, || async {
                repository.list_refs().send().await.map_err(|error| self.meaning(error))
            })
            .await?;
        let list = |references: Vec<GitRefInfo>, tag| {
            references.into_iter().map(move |one| Reference {
                name: one.name,
                tag,
                commit: one.target_commit,
            })
        };
        Ok(list(all.branches, false).chain(list(all.tags, true)).collect())
    }

    /// Describes a file of a commit.
    pub async fn describe(
        &self,
        name: &Name,
        commit: &str,
        path: &str,
        board: &Board,
    ) -> Result<Description, Failure> {
        let url = self.address(name, commit, path)?;
        self.retrying(board, || async {
            let response = self.send(Method::HEAD, url.clone(), None, true).await?;
            let linked = header(response.headers(), "x-linked-etag").is_some();
            if !linked && !response.status().is_success() {
                return Err(self.refusal(&response, path));
            }
            let headers = response.headers();
            let etag = header(headers, "x-linked-etag").or_else(|| header(headers, ETAG.as_str()));
            let etag = etag.ok_or_else(|| {
                Failure::NotTheHub(said(header(headers, CONTENT_TYPE.as_str()).unwrap_or("no ETag")))
            })?;
            let size = header(headers, if linked { "x-linked-size" } else { CONTENT_LENGTH.as_str() });
            Ok(Description {
                etag: etag.trim_start_matches("W/").trim_matches('"').to_owned(),
                size: size.and_then(|size| size.parse().ok()),
            })
        })
        .await
    }

    /// Asks once for a file of a commit, from byte `from` on.
    pub async fn body(&self, name: &Name, commit: &str, path: &str, from: u64) -> Result<Body, Failure> {
        let url = self.address(name, commit, path)?;
        let response = self.send(Method::GET, url, (from > 0).then_some(from), false).await?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start = header(response.headers(), CONTENT_RANGE.as_str()).and_then(range_start);
                let start = start.ok_or_else(|| Failure::NotTheHub("a range without a place".to_owned()))?;
                Ok(Body { response, start })
            }
            status if status.is_success() => Ok(Body { response, start: 0 }),
            _ => Err(self.refusal(&response, path)),
        }
    }

    /// Tries an exchange until it goes well, cannot go well, or has been tried often enough.
    async fn retrying<T, F>(&self, board: &Board, exchange: impl Fn() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut tries = Tries::new(self.settings.pause);
        loop {
            match exchange().await {
                Err(failure) => match tries.next(&failure) {
                    Some(pause) => board.pause(&failure, pause).await,
                    None => return Err(failure),
                },
                done => return done,
            }
        }
    }

    fn repository(&self, name: &Name) -> HFRepository<RepoTypeModel> {
        let (owner, model) = name.parts();
        self.client.model(owner, model)
    }

    fn meaning(&self, error: hf_hub::HFError) -> Failure {
        Failure::of_hub(error, self.settings.patience)
    }

    /// `ENDPOINT/org/model/resolve/COMMIT/path`.
    fn address(&self, name: &Name, commit: &str, path: &str) -> Result<Url, Failure> {
        let mut url = self.endpoint.clone();
        let parts = name.repository.split('/').chain(["resolve", commit]).chain(path.split('/'));
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(parts),
            Err(()) => return Err(Failure::NotTheHub("an address without a path".to_owned())),
        };
        Ok(url)
    }

    /// Sends a request and follows its redirects; with `stay`, only those within the hub, for the answer that sends
    /// elsewhere is the one that describes the file. The token goes to the hub alone.
    async fn send(
        &self,
        method: Method,
        mut url: Url,
        from: Option<u64>,
        stay: bool,
    ) -> Result<Response, Failure> {
        for _ in 0..=REDIRECTS {
            let home = url.origin() == self.endpoint.origin();
            let mut request =
                self.files.request(method.clone(), url.clone()).header(ACCEPT_ENCODING, "identity");
            if let (true, Some(token)) = (home, &self.settings.token) {
                request = request.bearer_auth(&token.secret);
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response =
                request.send().await.map_err(|error| Failure::of_request(&error, self.settings.patience))?;
            let next = header(response.headers(), LOCATION.as_str()).map(|next| url.join(next));
            match next {
                Some(next) if response.status().is_redirection() => {
                    let next = next.ok().filter(|next| matches!(next.scheme(), "http" | "https"));
                    let next = next.ok_or_else(|| Failure::NotTheHub("a redirect to nowhere".to_owned()))?;
                    if stay && next.origin() != self.endpoint.origin() {
                        return Ok(response);
                    }
                    url = next;
                }
                _ => return Ok(response),
            }
        }
        Err(Failure::NotTheHub("redirects without end".to_owned()))
    }

    /// What an answer other than success means.
    fn refusal(&self, response: &Response, path: &str) -> Failure {
        let (status, headers) = (response.status(), response.headers());
        let code = header(headers, "x-error-code");
        if status.is_redirection() || status.is_informational() {
            return Failure::NotTheHub(format!("status {}", status.as_u16()));
        }
        if response.url().origin() != self.endpoint.origin() && matches!(status.as_u16(), 401 | 403) {
            // The permission that the hub gave has run out; it gives another one.
            return Failure::Network(format!("the storage answers with status {}", status.as_u16()));
        }
        if status == StatusCode::NOT_FOUND && matches!(code, Some("EntryNotFound") | None) {
            return Failure::File(said(path));
        }
        Failure::of_status(status, code, header(headers, "x-error-message"), wait(headers))
    }
}

/// How often an exchange has been tried, and the pause before the next try.
pub struct Tries {
    first: Duration,
    used: u32,
    /// How often a connection that fails is tried.
    offline: u32,
}

impl Tries {
    /// None so far; the pause after the first is `first`.
    pub fn new(first: Duration) -> Self {
        Self { first, used: 0, offline: TRIES_OFFLINE }
    }

    /// The same for bytes of a file, which are worth more patience: the hub was there a moment ago.
    pub fn of_bytes(first: Duration) -> Self {
        Self { offline: TRIES, ..Self::new(first) }
    }

    /// Something came: what went wrong before is forgotten.
    pub fn progress(&mut self) {
        self.used = 0;
    }

    /// The pause after a failure; `None` when trying again is no use.
    pub fn next(&mut self, failure: &Failure) -> Option<Duration> {
        let most = if matches!(failure, Failure::Network(_)) { self.offline } else { TRIES };
        self.used += 1;
        if !failure.is_transient() || self.used >= most {
            return None;
        }
        match failure {
            Failure::RateLimit(Some(wait)) => Some(*wait).filter(|&wait| wait <= LONGEST_WAIT),
            _ => Some(self.first * 2_u32.pow(self.used - 1)),
        }
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The wait that an answer asks for: `Retry-After`, or the rest of the window in the hub's `RateLimit`.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let after = header(headers, RETRY_AFTER.as_str()).and_then(|value| value.trim().parse().ok());
    let window = || {
        header(headers, "ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok())
    };
    after.or_else(window).map(Duration::from_secs)
}

/// `N` of `bytes N-M/total`.
fn range_start(value: &str) -> Option<u64> {
    value.trim().strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut tries = Tries::new(Duration::from_secs(1));
        let pauses: Vec<_> =
            (0..6).map(|_| tries.next(&Failure::Server(503)).map(|pause| pause.as_secs())).collect();
        assert_eq!(pauses, [Some(1), Some(2), Some(4), Some(8), Some(16), None]);
        tries.progress();
        assert_eq!(tries.next(&Failure::Network(String::new())), Some(Duration::from_secs(1)));
        let wait = |seconds| Failure::RateLimit(Some(Duration::from_secs(seconds)));
        assert_eq!(tries.next(&wait(42)), Some(Duration::from_secs(42)));
        assert_eq!(tries.next(&wait(3600)), None);
        assert_eq!(tries.next(&Failure::Gated), None);
    }

    #[test]
    fn a_wait_is_read_from_either_header() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
        };
        assert_eq!(wait(&headers("retry-after", "7")), Some(Duration::from_secs(7)));
        assert_eq!(wait(&headers("ratelimit", "\"api\";r=0;t=55")), Some(Duration::from_secs(55)));
        assert_eq!(wait(&headers("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(range_start("bytes 100-199/200"), Some(100));
        assert_eq!(range_start("*/200"), None);
    }
}
