//! What training on several devices leaves: weights in a folder of their own, or parts of them that are no model before
//! they are joined.

use std::path::{Path, PathBuf};

/// The file that has all weights where DeepSpeed trains without ZeRO or in its stages 1 and 2.
const WHOLE: &str = "mp_rank_00_model_states.pt";
/// How the names of files begin that have parts of weights, and what is said of them.
const PARTS: [(&[&str], &str); 2] = [
    (
        &["zero_pp_rank_", "bf16_zero_pp_rank_"],
        "part of a checkpoint of DeepSpeed's ZeRO: join it with `python zero_to_fp32.py . OUT` in the folder around it, \
         and open OUT",
    ),
    (
        &["pytorch_model_fsdp_rank"],
        "part of a checkpoint of FSDP: save it with FULL_STATE_DICT, or with SHARDED_STATE_DICT and join it with \
         `accelerate merge-weights`",
    ),
];

/// The file in a folder inside `folder` that DeepSpeed keeps the whole model in, the last one where there are several.
pub fn nested_weights(folder: &Path) -> Option<PathBuf> {
    let newest = std::fs::read_to_string(folder.join("latest")).ok();
    let newest = newest.map(|name| name.trim().to_owned()).filter(|name| super::shards::is_inside(name));
    let inside = newest.map(|name| folder.join(name)).into_iter().chain(folders(folder));
    inside.map(|inside| inside.join(WHOLE)).find(|file| file.is_file())
}

/// The folder that describes the model whose weights lie in `folder`: DeepSpeed keeps them in one inside it.
pub fn around(folder: &Path) -> Option<&Path> {
    let name = folder.file_name()?.to_str()?;
    name.starts_with("global_step").then(|| folder.parent())?
}

/// Why a folder in which no weights were found is no model yet, and what makes it one.
pub fn refusal(folder: &Path) -> Option<String> {
    let inside = || std::iter::once(folder.to_path_buf()).chain(folders(folder));
    let mut files = inside().flat_map(|folder| entries(&folder));
    files.find_map(|file| Some(format!("{} is {}", file.display(), part(&file)?)))
}

/// What is said of a file that has only a part of the weights.
pub fn part(file: &Path) -> Option<String> {
    let name = file.file_name()?.to_str()?;
    if let Some((_, what)) =
        PARTS.iter().find(|(begins, _)| begins.iter().any(|begin| name.starts_with(begin)))
    {
        return Some((*what).to_owned());
    }
    let folder = file.parent()?;
    let of_fsdp =
        folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pytorch_model_fsdp"));
    let folder = folder.display();
    let of_several = || file.with_file_name("mp_rank_01_model_states.pt").is_file();
    match name {
        _ if name.starts_with("mp_rank_") && of_several() => Some(
            "part of a checkpoint of tensor parallelism: join it as the program says that trained it, and open that"
                .to_owned(),
        ),
        _ if !name.ends_with(".distcp") => None,
        _ if of_fsdp => Some(format!(
            "part of a checkpoint of FSDP: join it with `accelerate merge-weights {folder} OUT`, and open OUT"
        )),
        _ => Some(format!(
            "part of a distributed checkpoint: join it with `python -m torch.distributed.checkpoint.format_utils \
             dcp_to_torch {folder} OUT.pt`, and open OUT.pt"
        )),
    }
}

/// The folders in `folder`, the last by name first.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut folders = entries(folder);
    folders.retain(|path| path.is_dir());
    folders.reverse();
    folders
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
