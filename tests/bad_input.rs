//! Bad input: one line that names the file, the key or the token and says what to do; exit code 2; no panic.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of a fixture's files, to be spoilt.
fn copy(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// What `attnscope arguments` says on standard error, which is one line, with exit code 2.
#[track_caller]
fn refused(arguments: &[&str], expected: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope")).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    let last = said.lines().last().unwrap_or_default();
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(said.lines().filter(|line| line.starts_with("attnscope: ")).count(), 1, "{said}");
    for part in expected {
        assert!(last.contains(part), "`{part}` is not in: {last}");
    }
    assert!(output.stdout.is_empty(), "something was printed all the same");
}

fn trace(model: &Path, ids: &str, expected: &[&str]) {
    let out = model.with_extension("out");
    refused(
        &["trace", model.to_str().unwrap(), "--ids", ids, "--out", out.to_str().unwrap(), "--quiet"],
        expected,
    );
    assert!(!out.exists());
}

/// Puts `value` in the place of a key of `config.json`.
fn configure(folder: &TempDir, key: &str, value: serde_json::Value) {
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn prompts_that_cannot_be_run() {
    let gpt2 = fixture("gpt2");
    let model = gpt2.to_str().unwrap();
    trace(&gpt2, "1,999999", &["token 999999", "vocabulary"]);
    trace(&gpt2, &vec!["1"; 5000].join(","), &["5000 tokens", "context"]);
    refused(&["show", model, "--prompt", "", "--head", "0.0", "-q"], &["prompt is empty"]);
    refused(&["show", model, "--prompt", "a", "--head", "7.0", "-q"], &["7.0", "no such head"]);
    refused(&["show", model, "--ids", "1 2", "--head", "0.0", "-q"], &["commas between them"]);
    refused(&["show", model, "--prompt", "a", "--head", "x", "-q"], &["--head", "layer.head"]);
    refused(&["show", model, "--prompt", "a", "--head", "0.0", "--token", "99", "-q"], &["--token 99"]);
    refused(&["rank", model, "--length", "100000", "-q"], &["--length"]);
    let without = fixture("llama-gqa");
    refused(
        &["show", without.to_str().unwrap(), "--prompt", "a", "--head", "0.0", "-q"],
        &["tokenizer.json"],
    );
}

#[test]
fn names_that_lead_nowhere() {
    refused(&["rank", "./nowhere"], &["./nowhere does not exist"]);
    refused(&["rank", "a/b/c"], &["a/b/c does not exist"]);
    refused(
        &["rank", "attn-3l"],
        &["attn-3l does not exist (shipped models: bigram, attn-1l, attn-1l-smeared, attn-2l)"],
    );
    let empty = tempfile::tempdir().unwrap();
    refused(&["rank", empty.path().to_str().unwrap()], &["holds no model.safetensors"]);
    let odd = empty.path().join("weights.zip");
    fs::write(&odd, "PK").unwrap();
    refused(
        &["rank", odd.to_str().unwrap()],
        &["weights.zip", "only .safetensors, .gguf, .bin, .pt, .pth and .ckpt"],
    );
}

#[test]
fn damaged_files() {
    let folder = copy("gpt2");
    let weights = folder.path().join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    for length in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).unwrap();
        trace(folder.path(), "1,2", &["model.safetensors", "fetch it again"]);
    }
    fs::write(&weights, b"this is no checkpoint at all, it is a page of text").unwrap();
    trace(folder.path(), "1,2", &["model.safetensors", "fetch it again"]);

    let gguf = folder.path().join("spoilt.gguf");
    let blocks = fs::read(fixture("gguf/blocks.gguf")).unwrap();
    // A tensor may be followed by padding, so the last byte need not matter.
    for length in [0, 3, 40, blocks.len() / 2, blocks.len() - 64] {
        fs::write(&gguf, &blocks[..length]).unwrap();
        refused(&["rank", gguf.to_str().unwrap()], &["spoilt.gguf", "fetch it again"]);
    }
    fs::write(&gguf, &blocks).unwrap();
    refused(&["rank", gguf.to_str().unwrap()], &["spoilt.gguf", "general.architecture `none`", "llama"]);
}

#[test]
fn files_of_torch_that_cannot_be_read() {
    let (folder, source) = (copy("pickle"), fixture("pickle"));
    let weights = folder.path().join("spoilt.pt");
    let whole = fs::read(source.join("pytorch_model.bin")).unwrap();
    for length in [0, 3, 4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&weights, &whole[..length]).unwrap();
        trace(&weights, "1,2", &["spoilt.pt", "fetch it again"]);
    }
    fs::write(&weights, b"\x89PNG\r\n\x1a\n").unwrap();
    trace(&weights, "1,2", &["spoilt.pt: no file of torch.save"]);
    let legacy = fs::read(source.join("legacy.bin")).unwrap();
    for length in [13, 100, legacy.len() / 2, legacy.len() - 1] {
        fs::write(&weights, &legacy[..length]).unwrap();
        trace(&weights, "1,2", &["spoilt.pt", "fetch it again"]);
    }
    trace(&source.join("object.pt"), "1,2", &["object.pt", "pickled object", "save model.state_dict()"]);
    trace(&source.join("odd.pth"), "1,2", &["odd.pth", "no tensor `transformer."]);
}

#[test]
fn shards_that_are_missing_or_lead_outside() {
    let folder = copy("llama-gqa");
    let shard = folder.path().join("model-00002-of-00002.safetensors");
    fs::remove_file(&shard).unwrap();
    trace(folder.path(), "1,2", &["model-00002-of-00002.safetensors is missing"]);
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map":{"a":"../../etc/passwd"}}"#).unwrap();
    trace(folder.path(), "1,2", &["outside"]);
    for file in [&index, &folder.path().join("circuits.safetensors")] {
        fs::remove_file(file).unwrap();
    }
    trace(folder.path(), "1,2", &["model-00001-of-00002.safetensors", "no index", ".index.json"]);
    fs::write(&index, "{").unwrap();
    trace(folder.path(), "1,2", &["model.safetensors.index.json"]);
}

#[test]
fn a_backtrace_is_left_out_and_a_number_for_a_name_is_not() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("500")).unwrap();
    fs::write(folder.path().join("500/spoilt.gguf"), &fs::read(fixture("gguf/bpe.gguf")).unwrap()[..100])
        .unwrap();
    for (name, expected) in [("500", "500/spoilt.gguf is no whole GGUF file"), ("600", "600 does not exist")]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
            .args(["rank", name, "-q"])
            .current_dir(&folder)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.lines().count() == 1 && said.contains(expected) && !said.contains("0: "), "{said}");
    }
    // A context in front of a message, and nothing before it but the number.
    let gpt2 = folder.path().join("700");
    fs::create_dir(&gpt2).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(fixture("gpt2").join(file), gpt2.join(file)).unwrap();
    }
    let config = fs::read_to_string(gpt2.join("config.json")).unwrap();
    fs::write(gpt2.join("config.json"), config.replace("\"n_layer\": 2", "\"n_layer\": 1")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["rank", "700", "-q"])
        .current_dir(&folder)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("attnscope: 700: tensor `transformer.h.1."), "{said}");
}

#[test]
fn configurations_that_do_not_fit() {
    let changes: &[(&str, &str, serde_json::Value, &[&str])] = &[
        ("llama3-rope", "model_type", "lama".into(), &["`lama`", "`llama`"]),
        ("llama3-rope", "model_type", serde_json::Value::Null, &["`model_type` is missing"]),
        ("llama3-rope", "sliding_window", 64.into(), &["`sliding_window`", "not handled"]),
        ("llama3-rope", "num_hidden_layers", 1.into(), &["`model.layers.1", "has no place", "nearest"]),
        ("llama3-rope", "attn_logit_softcapping", 30.0.into(), &["`attn_logit_softcapping`"]),
        (
            "llama3-rope",
            "rope_scaling",
            serde_json::json!({"rope_type": "spiral", "factor": 2.0}),
            &["`spiral`"],
        ),
        ("llama3-rope", "rope_scaling", serde_json::json!({"rope_type": "yarn"}), &["`factor` is missing"]),
        (
            "llama3-rope",
            "rope_scaling",
            serde_json::json!({"rope_type": "llama3", "factor": 8.0}),
            &["`low_freq_factor` is missing"],
        ),
        (
            "llama3-rope",
            "rope_parameters",
            serde_json::json!({"rope_type": "default"}),
            &["`rope_parameters` and `rope_scaling`", "leave one of them out"],
        ),
        ("llama3-rope", "smeared_keys", true.into(), &["`smeared_keys`", "not handled"]),
        ("llama3-rope", "num_hidden_layers", 0.into(), &["`num_hidden_layers` is 0"]),
        ("attn-only-smeared", "smeared_keys", false.into(), &["`smeared_keys`", "k_smear"]),
        ("attn-only-smeared", "smeared_keys", "yes".into(), &["`smeared_keys`", "not true or false"]),
        ("llama3-rope", "hidden_act", "softsign".into(), &["`softsign`"]),
        ("llama3-rope", "hidden_size", "many".into(), &["`hidden_size`"]),
        ("llama3-rope", "num_attention_heads", 0.into(), &["`num_attention_heads` is 0"]),
        ("llama3-rope", "num_hidden_layers", 60_000.into(), &["layers are promised"]),
        (
            "llama3-rope",
            "num_hidden_layers",
            (1u64 << 31).into(),
            &["`num_hidden_layers`", "no reasonable count"],
        ),
        ("bloom", "n_head", (1u64 << 31).into(), &["`n_head`", "no reasonable count"]),
        ("llama3-rope", "num_hidden_layers", 9.into(), &["no tensor `model.layers.", "the nearest is"]),
        ("llama3-rope", "intermediate_size", 7.into(), &["tensor `model.layers.0.mlp", "asks for"]),
        ("gpt2", "vocab_size", 7.into(), &["tensor `transformer.wte.weight`", "asks for"]),
        ("gpt2", "add_cross_attention", true.into(), &["`add_cross_attention`"]),
    ];
    for (name, key, value, expected) in changes {
        let folder = copy(name);
        configure(&folder, key, value.clone());
        trace(folder.path(), "1,2", expected);
    }
    let folder = copy("gpt2");
    fs::write(folder.path().join("config.json"), "[]").unwrap();
    trace(folder.path(), "1,2", &["config.json"]);
    fs::remove_file(folder.path().join("config.json")).unwrap();
    trace(folder.path(), "1,2", &["config.json", "beside the weights"]);
}

#[test]
fn a_name_with_control_characters_does_not_reach_the_terminal() {
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["rank", "x\u{1b}]0;owned\u{7}"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(!output.stderr.contains(&0x1b) && !output.stderr.contains(&7));
}

#[test]
fn a_file_that_cannot_be_written_leaves_nothing() {
    let gpt2 = fixture("gpt2");
    refused(
        &["trace", gpt2.to_str().unwrap(), "--ids", "1,2", "--out", "/nowhere/at/all.safetensors", "-q"],
        &["/nowhere/at/all", "cannot be written"],
    );
}
