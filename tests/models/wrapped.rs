//! Checkpoints of every family whose tensors have the names that training stacks give them: whatever is put before all names,
//! the numbers are those of the reference.
//!
//! `ATTNSCOPE_REFERENCES` names a folder with more of them than are committed; see `tests/reference/generate.py`.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use candle_core::{Tensor, safetensors::save};

use crate::traced::{cases, fault, tensors};

/// Names of modules that a model is part of when it is saved, and some that no stack has.
const MODULES: [&str; 11] = [
    "module",
    "model",
    "pretrained_model",
    "base_model",
    "_forward_module",
    "transformer",
    "policy",
    "rwtranrsformer",
    "0",
    "net",
    "decoder",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// One to three of the names, chosen by a number.
fn stack(mut number: usize) -> String {
    let count = 1 + number % 3;
    let name = |_| {
        number = number * 31 + 7;
        format!("{}.", MODULES[number % MODULES.len()])
    };
    (0..count).map(name).collect()
}

/// The cases whose weights are one safetensors file.
fn whole() -> Vec<PathBuf> {
    let others = std::env::var_os("ATTNSCOPE_REFERENCES").map(|root| cases(Path::new(&root)));
    let all = cases(&fixtures()).into_iter().chain(others.unwrap_or_default());
    all.filter(|folder| folder.join("model.safetensors").is_file()).collect()
}

/// A copy of a case with other tensors.
fn with(folder: &Path, tensors: &HashMap<String, Tensor>) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["config.json", "reference.safetensors"] {
        fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    save(tensors, copy.path().join("model.safetensors")).unwrap();
    copy
}

fn wrapped(tensors: &HashMap<String, Tensor>, prefix: &str) -> HashMap<String, Tensor> {
    tensors.iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone())).collect()
}

fn trace(folder: &Path) -> Output {
    let out = folder.join("trace");
    let mut program = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    program.arg("trace").arg(folder).args(["--ids", "1,2", "--out"]).arg(out).output().unwrap()
}

/// What the program says on the error stream of the model in a folder.
fn said(folder: &Path) -> String {
    String::from_utf8(trace(folder).stderr).unwrap()
}

#[test]
fn any_stack_of_names_before_all_names_is_read_off() {
    let cases = whole();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    let faults: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(number, folder)| {
            let prefix = stack(number);
            let copy = with(folder, &wrapped(&tensors(&folder.join("model.safetensors")), &prefix));
            fault(copy.path()).map(|fault| format!("{} under {prefix}: {fault}", folder.display()))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

#[test]
fn what_is_beside_a_wrapped_model_is_left_out_and_told() {
    let folder = fixtures().join("llama3-rope");
    let own = tensors(&folder.join("model.safetensors"));
    let mut all = wrapped(&own, "pretrained_model.");
    all.insert("metrics.total".into(), own["model.norm.weight"].clone());
    let copy = with(&folder, &all);
    assert_eq!(fault(copy.path()), None);
    let said = said(copy.path());
    assert!(
        said.contains("begin with `pretrained_model.`; what is beside it is left out: `metrics.total`"),
        "{said}"
    );
}

#[test]
fn of_two_models_in_a_file_the_one_with_the_usual_names_is_taken_or_none() {
    let folder = fixtures().join("gpt2");
    let own = tensors(&folder.join("model.safetensors"));
    let others = |prefix: &str| {
        let twice = wrapped(&own, prefix).into_iter();
        twice.map(|(name, tensor)| (name, (tensor * 0.5).unwrap())).collect::<HashMap<_, _>>()
    };
    let mut beside = own.clone();
    beside.extend(others("ema."));
    let copy = with(&folder, &beside);
    assert_eq!(fault(copy.path()), None);
    let remark = said(copy.path());
    assert!(
        remark.contains("whose names have nothing before them; what is beside it is left out: `ema."),
        "{remark}"
    );

    let mut two = wrapped(&own, "policy.");
    two.extend(others("reference.model."));
    let copy = with(&folder, &two);
    let output = trace(copy.path());
    let refusal = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{refusal}");
    assert!(
        refusal.contains("those of 2 models") && refusal.contains("`policy.`, `reference.model.`"),
        "{refusal}"
    );
    assert_eq!(refusal.lines().count(), 1, "{refusal}");
}

/// The same from files of `torch.save`, in which a module may be there under two names.
#[cfg(feature = "real-python")]
#[test]
fn the_same_is_so_of_torch_files() {
    const SCRIPT: &str = "
import sys, torch
from safetensors.torch import load_file
for line in sys.stdin:
    source, target, prefix, alias = line.rstrip('\\n').split('\\t')
    own = load_file(source)
    wrapped = {prefix + name: tensor for name, tensor in own.items()}
    if alias:
        wrapped |= {alias + name.partition('.')[2]: tensor for name, tensor in own.items() if not name.startswith('lm_head')}
    torch.save({'state_dict': wrapped, 'global_step': 3} if alias else wrapped, target)
";
    let python = std::env::var("ATTNSCOPE_PYTHON").unwrap_or_else(|_| "python3".into());
    let (mut lines, mut copies) = (String::new(), Vec::new());
    // Of torch's files packed bytes are not read.
    let of_numbers = whole().into_iter().filter(|folder| !folder.ends_with("gpt_oss-mxfp4"));
    for (number, folder) in of_numbers.enumerate() {
        let copy = tempfile::tempdir().unwrap();
        for file in ["config.json", "reference.safetensors"] {
            fs::copy(folder.join(file), copy.path().join(file)).unwrap();
        }
        let (source, target) = (folder.join("model.safetensors"), copy.path().join("pytorch_model.bin"));
        let (prefix, alias) = match folder.ends_with("llama-gqa") {
            true => ("model.".into(), "backbone."),
            false => (stack(number + 5), ""),
        };
        lines += &format!("{}\t{}\t{prefix}\t{alias}\n", source.display(), target.display());
        copies.push((folder, copy, prefix));
    }
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), lines).unwrap();
    let status = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(fs::File::open(list.path()).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    let faults: Vec<String> = copies
        .iter()
        .filter_map(|(folder, copy, prefix)| {
            fault(copy.path()).map(|fault| format!("{} under {prefix}: {fault}", folder.display()))
        })
        .collect();
    assert!(faults.is_empty(), "{} of {} cases:\n{}", faults.len(), copies.len(), faults.join("\n"));
}
