//! What a hub name means: `org/model[@revision]`.

use std::fmt;

use crate::checkpoint::{formats::is_weights, shards::is_inside};

/// The branch that is meant where none is named.
pub const MAIN: &str = "main";
/// Most characters of a part of a name; the hub allows no more.
const LONGEST: usize = 96;

/// A repository and one of its revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// `org/model`, or `model` alone for the oldest ones.
    pub repository: String,
    /// A branch, a tag or a commit.
    pub revision: String,
}

impl Name {
    /// Reads `org/model[@revision]`, also as an address pasted from a browser; `None` where the text cannot be a name on
    /// the hub.
    pub fn parse(text: &str) -> Option<Self> {
        let pasted = ["https://huggingface.co/", "hf://"].iter().find_map(|start| text.strip_prefix(start));
        let text = pasted.map_or(text, |rest| rest.trim_end_matches('/'));
        let (repository, revision) = match pasted.and_then(|_| text.split_once("/tree/")) {
            Some(parts) => parts,
            None => text.split_once('@').unwrap_or((text, MAIN)),
        };
        let parts: Vec<&str> = repository.split('/').collect();
        let named = parts.len() <= 2 && parts.iter().all(|part| is_part(part));
        let file = is_weights(repository) || [".git", ".json"].iter().any(|end| repository.ends_with(end));
        (named && !file && is_revision(revision))
            .then(|| Self { repository: repository.to_owned(), revision: revision.to_owned() })
    }

    /// Whether it says whose model it is.
    pub fn has_owner(&self) -> bool {
        self.repository.contains('/')
    }

    /// Owner and model; the owner of the oldest ones is empty.
    pub fn parts(&self) -> (&str, &str) {
        self.repository.split_once('/').unwrap_or(("", &self.repository))
    }

    /// Its last part.
    pub fn model(&self) -> &str {
        self.parts().1
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// Whether a text is a full commit hash.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether a text may be the beginning of a commit hash, as lists show it.
pub fn is_short(text: &str) -> bool {
    (7..40).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_part(part: &str) -> bool {
    let character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=LONGEST).contains(&part.len())
        && part.chars().all(character)
        && !part.starts_with(['.', '-'])
        && !part.ends_with(['.', '-'])
        && !part.contains("--")
        && !part.contains("..")
}

/// Names of branches may have parts, as `refs/pr/1` has.
fn is_revision(revision: &str) -> bool {
    is_inside(revision)
        && !revision.contains(|c: char| c.is_whitespace() || matches!(c, '~' | '^' | '?' | '*' | '['))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_repository_and_a_revision() {
        let name = Name::parse("EleutherAI/pythia-70m@step1000").unwrap();
        assert_eq!((name.repository.as_str(), name.revision.as_str()), ("EleutherAI/pythia-70m", "step1000"));
        assert_eq!((name.parts(), name.model()), (("EleutherAI", "pythia-70m"), "pythia-70m"));
        assert_eq!(name.to_string(), "EleutherAI/pythia-70m@step1000");
        assert_eq!(Name::parse("org/m").unwrap().to_string(), "org/m");
        assert_eq!(Name::parse("gpt2").unwrap().parts(), ("", "gpt2"));
        assert_eq!(Name::parse("org/m@refs/pr/1").unwrap().revision, "refs/pr/1");
        for pasted in ["https://huggingface.co/org/m/tree/step1/", "hf://org/m@step1"] {
            assert_eq!(Name::parse(pasted).unwrap().to_string(), "org/m@step1");
        }
    }

    #[test]
    fn what_is_no_name_is_told_apart() {
        let odd = [
            "a/b/c",
            "./m",
            "/m",
            "m/",
            "org/m.gguf",
            "org/m.bin",
            "~/m",
            "org/..",
            "org/a--b",
            "o rg/m",
            "org/m@",
            "org/m@../x",
        ];
        for text in odd {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
