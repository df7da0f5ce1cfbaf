//! Weights in several files, and the index that says which.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::signature;

/// `model.safetensors.index.json` or `pytorch_model.bin.index.json`: which shard holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Every shard that the index at `path` names; they lie beside it.
pub fn files(path: &Path) -> Result<impl Iterator<Item = Result<PathBuf>>> {
    let origin = path.display().to_string();
    Ok(names(path, &origin)?.into_iter().map(move |shard| {
        let file = path.with_file_name(shard);
        if !file.is_file() {
            bail!("{} is missing: {origin} names it; fetch the shard again", file.display());
        }
        Ok(file)
    }))
}

/// The names of the shards that the index at `path` names; messages call the index `origin`.
///
/// # Errors
/// When it is no index, or names a file that does not lie beside or below it.
pub fn names(path: &Path, origin: &str) -> Result<BTreeSet<String>> {
    let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let index: Index = serde_json::from_slice(&text).with_context(|| match signature::tell(&text) {
        Some(what) => format!("{origin} is {what}"),
        None => format!("{origin} is no index of shards"),
    })?;
    let names: BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(odd) = names.iter().find(|name| !is_inside(name)) {
        bail!("{origin} names shard `{}`, which lies outside its folder", odd.escape_debug());
    }
    Ok(names)
}

/// The names of all parts of what is named as one of them: `a-00002-of-00003.gguf` is the second of three.
pub fn parts(name: &str) -> Option<Vec<String>> {
    let (rest, ending) = name.rsplit_once('.')?;
    let (rest, count) = rest.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five = |text: &str| text.parse().ok().filter(|_| text.len() == 5 && !text.starts_with('+'));
    let (number, total): (usize, usize) = (five(number)?, five(count)?);
    (1..=total)
        .contains(&number)
        .then(|| (1..=total).map(|part| format!("{stem}-{part:05}-of-{count}.{ending}")).collect())
}

/// Whether a path stays inside the folder it is put in, on every system.
pub fn is_inside(path: &str) -> bool {
    let plain = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.len() <= 255
            && !part.chars().any(|c| c.is_control() || matches!(c, '\\' | ':'))
    };
    path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_not_inside() {
        for path in ["a.json", "sub/a-00001-of-00002.safetensors", "ü.txt"] {
            assert!(is_inside(path), "{path}");
        }
        for path in
            ["", "/etc/passwd", "../a", "a/../../b", "a//b", "a/.", "C:\\x", "a\\..\\b", "a\0b", "a\n"]
        {
            assert!(!is_inside(path), "{path:?}");
        }
    }

    #[test]
    fn a_part_names_the_others() {
        assert_eq!(
            parts("q/a-00002-of-00002.gguf").unwrap(),
            ["q/a-00001-of-00002.gguf", "q/a-00002-of-00002.gguf"]
        );
        for name in [
            "a.gguf",
            "a-00003-of-00002.gguf",
            "a-00000-of-00002.gguf",
            "a-1-of-2.gguf",
            "two-of-hearts.gguf",
        ] {
            assert_eq!(parts(name), None, "{name}");
        }
    }

    #[test]
    fn an_index_names_each_shard_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("i.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(r#"{"metadata":{},"weight_map":{"a":"m-2.bin","b":"sub/m-1.bin","c":"m-2.bin"}}"#);
        assert_eq!(Vec::from_iter(names(&path, "i").unwrap()), ["m-2.bin", "sub/m-1.bin"]);
        write(r#"{"weight_map":{"a":"../../x.bin"}}"#);
        assert!(names(&path, "i").unwrap_err().to_string().contains("i names shard `../../x.bin`"));
        for text in ["[]", "{", r#"{"weight_map":{"a":1}}"#] {
            write(text);
            assert!(names(&path, "i").unwrap_err().to_string().contains("no index"), "{text}");
        }
    }
}
