//! Files of weights that are damaged, that are something else than their name says, or that have what is not read: one line
//! that names the file and says what helps; exit code 2; no panic.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(fixture(name)).unwrap()
}

/// A folder with a configuration and one file.
fn folder(file: &str, bytes: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture("pickle/config.json"), folder.path().join("config.json")).unwrap();
    fs::write(folder.path().join(file), bytes).unwrap();
    folder
}

/// What is said of a model on standard error, which is one line.
#[track_caller]
fn refused(model: &Path, expected: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["show", model.to_str().unwrap(), "--ids", "1,2", "--head", "0.0", "--quiet"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.lines().count() == 1 && said.starts_with("attnscope: "), "{said}");
    for part in expected {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(output.stdout.is_empty(), "something was printed all the same");
}

#[test]
fn files_that_are_something_else_are_told() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 548105171\n".to_vec();
    let page = b"<!DOCTYPE html>\n<html><body>Sign in</body></html>".to_vec();
    let (gguf, tensors, zip) =
        (read("gguf/blocks.gguf"), read("pickle/model.safetensors"), read("pickle/nested.pt"));
    let [lfs, html] =
        ["a Git LFS pointer, which stands for the file itself: fetch it with `git lfs pull`", "a web page"];
    for name in ["model.safetensors", "pytorch_model.bin", "model.gguf", "last.ckpt"] {
        for (bytes, expected) in [
            (&pointer, lfs),
            (&page, html),
            (&b"\x89HDF\r\n\x1a\n".to_vec(), "an HDF5 file of Keras"),
            (&b"\x1f\x8b\x08\x00".to_vec(), "packed with gzip"),
            (&b"\x89PNG\r\n\x1a\n".to_vec(), "fetch it again"),
            (&Vec::new(), "fetch it again"),
        ] {
            let folder = folder(name, bytes);
            refused(folder.path(), &[name, expected]);
        }
    }
    for (name, bytes, expected) in [
        ("model.safetensors", &gguf, "a GGUF file: end its name in .gguf"),
        ("pytorch_model.bin", &gguf, "a GGUF file: end its name in .gguf"),
        ("model.gguf", &tensors, "a safetensors file: end its name in .safetensors"),
        ("pytorch_model.bin", &tensors, "a safetensors file: end its name in .safetensors"),
        ("model.gguf", &zip, "a zip archive, as torch.save writes them: end its name in .pt"),
        ("model.safetensors", &zip, "a zip archive, as torch.save writes them: end its name in .pt"),
    ] {
        let folder = folder(name, bytes);
        refused(folder.path(), &[name, expected]);
    }
}

#[test]
fn a_pointer_among_shards_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture("llama-gqa")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    let whole = fs::read(&shard).unwrap();
    fs::write(&shard, "version https://git-lfs.github.com/spec/v1\n").unwrap();
    refused(folder.path(), &["model-00002-of-00002.safetensors is a Git LFS pointer"]);
    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    refused(folder.path(), &["model-00002-of-00002.safetensors is no whole safetensors file"]);
    fs::remove_file(&shard).unwrap();
    refused(folder.path(), &["model-00002-of-00002.safetensors is missing", "model.safetensors.index.json"]);
}

/// A GGUF file of one key and one tensor of 32 numbers.
fn gguf(version: u32, key: (&str, u32, u32), kind: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let long = |number: u64| number.to_le_bytes().to_vec();
    let head = [b"GGUF".to_vec(), number(version), long(1), long(1)].concat();
    let key = [text(key.0), number(key.1), number(key.2)].concat();
    let tensor = [text("blk.0.attn_q.weight"), number(1), long(32), number(kind), long(0)].concat();
    [head, key, tensor, vec![0; 256]].concat()
}

#[test]
fn what_is_not_read_of_gguf_is_named() {
    let uint = 4;
    let alignment = ("general.alignment", uint, 32);
    let spoilt = |bytes: &[u8], expected: &[&str]| {
        let folder = folder("spoilt.gguf", bytes);
        refused(&folder.path().join("spoilt.gguf"), &[&["spoilt.gguf"], expected].concat());
    };
    // Whole but for the architecture, so that the others fail for what is said of them.
    spoilt(&gguf(3, alignment, 0), &["`general.architecture` is missing"]);
    for (kind, name) in [(23, "IQ4_XS"), (39, "MXFP4"), (26, "I32"), (4, "number 4"), (4000, "number 4000")] {
        let expected = format!("tensor `blk.0.attn_q.weight` is of type {name}, which is not read");
        spoilt(&gguf(3, alignment, kind), &[&expected, "Q8_0"]);
    }
    spoilt(&gguf(3u32.swap_bytes(), alignment, 0), &["a big-endian GGUF file", "gguf_convert_endian.py"]);
    spoilt(&gguf(4, alignment, 0), &["of version 4 of GGUF, and versions 1 to 3 are read"]);
    spoilt(&gguf(3, ("general.alignment", uint, 0), 0), &["key `general.alignment` is 0"]);
    spoilt(&gguf(3, ("general.alignment", 99, 0), 0), &["no whole GGUF file", "fetch it again"]);
    let whole = gguf(3, alignment, 0);
    for length in (4..whole.len() - 256).step_by(11) {
        spoilt(&whole[..length], &["fetch it again"]);
    }
    // Sides whose product no memory has.
    let sides = whole.windows(8).rposition(|bytes| bytes == 32u64.to_le_bytes()).unwrap();
    let mut huge = whole;
    huge[sides..sides + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    spoilt(&huge, &["tensor `blk.0.attn_q.weight`"]);
}
