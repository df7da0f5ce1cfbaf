//! Which files of a repository are needed: the configuration, the tokenizer, and weights of one format.

use std::{collections::BTreeSet, path::Path};

use anyhow::Result;

use super::failure::said;
use crate::checkpoint::{
    adapter,
    formats::{self, Found, is_index, is_shard, is_weights},
    shards::{self, is_inside},
    tokenizer,
};

/// The model's description.
const CONFIG: &str = "config.json";
/// The usual tokenizer; a checkpoint without any is opened with token ids.
pub const TOKENIZER: &str = "tokenizer.json";
/// Endings of weight files that other programs read.
const FOREIGN: [&str; 6] = [".h5", ".msgpack", ".onnx", ".npz", ".ot", ".mlmodel"];
/// Endings of weight files, as messages list them.
const READ: &str = ".safetensors, .gguf, .bin, .pt, .pth or .ckpt";
/// Names that a message lists at most.
const LISTED: usize = 6;

/// The files that open a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The weights, or the index that names them.
    pub weights: String,
    /// Whether `weights` is an index of shards.
    pub sharded: bool,
    /// What else is needed, as far as the repository has it: the configuration and the files of the tokenizer.
    pub companions: Vec<String>,
    /// Whether a tokenizer is needed and the repository was not seen to have one.
    pub lacks_tokenizer: bool,
}

impl Choice {
    /// The files of a repository that has `names`; `file` is the weight file to take.
    ///
    /// # Errors
    /// What the repository has instead, as the second half of a sentence.
    pub fn among(names: &[String], file: Option<&str>) -> Result<Self, String> {
        let names: BTreeSet<&str> = names.iter().map(String::as_str).filter(|name| is_inside(name)).collect();
        let weights = match file {
            Some(file) => named(&names, file)?,
            None => usual(&names)?,
        };
        if weights.ends_with(".gguf") {
            let parts = shards::parts(&weights).unwrap_or_default();
            if let Some(missing) = parts.iter().find(|part| !names.contains(part.as_str())) {
                return Err(format!(
                    "has no {}, one of the {} parts of its weights",
                    said(missing),
                    parts.len()
                ));
            }
            let weights = parts.first().cloned().unwrap_or(weights);
            let companions = parts.into_iter().skip(1).collect();
            return Ok(Self { weights, sharded: false, companions, lacks_tokenizer: false });
        }
        let Some(home) = home(&names, &weights) else {
            let config = config(&weights);
            return Err(format!("has no {config}, which says what model {} holds", said(&weights)));
        };
        let mut companions = tokenizer_files(&names, home);
        // That of an adapter comes with its base.
        let lacks_tokenizer = companions.is_empty() && !is_adapter(&weights);
        companions.insert(0, format!("{home}{}", config(&weights)));
        Ok(Self { sharded: weights.ends_with(".json"), weights, companions, lacks_tokenizer })
    }

    /// The weight file that has to be named to open it; `None` where its folder says which.
    pub fn file(&self) -> Option<String> {
        let usual = ["model.safetensors", "model.safetensors.index.json"].contains(&self.weights.as_str());
        (!usual).then(|| self.weights.clone())
    }
}

/// The shards that the index at `path` names; they lie beside the index, which is `index` in its repository.
pub fn shards(path: &Path, index: &str) -> Result<Vec<String>> {
    let folder = index.rfind('/').map_or("", |end| &index[..=end]);
    Ok(shards::names(path, index)?.into_iter().map(|name| format!("{folder}{name}")).collect())
}

fn named(names: &BTreeSet<&str>, file: &str) -> Result<String, String> {
    if !names.contains(file) {
        let has = names.iter().copied().filter(|name| is_weights(name)).collect::<Vec<_>>();
        return Err(format!("has no file {}: its weights are {}", said(file), listed(&has)));
    }
    if is_shard(file) && !file.ends_with(".gguf") {
        return Err(format!(
            "has {} as one part of its weights: leave --file out to take them all",
            said(file)
        ));
    }
    if is_weights(file) || is_index(file) {
        return Ok(file.to_owned());
    }
    Err(format!("can be opened by a {READ} file, and {} is none", said(file)))
}

fn usual(names: &BTreeSet<&str>) -> Result<String, String> {
    if let Some(weights) = adapter::among(names) {
        return Ok(weights.to_owned());
    }
    match formats::find(names) {
        Found::One(name) => return Ok(name.to_owned()),
        Found::Several(names) => {
            return Err(format!(
                "has {} weight files: name one with --file: {}",
                names.len(),
                listed(&names)
            ));
        }
        Found::Nothing => {}
    }
    let foreign: Vec<&str> =
        names.iter().copied().filter(|name| FOREIGN.iter().any(|end| name.ends_with(end))).collect();
    Err(if foreign.is_empty() {
        let all: Vec<&str> = names.iter().copied().collect();
        format!("has no weights: it has {}", listed(&all))
    } else {
        format!("has no weights that are read here ({READ}): it has {}", listed(&foreign))
    })
}

/// The file that says what the weights are.
fn config(weights: &str) -> &'static str {
    if is_adapter(weights) { adapter::CONFIG } else { CONFIG }
}

/// The folder with the configuration of the weights: theirs, or the first of the repository.
fn home<'a>(names: &BTreeSet<&str>, weights: &'a str) -> Option<&'a str> {
    let beside = weights.rfind('/').map_or("", |end| &weights[..=end]);
    let config = config(weights);
    [beside, ""].into_iter().find(|folder| names.contains(format!("{folder}{config}").as_str()))
}

/// The files of the tokenizer in the folder `home`.
fn tokenizer_files(names: &BTreeSet<&str>, home: &str) -> Vec<String> {
    let inside = names.iter().filter_map(|name| name.strip_prefix(home)).collect();
    tokenizer::files(&inside).into_iter().map(|name| format!("{home}{name}")).collect()
}

/// Whether a file has the weights of an adapter, which is described in another file than a model.
fn is_adapter(weights: &str) -> bool {
    adapter::WEIGHTS.contains(&weights.rsplit('/').next().unwrap_or(weights))
}

fn listed(names: &[&str]) -> String {
    let shown = names.iter().take(LISTED).map(|name| said(name)).collect::<Vec<_>>().join(", ");
    match names.len() {
        0 => "nothing".to_owned(),
        count if count > LISTED => format!("{shown} and {} more", count - LISTED),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(names: &[&str], file: Option<&str>) -> Result<Choice, String> {
        Choice::among(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), file)
    }

    #[test]
    fn one_format_is_taken_and_only_what_belongs_to_it() {
        let all = [
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "model.safetensors",
            "onnx/model.onnx",
            "pytorch_model.bin",
            "q.gguf",
            "tokenizer.json",
            "tokenizer_config.json",
            "vocab.json",
        ];
        let choice = choose(&all, None).unwrap();
        assert_eq!(choice.weights, "model.safetensors");
        assert_eq!(choice.companions, ["config.json", "tokenizer.json", "tokenizer_config.json"]);
        assert_eq!((choice.sharded, choice.file()), (false, None));
        let choice = choose(&all, Some("q.gguf")).unwrap();
        assert_eq!((choice.file().as_deref(), choice.companions.len()), (Some("q.gguf"), 0));
    }

    #[test]
    fn an_index_goes_before_single_files_and_pickles_come_last() {
        let choice = choose(
            &["config.json", "a.gguf", "model.safetensors.index.json", "model-00001-of-00002.safetensors"],
            None,
        );
        assert!(choice.unwrap().sharded);
        assert_eq!(choose(&["a.gguf", "mmproj-a.gguf"], None).unwrap().weights, "a.gguf");
        assert_eq!(
            choose(&["config.json", "odd.safetensors", "a.gguf"], None).unwrap().weights,
            "odd.safetensors"
        );
        let choice =
            choose(&["config.json", "pytorch_model.bin", "training_args.bin", "x.pt"], None).unwrap();
        assert_eq!((choice.sharded, choice.file().as_deref()), (false, Some("pytorch_model.bin")));
        assert_eq!(choice.companions, ["config.json"]);
        let shards = ["config.json", "pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin"];
        assert!(choose(&shards, None).unwrap().sharded);
        assert_eq!(choose(&["config.json", "model.pth", "optimizer.pt"], None).unwrap().weights, "model.pth");
        assert_eq!(choose(&["a.gguf", "pytorch_model.bin"], None).unwrap().weights, "a.gguf");
        assert_eq!(choose(&["a.gguf", "config.json", "x.pt"], Some("x.pt")).unwrap().weights, "x.pt");
    }

    #[test]
    fn a_gguf_file_in_parts_is_taken_whole() {
        let parts = ["q/a-00001-of-00002.gguf", "q/a-00002-of-00002.gguf"];
        for file in [None, Some(parts[0]), Some(parts[1])] {
            let choice = choose(&parts, file).unwrap();
            assert_eq!((&*choice.weights, choice.companions), (parts[0], vec![parts[1].to_owned()]));
        }
        let several = [&parts[..], &["b.gguf"]].concat();
        assert!(choose(&several, None).unwrap_err().contains("2 weight files: name one with --file: b.gguf"));
    }

    #[test]
    fn a_file_in_a_folder_brings_the_configuration_that_is_nearest() {
        let names =
            ["config.json", "tokenizer.json", "fp16/config.json", "fp16/m.safetensors", "bf16/m.safetensors"];
        assert_eq!(choose(&names, Some("fp16/m.safetensors")).unwrap().companions, ["fp16/config.json"]);
        assert_eq!(
            choose(&names, Some("bf16/m.safetensors")).unwrap().companions,
            ["config.json", "tokenizer.json"]
        );
    }

    #[test]
    fn a_tokenizer_comes_in_one_form_with_what_says_more() {
        let companions = |files: &[&str]| {
            let names = [&["config.json", "m.pt", "special_tokens_map.json"], files].concat();
            choose(&names, None).unwrap()
        };
        for (files, expected) in [
            (&["vocab.json", "merges.txt"][..], &["vocab.json", "merges.txt"][..]),
            (&["tokenizer.model", "vocab.json", "merges.txt"], &["tokenizer.model"]),
            (&["qwen.tiktoken", "README.md"], &["qwen.tiktoken"]),
            (&["chars.json", "meta.pkl"], &["chars.json"]),
        ] {
            let choice = companions(files);
            let all = [&["config.json"], expected, &["special_tokens_map.json"]].concat();
            assert_eq!(
                (choice.companions, choice.lacks_tokenizer),
                (all.iter().map(|&name| name.into()).collect(), false)
            );
        }
        for files in [&["vocab.json"][..], &["meta.pkl"], &["tokenizer_config.json"]] {
            let choice = companions(files);
            assert_eq!((choice.companions, choice.lacks_tokenizer), (vec!["config.json".to_owned()], true));
        }
    }

    #[test]
    fn what_cannot_be_opened_says_what_is_there() {
        let error = |names: &[&str], file| choose(names, file).unwrap_err();
        assert!(error(&["config.json", "tf_model.h5"], None).contains("it has tf_model.h5"));
        assert!(error(&["config.json", "optimizer.pt"], None).contains("no weights: it has config.json"));
        assert!(error(&["README.md", "data.csv"], None).contains("no weights: it has README.md, data.csv"));
        let missing = "has no a-00001-of-00002.gguf, one of the 2 parts";
        assert!(error(&["a-00002-of-00002.gguf"], None).contains(missing));
        assert!(error(&["a-00002-of-00002.gguf", "b.gguf"], Some("a-00002-of-00002.gguf")).contains(missing));
        assert!(error(&["a-Q4.gguf", "a-Q8.gguf"], None).contains("--file: a-Q4.gguf, a-Q8.gguf"));
        assert!(
            error(&["config.json", "model.safetensors"], Some("x.gguf"))
                .contains("its weights are model.safetensors")
        );
        assert!(error(&["model.safetensors", "tokenizer_config.json"], None).contains("no config.json"));
        assert!(error(&[], None).contains("it has nothing"));
        // A name that leads elsewhere is not even seen.
        assert!(error(&["../x.gguf", "/etc/y.gguf"], Some("../x.gguf")).contains("has no file ../x.gguf"));
    }

    #[test]
    fn an_adapter_comes_with_its_own_description() {
        let names = ["README.md", "adapter_config.json", "adapter_model.safetensors", "training_args.bin"];
        let choice = choose(&names, None).unwrap();
        assert_eq!((&*choice.weights, choice.sharded), ("adapter_model.safetensors", false));
        assert_eq!(choice.companions, ["adapter_config.json"]);
        assert_eq!(
            choose(&["adapter_config.json", "adapter_model.bin", "tokenizer.json"], None)
                .unwrap()
                .companions
                .len(),
            2
        );
        // A whole model beside it goes first.
        let both = ["adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors"];
        assert_eq!(choose(&both, None).unwrap().companions, ["config.json"]);
    }

    #[test]
    fn shards_lie_beside_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("i.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(r#"{"weight_map":{"a":"m-2.safetensors","b":"m-1.safetensors","c":"m-2.safetensors"}}"#);
        assert_eq!(shards(&path, "sub/i.json").unwrap(), ["sub/m-1.safetensors", "sub/m-2.safetensors"]);
    }
}
