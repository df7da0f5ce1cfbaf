//! GGUF files that cannot be read: one line that names the file and the key or tensor, exit code 2, no panic.

use std::{fs, path::Path, process::Command};

use candle_core::{
    DType, Device, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};

/// What is said of a file of these bytes.
#[track_caller]
fn refused(bytes: &[u8], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (model, out) = (folder.path().join("spoilt.gguf"), folder.path().join("out"));
    fs::write(&model, bytes).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    let output = command
        .arg("trace")
        .arg(&model)
        .args(["--ids", "1,2", "--quiet", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for part in ["attnscope: ", "spoilt.gguf"].iter().chain(expected) {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
    assert!(!out.exists());
}

/// A file of Llama's with `from`, which is there once, in another way.
fn spoilt(from: &[u8], to: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gguf-llama-q8/model.gguf");
    let mut bytes = fs::read(path).unwrap();
    let places: Vec<usize> = (0..bytes.len()).filter(|&place| bytes[place..].starts_with(from)).collect();
    assert_eq!((places.len(), from.len()), (1, to.len()));
    bytes[places[0]..][..to.len()].copy_from_slice(to);
    bytes
}

/// A tensor's name with its shape `[columns, rows]` and its type, as files have them.
fn entry(name: &str, shape: [u64; 2], kind: u32) -> Vec<u8> {
    let numbers = shape.into_iter().flat_map(u64::to_le_bytes);
    let dimensions = 2u32.to_le_bytes().into_iter().chain(numbers);
    name.bytes().chain(dimensions).chain(kind.to_le_bytes()).collect()
}

/// A key with a value of 32 bits, as files have them.
fn number(key: &str, value: u32) -> Vec<u8> {
    key.bytes().chain(4u32.to_le_bytes()).chain(value.to_le_bytes()).collect()
}

#[test]
fn architectures_that_are_not_known() {
    let named = |name: &str| {
        let kind = 8u32.to_le_bytes().into_iter().chain((name.len() as u64).to_le_bytes());
        "general.architecture".bytes().chain(kind).chain(name.bytes()).collect::<Vec<u8>>()
    };
    refused(
        &spoilt(&named("llama"), &named("lamma")),
        &["general.architecture `lamma`", "nearest that is: `llama`", "gpt2, gptj, gptneox"],
    );
    refused(
        &spoilt(b"general.architecture", b"general.arch1tecture"),
        &["`general.architecture` is missing"],
    );
}

#[test]
fn keys_that_are_missing_or_not_handled() {
    refused(&spoilt(b"llama.block_count", b"llama.block_c0unt"), &["key `llama.block_count` is missing"]);
    let layers = |count| number("llama.block_count", count);
    refused(
        &spoilt(&layers(2), &layers(1 << 31)),
        &["key `llama.block_count` is more than a file of 21 tensors"],
    );
    let heads = |count| number("llama.attention.head_count", count);
    refused(&spoilt(&heads(4), &heads(0)), &["key `llama.attention.head_count` is 0"]);
    let key_heads = |count| number("llama.attention.head_count_kv", count);
    refused(&spoilt(&key_heads(2), &key_heads(3)), &["4 query heads", "3 key/value heads"]);
    let size = |count| number("llama.attention.value_length", count);
    refused(&spoilt(&size(16), &size(8)), &["key `llama.attention.value_length` is 8", "it is 16"]);
    let rotated = |count| number("llama.rope.dimension_count", count);
    refused(&spoilt(&rotated(16), &rotated(18)), &["key `llama.rope.dimension_count` is 18", "16 numbers"]);
    refused(
        &spoilt(b"llama.attention.value_length", b"llama.attention.alibi_length"),
        &["key `llama.attention.alibi_length` = 16 may change what the model computes"],
    );
    refused(
        &spoilt(b"llama.feed_forward_length", b"llama.feed_forward_lengt1"),
        &["key `llama.feed_forward_length` is missing"],
    );
}

#[test]
fn tensors_that_are_missing_or_of_a_type_that_is_not_read() {
    let query = |kind| entry("blk.0.attn_q.weight", [32, 64], kind);
    refused(
        &spoilt(&query(8), &query(39)),
        &["tensor `blk.0.attn_q.weight` is of type MXFP4", "take a file in F16"],
    );
    refused(&spoilt(b"blk.1.attn_k.weight", b"blk.1.attn_x.weight"), &["no tensor `blk.1.attn_k.weight`"]);
    refused(&spoilt(b"token_embd.weight", b"token_embx.weight"), &["no tensor `token_embd.weight`"]);
}

/// A file of a tiny Llama with further keys and nothing but an embedding.
fn with(keys: &[(&str, Value)]) -> Vec<u8> {
    let tokens = Value::Array(vec![Value::String("a".into()); 8]);
    let all = [
        ("general.architecture", Value::String("llama".into())),
        ("llama.block_count", Value::U32(1)),
        ("llama.embedding_length", Value::U32(32)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.feed_forward_length", Value::U32(64)),
        ("tokenizer.ggml.tokens", tokens),
    ];
    let others = all.iter().filter(|(key, _)| keys.iter().all(|(other, _)| key != other));
    let metadata: Vec<(&str, &Value)> = others.chain(keys).map(|(key, value)| (*key, value)).collect();
    let embedding = Tensor::zeros((8, 32), DType::F32, &Device::Cpu).unwrap();
    let embedding = QTensor::quantize(&embedding, GgmlDType::F32).unwrap();
    let mut bytes = std::io::Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &[("token_embd.weight", &embedding)]).unwrap();
    bytes.into_inner()
}

#[test]
fn values_that_are_not_handled() {
    let list = |values: [u32; 2]| Value::Array(values.map(Value::U32).to_vec());
    let differs = "differs from layer to layer, which is not handled";
    for key in ["llama.feed_forward_length", "llama.attention.head_count_kv"] {
        refused(&with(&[(key, list([2, 1]))]), &[&format!("key `{key}` {differs}")]);
        // The same for every layer is fine, and the next thing is missing.
        refused(&with(&[(key, list([2, 2]))]), &["no tensor `"]);
    }
    refused(
        &with(&[("llama.rope.scaling.type", Value::String("ntk\u{7}".into()))]),
        &["key `llama.rope.scaling.type` is `ntk\\u{7}`"],
    );
    refused(
        &with(&[("llama.rope.scaling.attn_factor", Value::F32(1.5))]),
        &["key `llama.rope.scaling.attn_factor` is 1.5, which is handled for LongRoPE only"],
    );
    refused(
        &with(&[("llama.context_length", Value::String("far".into()))]),
        &["key `llama.context_length` is \"far\", no number"],
    );
    refused(
        &with(&[("llama.expert_group_scale", Value::F32(2.0))]),
        &["key `llama.expert_group_scale` may change what the model computes"],
    );
    refused(
        &with(&[("tokenizer.ggml.tokens", Value::Array(vec![Value::String("a".into()); 9]))]),
        &["key `tokenizer.ggml.tokens` has 9 tokens", "8 rows"],
    );
}
