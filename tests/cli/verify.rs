//! `attnscope verify`: agreement with what Python wrote, disagreement told where it is, files that are no reference.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn verify(model: &Path, reference: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.arg("verify").arg(model).arg("--reference").arg(reference).arg("--quiet").args(more);
    command.output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The reference of a fixture, to be changed.
fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture(name).join("reference.safetensors"), &Device::Cpu).unwrap()
}

/// What is said of a changed reference, and the exit code.
fn against(name: &str, tensors: &HashMap<String, Tensor>, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.safetensors");
    candle_core::safetensors::save(tensors, &file).unwrap();
    verify(&fixture(name), &file, more)
}

#[test]
fn what_python_wrote_agrees() {
    for name in ["gpt2", "llama-gqa", "gpt_neox"] {
        let output = verify(&fixture(name), &fixture(name).join("reference.safetensors"), &[]);
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{printed}");
        assert!(printed.contains("the model agrees with the reference"), "{printed}");
        assert_eq!(printed.matches("agrees  ").count(), 3, "two patterns and the logits: {printed}");
    }
}

#[test]
fn half_types_are_judged_by_what_rounding_can_do() {
    let reference = fixture("gpt2").join("reference.safetensors");
    for dtype in ["f16", "bf16"] {
        let of = |more: &[&str]| verify(&fixture("gpt2"), &reference, &[&["--dtype", dtype], more].concat());
        let output = of(&[]);
        assert_eq!(output.status.code(), Some(0), "{dtype}: {}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(of(&["--patterns", "1e-6"]).status.code(), Some(1), "{dtype} is f32");
    }
}

#[test]
fn weights_stored_in_a_half_type_are_computed_in_f32_and_judged_so() {
    let folder = fixture("llama-linear");
    let output = verify(&folder, &folder.join("reference.safetensors"), &["--format", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let report = json(&output);
    assert_eq!(report["model"]["dtype"], "bf16");
    let allowed = report["settings"]["allowed"]["patterns"].as_f64().unwrap();
    assert!((allowed - 1e-4).abs() < 1e-9, "{allowed}");
}

#[test]
fn a_difference_is_told_where_it_is() {
    let mut changed = tensors("gpt2");
    let pattern = &changed["pattern.1"];
    let (heads, tokens, _) = pattern.dims3().unwrap();
    let mut numbers = pattern.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // Head 2, query 7, key 3.
    numbers[(2 * tokens + 7) * tokens + 3] += 0.25;
    let pattern = Tensor::from_vec(numbers, (heads, tokens, tokens), &Device::Cpu).unwrap();
    changed.insert("pattern.1".into(), pattern);
    let output = against("gpt2", &changed, &["--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output);
    assert_eq!((&report["agrees"], &report["schema_version"]), (&false.into(), &1.into()));
    let pattern = &report["patterns"][1];
    assert_eq!((&pattern["head"], &pattern["query"], &pattern["key"]), (&2.into(), &7.into(), &3.into()));
    assert!((pattern["largest"].as_f64().unwrap() - 0.25).abs() < 1e-3);
    assert_eq!(report["patterns"][0]["agrees"], true);
    assert_eq!(report["logits"]["agrees"], true);
    assert_eq!(report["logits"]["same_top"], tokens);
    // The same is let through where so much is allowed.
    assert_eq!(against("gpt2", &changed, &["--patterns", "0.3"]).status.code(), Some(0));
}

#[test]
fn a_part_of_the_tensors_with_a_batch_of_one_in_another_type_is_enough() {
    let all = tensors("llama-gqa");
    let batched = |name: &str| (name.to_owned(), all[name].unsqueeze(0).unwrap());
    let mut part = HashMap::from([batched("ids"), batched("pattern.1")]);
    assert_eq!(against("llama-gqa", &part, &[]).status.code(), Some(0));
    let logits = all["logits"].to_dtype(DType::F64).unwrap();
    part.insert("logits".into(), logits);
    assert_eq!(against("llama-gqa", &part, &[]).status.code(), Some(0));
    part.insert("logits".into(), Tensor::full(f32::NAN, all["logits"].dims(), &Device::Cpu).unwrap());
    let output = against("llama-gqa", &part, &[]);
    assert_eq!(output.status.code(), Some(1), "what is no number agrees with nothing");
}

#[test]
fn files_that_are_no_reference_are_refused() {
    let refused = |output: &Output, expected: &str| {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().count() == 1 && said.contains(expected), "`{expected}` is not in: {said}");
    };
    let mut changed = tensors("gpt2");
    let ids = changed.remove("ids").unwrap();
    refused(&against("gpt2", &changed, &[]), "tensor `ids` is missing");
    changed.insert("ids".into(), ids.to_dtype(DType::F32).unwrap());
    refused(&against("gpt2", &changed, &[]), "tensor `ids` is F32");
    changed.insert("ids".into(), ids.narrow(0, 0, 5).unwrap());
    refused(&against("gpt2", &changed, &[]), "but the model and `ids` make it [5, 320]");
    refused(&against("gpt2", &HashMap::from([("ids".into(), ids.clone())]), &[]), "nothing to compare");
    changed.insert("ids".into(), ids);
    changed.insert("patern.0".into(), changed["pattern.0"].clone());
    refused(&against("gpt2", &changed, &[]), "is it `pattern.0`?");
    changed.remove("patern.0");
    changed.insert("pattern.7".into(), changed["pattern.0"].clone());
    refused(&against("gpt2", &changed, &[]), "`pattern.7` is of a layer that the model lacks");
    refused(
        &verify(&fixture("gpt2"), &fixture("gpt2").join("config.json"), &[]),
        "a reference is a .safetensors",
    );
    refused(&verify(&fixture("gpt2"), Path::new("nowhere.safetensors"), &[]), "nowhere.safetensors");
}
