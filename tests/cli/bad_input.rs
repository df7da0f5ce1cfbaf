//! Bad input: one line that names the file, the key or the token and says what to do; exit code 2; no panic.

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
    let told = last.matches("config.json: ").count();
    assert!(told < 2, "a file is named {told} times: {last}");
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
        ("llama3-rope", "is_causal", false.into(), &["`is_causal` = false", "not handled"]),
        ("llama3-rope", "num_hidden_layers", 1.into(), &["`model.layers.1", "has no place", "nearest"]),
        (
            "gemma3",
            "use_bidirectional_attention",
            true.into(),
            &["`use_bidirectional_attention`", "not handled"],
        ),
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
        ("llama3-rope", "num_hidden_layers", 0.into(), &["`num_hidden_layers` is 0"]),
        ("attn-only-smeared", "smeared_keys", false.into(), &["`smeared_keys`", "k_smear"]),
        ("attn-only-smeared", "smeared_keys", "yes".into(), &["`smeared_keys`", "not true or false"]),
        ("llama3-rope", "hidden_act", "softsign".into(), &["`softsign`"]),
        ("llama3-rope", "hidden_size", "many".into(), &["`hidden_size`"]),
        ("llama3-rope", "num_attention_heads", 0.into(), &["`num_attention_heads` is 0"]),
        (
            "llama3-rope",
            "num_hidden_layers",
            60_000.into(),
            &["`num_hidden_layers` is 60000", "of different models"],
        ),
        (
            "llama3-rope",
            "num_hidden_layers",
            (1u64 << 31).into(),
            &["`num_hidden_layers`", "no reasonable count"],
        ),
        ("bloom", "num_attention_heads", (1u64 << 31).into(), &["`n_head`", "no reasonable count"]),
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

/// The fixture with another value of a key: one line that names the key.
#[track_caller]
fn size(name: &str, key: &str, value: serde_json::Value) {
    let folder = copy(name);
    configure(&folder, key, value.clone());
    trace(folder.path(), "1,2", &["config.json", &format!("`{key}`")]);
}

#[test]
fn sizes_are_held_against_the_tensors_before_anything_is_made_of_them() {
    let of_family: &[(&str, &[&str])] = &[
        ("llama3-rope", &["vocab_size", "hidden_size", "num_attention_heads", "num_key_value_heads"]),
        ("llama3-rope", &["intermediate_size", "num_hidden_layers", "head_dim"]),
        ("phi", &["vocab_size", "hidden_size", "intermediate_size"]),
        ("gptj", &["vocab_size", "n_embd", "rotary_dim", "n_layer"]),
        ("olmo", &["vocab_size", "hidden_size"]),
        ("qwen3_moe", &["moe_intermediate_size", "num_experts_per_tok"]),
        ("mixtral", &["num_local_experts"]),
        ("opt-350m", &["word_embed_proj_dim", "ffn_dim"]),
        ("bloom", &["vocab_size", "n_head"]),
        ("falcon", &["vocab_size"]),
        ("lens-solu-ln", &["d_vocab", "d_model", "d_head", "d_mlp"]),
    ];
    for (name, keys) in of_family {
        for key in *keys {
            for value in
                [(1u64 << 32).into(), u64::MAX.into(), (-1).into(), 2.5.into(), 1e300.into(), "12".into()]
            {
                size(name, key, value);
            }
        }
    }
    // Positions that are learned are held against their table.
    for value in [1u64 << 32, 7] {
        let folder = copy("gpt2");
        configure(&folder, "n_positions", value.into());
        trace(folder.path(), "1,2", &["tensor `transformer.wpe.weight`", "asks for"]);
    }
    // Sizes that are small enough each, and together are not.
    for (name, key, value) in [("llama3-rope", "head_dim", 20_000), ("mpt", "expansion_ratio", 1 << 30)] {
        let folder = copy(name);
        configure(&folder, key, value.into());
        trace(folder.path(), "1,2", &["config.json", "the two are of different models"]);
    }
}

#[test]
fn a_model_type_that_is_not_known_is_told_by_what_the_configuration_says() {
    let renamed = |name: &str, kind: &str, expected: &str| {
        let folder = copy(name);
        configure(&folder, "model_type", kind.into());
        trace(folder.path(), "1,2", &[&format!("`{kind}` is not known; the nearest that is: `{expected}`")]);
    };
    for (name, kind, expected) in [
        ("gpt2", "llama-of-mine", "gpt2"),
        ("falcon", "bloomy", "falcon"),
        ("qwen3", "gpt2x", "qwen3"),
        ("qwen2", "custom", "qwen2"),
        ("gpt_neox", "opt2", "gpt_neox"),
        ("phi3", "phi2", "phi3"),
        ("llama3-rope", "lama", "llama"),
    ] {
        renamed(name, kind, expected);
    }
    // Falcon as it was first published.
    let folder = copy("falcon");
    let path = folder.path().join("config.json");
    let config = r#"{"alibi": false, "apply_residual_connection_post_layernorm": false, "architectures": ["RWForCausalLM"],
        "attention_dropout": 0.0, "bias": false, "bos_token_id": 11, "eos_token_id": 11, "hidden_dropout": 0.0,
        "hidden_size": 4544, "initializer_range": 0.02, "layer_norm_epsilon": 1e-05, "model_type": "RefinedWebModel",
        "multi_query": true, "n_head": 71, "n_layer": 32, "parallel_attn": true, "torch_dtype": "bfloat16",
        "transformers_version": "4.27.4", "use_cache": true, "vocab_size": 65024}"#;
    fs::write(path, config).unwrap();
    trace(folder.path(), "1,2", &["`RefinedWebModel` is not known; the nearest that is: `falcon`"]);
}

#[test]
fn what_a_file_says_is_never_long_in_a_message() {
    let long = "x".repeat(70_000);
    let numbers: Vec<f64> = (0..20_000).map(|number| f64::from(number) + 0.5).collect();
    let short = |folder: &TempDir| {
        let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
            .args(["trace", folder.path().to_str().unwrap(), "--ids", "1,2", "--out"])
            .arg(folder.path().join("out"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said:.2000}");
        assert!(said.lines().all(|line| line.chars().count() < 900), "{said:.2000}");
        assert!(said.contains('…'), "{said}");
    };
    let cases: [(&str, &str, serde_json::Value); 9] = [
        ("llama3-rope", "model_type", long.as_str().into()),
        ("llama3-rope", "hidden_act", long.as_str().into()),
        ("llama3-rope", "hidden_size", long.as_str().into()),
        ("llama3-rope", "hidden_size", numbers.clone().into()),
        ("llama3-rope", "tie_word_embeddings", numbers.clone().into()),
        ("llama3-rope", "rope_scaling", serde_json::json!({ "rope_type": long })),
        ("llama3-rope", "per_layer_config", serde_json::json!({ "1": long })),
        ("gpt_neo", "attention_layers", vec![long.as_str(); 2].into()),
        ("gemma3", "layer_types", vec![long.as_str(); 9].into()),
    ];
    for (name, key, value) in cases {
        let folder = copy(name);
        configure(&folder, key, value);
        short(&folder);
    }
    let folder = copy("gpt2");
    let path = folder.path().join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let tensor = tensors["transformer.wpe.weight"].clone();
    tensors.insert(format!("transformer.{long}"), tensor);
    candle_core::safetensors::save(&tensors, path).unwrap();
    short(&folder);
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
