//! A GGUF file in parts (`tests/reference/parts.py`): the same model as the file in one piece.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const PARTS: [&str; 3] =
    ["model-00001-of-00003.gguf", "model-00002-of-00003.gguf", "model-00003-of-00003.gguf"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn trace(model: &Path, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.arg("trace").arg(model).args(["--ids", "1,2,3", "--quiet", "--out"]).arg(out).output().unwrap()
}

/// A folder with the parts of these numbers.
fn folder(numbers: &[usize]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for &number in numbers {
        fs::copy(fixture("gguf-parts").join(PARTS[number]), folder.path().join(PARTS[number])).unwrap();
    }
    folder
}

/// The line that refuses the model at `path`.
fn refused(path: &Path) -> String {
    let output = trace(path, &path.with_file_name("out"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    said
}

#[test]
fn any_part_and_the_folder_open_the_whole() {
    let folder = folder(&[0, 1, 2]);
    let out = tempfile::tempdir().unwrap();
    let written = |model: &Path| {
        let file = out.path().join("trace");
        let output = trace(model, &file);
        assert!(output.status.success(), "{output:?}");
        fs::read(&file).unwrap()
    };
    let whole = written(&fixture("gguf-llama-q8/model.gguf"));
    for name in ["", PARTS[0], PARTS[1], PARTS[2]] {
        assert!(written(&folder.path().join(name)) == whole, "`{name}`");
    }
}

#[test]
fn a_missing_part_is_named() {
    for (there, missing) in [([0, 1], 2), ([0, 2], 1), ([1, 2], 0)] {
        let folder = folder(&there);
        for path in [folder.path().to_path_buf(), folder.path().join(PARTS[there[1]])] {
            let said = refused(&path);
            assert!(said.contains(&format!("{} is missing, one of 3 parts", PARTS[missing])), "{said}");
        }
    }
}

#[test]
fn parts_that_are_not_of_one_model_are_refused() {
    let folder = folder(&[0, 1, 2]);
    let of = |number: usize| folder.path().join(PARTS[number]);
    fs::copy(of(2), of(1)).unwrap();
    let said = refused(&of(0));
    assert!(said.contains(PARTS[1]) && said.contains("key `split.no` is 2, and its name says 1"), "{said}");
}
