//! Which files hold weights: the formats that are read, and which file is meant where a folder or repository has several.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, bail};

use super::{pickle, safetensors, shards, weights::Weights};

/// The formats in order of preference: names that always mean the whole model, and endings of other files.
const FORMATS: [(&[&str], &[&str]); 3] = [
    (&["model.safetensors", "model.safetensors.index.json"], &[".safetensors"]),
    (&[], &[".gguf"]),
    (&["pytorch_model.bin", "pytorch_model.bin.index.json"], &PICKLES),
];
/// How the names of files of `torch.save` end.
const PICKLES: [&str; 4] = [".bin", ".pt", ".pth", ".ckpt"];
/// How names begin of what lies beside weights and ends as they do: adapters, projectors of images, states of training, references to
/// verify with.
const BESIDE: [&str; 14] = [
    "adapter_",
    "bf16_zero_pp_rank_",
    "dl_state_dict",
    "mmproj",
    "optimizer",
    "pytorch_model_fsdp_rank",
    "random_states",
    "reference.",
    "rng_state",
    "sampler",
    "scaler",
    "scheduler",
    "training_args",
    "zero_pp_rank_",
];

/// The weights among several files.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No file is known to hold any.
    Nothing,
    /// The file that is meant.
    One(&'a str),
    /// Files of one format, none of which is the one that is meant.
    Several(Vec<&'a str>),
}

/// Finds the weights among the files of a folder or of a repository.
pub fn find<'a>(names: &BTreeSet<&'a str>) -> Found<'a> {
    for (usual, endings) in FORMATS {
        if let Some(name) = usual.iter().find_map(|usual| names.get(usual)) {
            return Found::One(name);
        }
        let ends = |name: &&str| endings.iter().any(|end| name.ends_with(end));
        let others: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| ends(name) && (is_model(name) || leads(name, names)))
            .collect();
        match others.as_slice() {
            [] => {}
            [one] => return Found::One(one),
            // Beside its snapshots, which lie in a folder, the teaching models of TransformerLens have the last of them.
            _ => match others.iter().filter(|name| is_last_of_a_run(name)).collect::<Vec<_>>()[..] {
                [one] => return Found::One(one),
                _ => return Found::Several(others),
            },
        }
    }
    Found::Nothing
}

/// Whether a file's name says that it is where a training run ended: `model_final.pth`, outside of any folder.
fn is_last_of_a_run(name: &str) -> bool {
    !name.contains('/') && name.rsplit_once('.').is_some_and(|(stem, _)| stem.ends_with("final"))
}

/// Whether a file of that name is the model of its folder, whatever other files there are.
pub fn is_usual(name: &str) -> bool {
    FORMATS.iter().any(|(usual, _)| usual.contains(&name))
}

/// Whether a file's name ends as weights do.
pub fn is_weights(name: &str) -> bool {
    FORMATS.iter().any(|(_, endings)| endings.iter().any(|end| name.ends_with(end)))
}

/// Whether a path ends as those of files of `torch.save` do.
pub fn is_pickle(path: &Path) -> bool {
    let name = path.to_string_lossy();
    PICKLES.iter().any(|end| name.ends_with(end))
}

/// Whether a file's name ends as an index of shards does.
pub fn is_index(name: &str) -> bool {
    name.ends_with(".safetensors.index.json") || name.ends_with(".bin.index.json")
}

/// Adds the tensors of the file at `path`, or of the shards that it names; GGUF files hold more than weights and are not
/// read here.
pub fn read_file(path: &Path, weights: &mut Weights) -> Result<()> {
    if !is_index(&path.to_string_lossy()) {
        return read_one(path, weights);
    }
    shards::files(path)?.try_for_each(|shard| read_one(&shard?, weights))
}

/// Adds the tensors of the file at `path`, which is no index.
pub fn read_one(path: &Path, weights: &mut Weights) -> Result<()> {
    match path.extension().and_then(|kind| kind.to_str()).unwrap_or_default() {
        "safetensors" => safetensors::read_file(path, weights),
        _ if is_pickle(path) => pickle::read_file(path, weights),
        _ => bail!(
            "{}: only .safetensors, .gguf, .bin, .pt, .pth and .ckpt files are read; convert it, or name the folder of a \
             checkpoint",
            path.display()
        ),
    }
}

/// Whether a file is `NAME-00001-of-00003.safetensors` or such.
pub fn is_shard(name: &str) -> bool {
    name.split_once("-of-").is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a file is the first that is there of the parts of a GGUF file; the part alone brings the others.
fn leads(name: &str, names: &BTreeSet<&str>) -> bool {
    let parts = shards::parts(name).filter(|_| name.ends_with(".gguf") && !is_beside(name));
    parts.is_some_and(|parts| {
        parts.iter().find(|part| names.contains(part.as_str())).is_some_and(|first| first == name)
    })
}

/// Whether a file lies beside weights and holds none of a model.
fn is_beside(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    BESIDE.iter().any(|begin| file.starts_with(begin))
}

/// Whether a file that ends as weights do can be the whole model.
fn is_model(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    !is_shard(file) && !is_beside(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_is_meant_where_its_snapshots_lie_in_a_folder() {
        let found = |names: &[&'static str]| match find(&names.iter().copied().collect()) {
            Found::One(name) => Some(name),
            _ => None,
        };
        let snapshots = ["checkpoints/a_100.pth", "checkpoints/a_final.pth", "config.json"];
        assert_eq!(found(&[&snapshots[..], &["model_final.pth"]].concat()), Some("model_final.pth"));
        assert_eq!(found(&snapshots), None);
        assert_eq!(found(&["a_final.pth", "b_final.pth"]), None);
        assert_eq!(found(&["a.pth"]), Some("a.pth"));
    }
}
