//! Models whose configuration ties the unembedding to the embedding, and whose files hold another or one of the two alone;
//! `families.rs` compares what they compute.

use std::{fs, path::Path};

use ::safetensors::{Dtype, serialize, tensor::TensorView};
use attnscope::{
    checkpoint::{progress::Nobody, safetensors, weights::Weights},
    engine::open::{Model, OpenRequest},
};
use tempfile::TempDir;

const HEAD: &str = "lm_head.weight";

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn remarks(folder: &str) -> Vec<String> {
    let request = OpenRequest { model: Some(folder.into()), ..OpenRequest::default() };
    let mut remarks = Model::open(&request, &Nobody).unwrap().remarks();
    remarks.retain(|remark| !remark.contains("no text can be read"));
    remarks
}

/// A copy of a checkpoint with other tensors.
fn changed(name: &str, change: impl Fn(&mut Weights)) -> TempDir {
    let (from, to) = (fixture(name), tempfile::tempdir().unwrap());
    let mut weights = Weights::default();
    safetensors::read_file(&Path::new(&from).join("model.safetensors"), &mut weights).unwrap();
    change(&mut weights);
    let views = weights.iter().map(|tensor| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), tensor.bytes());
        (&tensor.name, view.unwrap())
    });
    fs::write(to.path().join("model.safetensors"), serialize(views, None).unwrap()).unwrap();
    fs::copy(Path::new(&from).join("config.json"), to.path().join("config.json")).unwrap();
    to
}

#[test]
fn another_unembedding_is_used_and_told() {
    for (name, embedding) in
        [("llama-other-head", "model.embed_tokens.weight"), ("gpt2-other-head", "transformer.wte.weight")]
    {
        let told = format!("`{HEAD}` and `{embedding}` differ: each is used as it is stored");
        assert!(matches!(&remarks(&fixture(name))[..], [one] if one.contains(&told)), "{name}");
        // The same numbers under both names are what the configuration says.
        let equal = changed(name, |weights| {
            let embedding = weights.get(embedding).unwrap().clone();
            weights.insert(embedding.named(HEAD.into()));
        });
        assert!(remarks(equal.path().to_str().unwrap()).is_empty(), "{name}");
    }
}

#[test]
fn one_of_the_two_is_both() {
    for name in ["llama-head-alone", "llama-tied-mqa", "gpt2"] {
        assert!(remarks(&fixture(name)).is_empty(), "{name}");
    }
}
