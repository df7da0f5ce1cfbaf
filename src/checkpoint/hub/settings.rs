//! Where the hub is, who asks and where files are kept: the variables of Python's `huggingface_hub`, which users have
//! set already.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, bail};

/// How long a connection may be silent where no variable says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the hub is spoken to.
#[derive(Clone)]
pub struct Settings {
    /// The hub's address, without a slash at the end.
    pub endpoint: String,
    /// The cache, the folder that holds `models--org--model`.
    pub cache: PathBuf,
    /// The token and where it was found; never shown.
    pub token: Option<Token>,
    /// The variable that forbids the network, where one does.
    pub offline: Option<&'static str>,
    /// How long a connection may be silent before it is given up.
    pub patience: Duration,
    /// The first pause before an exchange that failed is tried again; each further one is twice as long.
    pub pause: Duration,
}

/// A token of the hub.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The token itself.
    pub secret: String,
    /// The variable or the file that it comes from.
    pub origin: String,
}

impl Settings {
    /// The settings of the process.
    ///
    /// # Errors
    /// When a variable cannot mean what it says.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| {
            env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        Self::new(&variable)
    }

    fn new(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let home = variable("HOME").map(PathBuf::from);
        let path = |name: &str| variable(name).map(|path| expand(&path, home.as_deref()));
        let caches = path("XDG_CACHE_HOME").or_else(|| Some(home.as_ref()?.join(".cache")));
        let hf_home =
            path("HF_HOME").unwrap_or_else(|| caches.unwrap_or_else(env::temp_dir).join("huggingface"));
        let cache = path("HF_HUB_CACHE")
            .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| hf_home.join("hub"));
        let switched = |name: &'static str| variable(name).filter(|value| is_true(value)).map(|_| name);
        let patience = match variable("HF_HUB_DOWNLOAD_TIMEOUT") {
            None => PATIENCE,
            Some(text) => match text.parse() {
                Ok(seconds @ 1..=86_400) => Duration::from_secs(seconds),
                _ => bail!("HF_HUB_DOWNLOAD_TIMEOUT is `{text}`: give whole seconds, at least 1"),
            },
        };
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            bail!("HF_ENDPOINT is `{endpoint}`: give an address that begins with https:// or http://");
        }
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache,
            token: token(variable, path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"))),
            offline: switched("HF_HUB_OFFLINE").or_else(|| switched("TRANSFORMERS_OFFLINE")),
            patience,
            pause: Duration::from_secs(1),
        })
    }
}

/// The token of a variable, or the one that `hf auth login` has stored in `file`.
fn token(variable: &dyn Fn(&str) -> Option<String>, file: PathBuf) -> Option<Token> {
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|value| is_true(&value)) {
        return None;
    }
    let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
        .into_iter()
        .find_map(|name| Some(Token { secret: variable(name)?, origin: name.to_owned() }));
    named.or_else(|| {
        let secret = fs::read_to_string(&file).ok()?.trim().to_owned();
        (!secret.is_empty()).then(|| Token { secret, origin: file.display().to_string() })
    })
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

fn expand(path: &str, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::new(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(variables: &[(&str, &str)]) -> Settings {
        read(variables).unwrap()
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        let cache = |variables: &[(&str, &str)]| settings(variables).cache.display().to_string();
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/hf")]), "/h/hf/hub");
        assert_eq!(cache(&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/old");
        assert_eq!(cache(&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")]), "/new");
    }

    #[test]
    fn a_variable_goes_before_the_stored_token() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("token"), "hf_stored\n").unwrap();
        let home = folder.path().to_str().unwrap();
        let token = |variables: &[(&str, &str)]| settings(variables).token.map(|token| token.secret);
        assert_eq!(token(&[("HF_HOME", home)]).as_deref(), Some("hf_stored"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_TOKEN", "hf_set")]).as_deref(), Some("hf_set"));
        assert_eq!(token(&[("HF_HOME", home), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert_eq!(token(&[("HF_HOME", "/nowhere")]), None);
    }

    #[test]
    fn endpoint_and_offline_are_read() {
        let set = settings(&[("HF_ENDPOINT", "http://127.0.0.1:1/"), ("HF_HUB_OFFLINE", "TRUE")]);
        assert_eq!((set.endpoint.as_str(), set.offline), ("http://127.0.0.1:1", Some("HF_HUB_OFFLINE")));
        let usual = settings(&[("HF_HUB_OFFLINE", "0")]);
        assert_eq!((usual.endpoint.as_str(), usual.offline), ("https://huggingface.co", None));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (name, value) in
            [("HF_ENDPOINT", "hub"), ("HF_HUB_DOWNLOAD_TIMEOUT", "abc"), ("HF_HUB_DOWNLOAD_TIMEOUT", "0")]
        {
            let error = read(&[(name, value)]).err().unwrap().to_string();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        let patient = settings(&[("HF_HUB_DOWNLOAD_TIMEOUT", "90")]);
        assert_eq!(patient.patience, Duration::from_secs(90));
    }
}
