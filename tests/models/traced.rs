//! A checkpoint through `attnscope trace`, against the reference beside it: patterns within 1e-4 and logits within 2e-4 of their
//! scale.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use candle_core::{Device, Tensor};

/// The folders below `root` that hold a checkpoint and its reference.
pub fn cases(root: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> =
        folders.filter(|folder| folder.join("reference.safetensors").is_file()).collect();
    cases.sort();
    cases
}

/// The tensors of a safetensors file.
pub fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// What is wrong with the trace of a case, if anything.
pub fn fault(folder: &Path) -> Option<String> {
    let expected = tensors(&folder.join("reference.safetensors"));
    let ids: Vec<String> =
        expected["ids"].to_vec1::<i64>().unwrap().iter().map(ToString::to_string).collect();
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("trace.safetensors");
    // A checkpoint that is a file of its own, not a folder's usual one.
    let files = ["model.gguf", "model_final.pth", "ckpt.pt"].map(|file| folder.join(file));
    let model = files.iter().find(|file| file.is_file()).map_or(folder, PathBuf::as_path);
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .arg("trace")
        .arg(model)
        .args(["--ids", &ids.join(","), "--quiet", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    if !output.status.success() {
        return Some(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let found = tensors(&out);
    if found.len() != expected.len() {
        return Some(format!("{} tensors for {}", found.len(), expected.len()));
    }
    let mut faults = Vec::new();
    for (name, expected) in expected.iter().filter(|(name, _)| *name != "ids") {
        if found[name].dims() != expected.dims() {
            faults.push(format!("{name} is {:?}, not {:?}", found[name].dims(), expected.dims()));
            continue;
        }
        let (found, expected) = (numbers(&found[name]), numbers(expected));
        let scale = match name.as_str() {
            "logits" => 2.0 * expected.iter().fold(0.0f32, |scale, logit| scale.max(logit.abs())),
            _ => 1.0,
        };
        let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        // A number that is none is no agreement.
        let largest = differences.fold(0.0f32, |largest, one| if one <= largest { largest } else { one });
        if largest.is_nan() || largest > 1e-4 * scale {
            faults.push(format!("{name} is off by {largest}"));
        }
    }
    faults.sort();
    (!faults.is_empty()).then(|| faults.join(", "))
}
