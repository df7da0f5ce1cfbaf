//! A checkpoint of every family with a tensor that is missing, one too many, or one of another shape: one line that names the
//! tensor and the nearest that there is; exit code 2.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::{DType, Device, Tensor};

type Tensors = HashMap<String, Tensor>;

/// Fixtures whose weights are one safetensors file with a reference beside it, and so models of a family.
fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let all = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let whole = |file: &str, folder: &Path| folder.join(file).is_file();
    all.filter(|folder| whole("model.safetensors", folder) && whole("reference.safetensors", folder))
        .collect()
}

/// What is said of the model in `folder` with these tensors in the place of its own.
#[track_caller]
fn said_of(folder: &Path, tensors: &Tensors) -> String {
    let spoilt = tempfile::tempdir().unwrap();
    fs::copy(folder.join("config.json"), spoilt.path().join("config.json")).unwrap();
    candle_core::safetensors::save(tensors, spoilt.path().join("model.safetensors")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["trace", spoilt.path().to_str().unwrap(), "--ids", "1,2", "--quiet", "--out"])
        .arg(spoilt.path().join("out"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{}: {said}", folder.display());
    assert!(said.lines().count() == 1 && said.starts_with("attnscope: "), "{said}");
    said
}

/// The largest matrix of the first layer, or stack of them.
fn chosen(tensors: &Tensors) -> String {
    let of_layer = tensors.iter().filter(|(name, tensor)| name.contains(".0.") && tensor.rank() >= 2);
    of_layer.max_by_key(|(name, tensor)| (tensor.elem_count(), *name)).unwrap().0.clone()
}

#[test]
fn a_tensor_that_is_missing_left_over_or_of_another_shape_is_named() {
    let folders = folders();
    assert!(folders.len() >= 30, "{} families", folders.len());
    for folder in folders {
        let path = folder.join("model.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let name = chosen(&tensors);

        let mut missing = tensors.clone();
        let tensor = missing.remove(&name).unwrap();
        let said = said_of(&folder, &missing);
        assert!(said.contains(&format!("no tensor `{name}`")) && said.contains("nearest is `"), "{said}");

        let mut other = tensors.clone();
        let mut shape = tensor.dims().to_vec();
        shape[0] += 1;
        other.insert(name.clone(), Tensor::zeros(&shape[..], tensor.dtype(), &Device::Cpu).unwrap());
        let said = said_of(&folder, &other);
        assert!(said.contains(&format!("tensor `{name}` is {shape:?}")), "{said}");
        assert!(said.contains("the configuration asks for "), "{said}");

        let mut more = tensors.clone();
        let left_over = format!("{}.surprise.weight", name.rsplit_once('.').unwrap().0);
        more.insert(left_over.clone(), Tensor::zeros((4, 4), DType::F32, &Device::Cpu).unwrap());
        let said = said_of(&folder, &more);
        assert!(said.contains(&format!("tensor `{left_over}` has no place")), "{said}");
        assert!(said.contains("the nearest that has: `"), "{said}");
    }
}
