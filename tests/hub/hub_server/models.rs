//! Repositories made of the fixtures.

use std::{fs, path::Path};

use super::Repository;

/// Where the models are.
pub const NAME: &str = "org/tiny";
/// The file that is large enough to break.
pub const WEIGHTS: &str = "model.safetensors";

/// A file of the fixtures.
pub fn fixture(path: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)).unwrap()
}

/// A small GPT-2 with what real repositories hold beside it.
pub fn tiny() -> Repository {
    without_tokenizer()
        .file("README.md", "# tiny")
        .file("tokenizer.json", fixture("gpt2/tokenizer.json"))
        .lfs("pytorch_model.bin", vec![7; 5000])
        .lfs("onnx/model.onnx", vec![8; 5000])
}

/// The same model alone.
pub fn without_tokenizer() -> Repository {
    Repository::new(NAME)
        .file("config.json", fixture("gpt2/config.json"))
        .lfs(WEIGHTS, fixture("gpt2/model.safetensors"))
}

/// A model in two shards, of which the second is not there.
pub fn sharded() -> Repository {
    let first = "model-00001-of-00002.safetensors";
    ["config.json", "model.safetensors.index.json"]
        .into_iter()
        .fold(Repository::new(NAME), |repository, file| {
            repository.file(file, fixture(&format!("llama-gqa/{file}")))
        })
        .lfs(first, fixture(&format!("llama-gqa/{first}")))
}
