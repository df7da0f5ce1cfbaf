//! What can go wrong between here and the hub, each with a line that says what to do.

use std::{error::Error, io, path::Path, time::Duration};

use hf_hub::HFError;
use reqwest::StatusCode;

use super::{name::Name, settings::Settings};
use crate::text::{line, size};

/// Why an exchange failed.
#[derive(Debug)]
pub enum Failure {
    /// The model's terms have to be accepted.
    Gated,
    /// There is no such repository, or not for this user.
    Missing,
    /// The hub refuses the token.
    Token,
    /// The repository has no such revision.
    Revision,
    /// The repository has no such file.
    File(String),
    /// Too many requests; when to come again, where the hub says.
    RateLimit(Option<Duration>),
    /// The hub has trouble of its own.
    Server(u16),
    /// No connection, or one that broke: why.
    Network(String),
    /// Nothing came for the given time.
    Silence(Duration),
    /// Something answers that is not the hub: what it said.
    NotTheHub(String),
    /// A status that means none of the above, and what the hub says about it.
    Refused(u16, String),
    /// A file did not arrive as promised: its name and what is wrong.
    Damaged(String, String),
    /// The disk is full: bytes that were still to come.
    DiskFull(u64),
    /// A file or folder of the cache cannot be read or written.
    Cache(String),
    /// The repository has nothing that can be opened: why.
    Unusable(String),
}

impl Failure {
    /// Whether another try may go well.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::RateLimit(_) | Self::Server(_) | Self::Network(_) | Self::Silence(_))
    }

    /// Whether the hub could not be reached at all, so that the cache has to do.
    pub fn is_offline(&self) -> bool {
        self.is_transient() || matches!(self, Self::NotTheHub(_))
    }

    /// The meaning of a status, with what the hub says in its headers.
    pub fn of_status(
        status: StatusCode,
        code: Option<&str>,
        message: Option<&str>,
        wait: Option<Duration>,
    ) -> Self {
        let message = said(message.unwrap_or_default());
        match (status.as_u16(), code.unwrap_or_default()) {
            (401 | 403, "GatedRepo") => Self::Gated,
            (401 | 404, "RepoNotFound") => Self::Missing,
            (404, "RevisionNotFound") => Self::Revision,
            (404, _) => Self::Missing,
            (401, _) => Self::Token,
            (429, _) => Self::RateLimit(wait),
            (408, _) => Self::Network("the hub gave up waiting".to_owned()),
            (500..=599, _) => Self::Server(status.as_u16()),
            (other, _) => Self::Refused(other, message),
        }
    }

    /// What a failure of the client library means.
    pub fn of_hub(error: HFError, patience: Duration) -> Self {
        match error {
            HFError::Request { source, .. } => Self::of_request(&source, patience),
            HFError::Json(_) | HFError::MalformedResponse { .. } => {
                Self::NotTheHub("no answer of the hub's kind".to_owned())
            }
            HFError::RateLimited { retry_after, context } => {
                Self::of_status(context.status, None, None, retry_after)
            }
            HFError::RevisionNotFound { context: Some(context), .. }
            | HFError::RepoNotFound { context: Some(context), .. }
            | HFError::EntryNotFound { context: Some(context), .. }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::Conflict { context }
            | HFError::Http { context } => Self::of_status(
                context.status,
                context.error_code.as_deref(),
                context.server_message.as_deref(),
                None,
            ),
            other => Self::NotTheHub(said(&other.to_string())),
        }
    }

    /// What a failure of HTTP itself means.
    pub fn of_request(error: &reqwest::Error, patience: Duration) -> Self {
        if error.is_timeout() && !error.is_connect() {
            return Self::Silence(patience);
        }
        if error.is_redirect() {
            return Self::NotTheHub("redirects without end".to_owned());
        }
        // The outer texts name the address, which may carry a signature; the innermost one says why.
        let mut cause: &dyn Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        if cause.is::<serde_json::Error>() {
            return Self::NotTheHub("no JSON of the hub's kind".to_owned());
        }
        let text = if error.is_timeout() { "no answer".to_owned() } else { cause.to_string() };
        Self::Network(text)
    }

    /// What an error of the file system at `path` means; `left` bytes were still to come.
    pub fn of_disk(error: &io::Error, path: &Path, left: u64) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(left),
            _ => Self::Cache(format!("{}: {error}", path.display())),
        }
    }

    /// The line for the user.
    pub fn explain(&self, name: &Name, settings: &Settings) -> String {
        let (Name { repository, revision }, endpoint) = (name, &settings.endpoint);
        let token = settings.token.as_ref();
        match self {
            Self::Gated if token.is_some() => format!(
                "{repository} is gated and this token's account has no access yet: accept its terms at \
                 {endpoint}/{repository}"
            ),
            Self::Gated => format!(
                "{repository} is gated: accept its terms at {endpoint}/{repository}, then set HF_TOKEN or log in \
                 with `hf auth login`"
            ),
            Self::Missing if token.is_some() => format!(
                "{repository} is no file or folder here, and the hub has no such model that this token may see: check \
                 the name, and whether the token's account has access"
            ),
            Self::Missing => format!(
                "{repository} is no file or folder here, and the hub has no such public model: check the name; for a \
                 private one set HF_TOKEN or log in with `hf auth login`"
            ),
            Self::Token => match token {
                Some(token) => format!(
                    "the hub refuses the token from {}: it is wrong or expired; make a new one at \
                     {endpoint}/settings/tokens, or go without",
                    token.origin
                ),
                None => format!(
                    "the hub wants to know who asks for {repository}: set HF_TOKEN or log in with `hf auth login`"
                ),
            },
            Self::Revision => format!(
                "{repository} has no revision `{revision}`: `attnscope revisions {repository}` lists what it has"
            ),
            Self::File(file) => format!("{name} has no file {file}, although it lists it: try again later"),
            Self::RateLimit(Some(wait)) => format!(
                "{name}: the hub allows no more requests for {} s: try again then, or set HF_TOKEN for a higher limit",
                wait.as_secs()
            ),
            Self::RateLimit(None) => format!(
                "{name}: the hub allows no more requests now: try again in some minutes, or set HF_TOKEN for a higher \
                 limit"
            ),
            Self::Server(status) => {
                format!(
                    "{name}: the hub at {endpoint} has trouble (status {status}) again and again: try again later"
                )
            }
            Self::Network(why) => format!(
                "{name} is no file or folder here, and the hub at {endpoint} cannot be reached ({why}): check the network, HF_ENDPOINT and HTTPS_PROXY"
            ),
            Self::Silence(time) => format!(
                "{name} is no file or folder here, and nothing came from the hub at {endpoint} for {} s, again and again: check the network",
                time.as_secs_f32()
            ),
            Self::NotTheHub(what) => format!(
                "{name}: what answers at {endpoint} is not the hub ({what}): a proxy or a login page may stand between, or \
                 HF_ENDPOINT is wrong"
            ),
            Self::Refused(status, message) => {
                format!(
                    "the hub refuses {name} (status {status}): {}",
                    if message.is_empty() { "no reason given" } else { message }
                )
            }
            Self::Damaged(file, what) => format!(
                "{name}: {file} did not arrive as promised ({what}): a proxy may change it, or the repository is \
                 damaged"
            ),
            Self::DiskFull(left) => format!(
                "the disk of {} is full and {} of {name} are still to come: free some space or set HF_HUB_CACHE to \
                 another disk",
                settings.cache.display(),
                size(*left)
            ),
            Self::Cache(what) => {
                format!(
                    "the hub's cache cannot be used: {what}; mend it, or set HF_HUB_CACHE to another folder"
                )
            }
            Self::Unusable(why) => format!("{name} {why}"),
        }
    }
}

/// What was said by a server, on one line and not too long.
pub fn said(text: &str) -> String {
    const LONGEST: usize = 200;
    line(text).chars().take(LONGEST).collect()
}
