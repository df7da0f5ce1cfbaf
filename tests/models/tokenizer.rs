//! Token ids and pieces against the Python libraries (`tests/reference/vocabularies.py`).

mod beside;
mod files;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};

use attnscope::checkpoint::tokenizer::Tokenizer;
use candle_core::quantized::gguf_file::{Content, Value};
use serde::Deserialize;

type Ids = BTreeMap<String, Vec<u32>>;

#[derive(Deserialize)]
struct Reference {
    bpe: BTreeMap<String, Ids>,
    spm: Ids,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn reference() -> Reference {
    let json = std::fs::read(fixtures().join("gguf/tokenizers.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn metadata(name: &str) -> HashMap<String, Value> {
    let mut file = File::open(fixtures().join("gguf").join(name)).unwrap();
    Content::read(&mut file).unwrap().metadata
}

fn with(name: &str, key: &str, value: Value) -> HashMap<String, Value> {
    let mut metadata = metadata(name);
    metadata.insert(format!("tokenizer.ggml.{key}"), value);
    metadata
}

fn read(metadata: &HashMap<String, Value>) -> Tokenizer {
    Tokenizer::from_gguf(metadata, "test.gguf").unwrap()
}

fn error(metadata: &HashMap<String, Value>) -> String {
    format!("{:#}", Tokenizer::from_gguf(metadata, "test.gguf").err().expect("an error"))
}

/// The text that the pieces of `ids` add up to.
fn joined(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    String::from_utf8(ids.iter().flat_map(|&id| tokenizer.piece(id)).collect()).unwrap()
}

#[test]
fn byte_level_vocabularies_cut_words_as_their_models_do() {
    for (pre, texts) in reference().bpe {
        let tokenizer = read(&with("bpe.gguf", "pre", Value::String(pre.clone())));
        for (text, expected) in texts {
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(ids, expected, "{pre}: {text:?}");
            if !["qwen2", "qwen35", "mpt"].contains(&pre.as_str()) {
                assert_eq!(joined(&tokenizer, &ids), text, "{pre}");
            }
        }
    }
}

#[test]
fn sentence_pieces_are_merged_by_score() {
    let tokenizer = read(&metadata("spm.gguf"));
    for (text, expected) in reference().spm {
        let ids = tokenizer.encode(&text).unwrap();
        assert_eq!(ids, expected, "{text:?}");
    }
    let text = "naïve 🙂\n12";
    assert_eq!(joined(&tokenizer, &tokenizer.encode(text).unwrap()), format!(" {text}"));
}

#[test]
fn the_space_before_a_text_can_be_turned_off() {
    let tokenizer = read(&with("spm.gguf", "add_space_prefix", Value::Bool(false)));
    assert_eq!(joined(&tokenizer, &tokenizer.encode("Hello  world").unwrap()), "Hello  world");
    assert_eq!(joined(&tokenizer, &tokenizer.encode(" a<sep>b").unwrap()), " a<sep>b");
}

#[test]
fn bos_is_what_the_file_says() {
    let bpe = read(&metadata("bpe.gguf"));
    assert_eq!(bpe.piece(bpe.bos().unwrap()), b"<|endoftext|>");
    assert!(!bpe.adds_bos());
    assert!(read(&with("bpe.gguf", "add_bos_token", Value::Bool(true))).adds_bos());
    assert_eq!(read(&with("bpe.gguf", "bos_token_id", Value::U32(1 << 20))).bos(), None);

    let spm = read(&metadata("spm.gguf"));
    assert_eq!(spm.piece(spm.bos().unwrap()), b"<s>");
    assert!(spm.adds_bos());

    let mut nameless = metadata("bpe.gguf");
    assert!(read(&nameless).remarks().is_empty());
    nameless.remove("tokenizer.ggml.pre");
    assert!(read(&nameless).remarks()[0].contains("tokenizer.ggml.pre is missing"));

    let mut silent = with("bpe.gguf", "pre", Value::String("llama-bpe".into()));
    silent.remove("tokenizer.ggml.add_bos_token");
    assert!(read(&silent).adds_bos());
}

#[test]
fn only_text_is_ordinary() {
    let bpe = read(&metadata("bpe.gguf"));
    let id = |text: &str| bpe.encode(text).unwrap()[0];
    let last = bpe.len() as u32;
    // The end of the vocabulary is: zqzq, two controls, a user-defined token, an unused one.
    let ordinary: Vec<_> = (last - 5..last + 2).map(|id| bpe.is_ordinary(id)).collect();
    assert_eq!(ordinary, [true, false, false, false, false, false, false]);
    assert!(bpe.is_ordinary(id("the")) && !bpe.is_ordinary(id("\u{7}")));
    assert_eq!(bpe.piece(last), b"");
    assert_eq!(bpe.piece(last - 1), b"[UNUSED]");

    let spm = read(&metadata("spm.gguf"));
    let byte = spm.encode("🎉").unwrap()[1];
    assert!(spm.piece(byte).len() == 1 && !spm.is_ordinary(byte));
    assert!((0..3).all(|id| !spm.is_ordinary(id)) && spm.is_ordinary(spm.encode("the").unwrap()[0]));
}

#[test]
fn what_is_not_read_is_named() {
    let text = |text: &str| Value::String(text.into());
    let strings = |strings: &[&str]| Value::Array(strings.iter().map(|s| text(s)).collect());
    for (key, value, expected) in [
        ("model", text("rwkv"), "`rwkv`; only `gpt2`, `llama` and `t5` are read"),
        ("pre", text("novel"), "`novel`, which is not known here; known are default, gpt-2"),
        ("pre", Value::U8(1), "tokenizer.ggml.pre"),
        ("tokens", Value::U8(1), "tokenizer.ggml.tokens"),
        ("tokens", strings(&["a"]), "entries for 1 tokens"),
        ("token_type", Value::Array(vec![]), "0 entries for"),
        ("merges", strings(&["ab"]), "`ab`, no pair"),
        ("merges", strings(&["zqzq zqzq"]), "`zqzq zqzq`, which the vocabulary lacks"),
    ] {
        let error = error(&with("bpe.gguf", key, value));
        assert!(error.contains(expected) && error.contains("test.gguf"), "{key}: {error}");
    }
    for key in ["model", "tokens", "merges"] {
        let mut metadata = metadata("bpe.gguf");
        metadata.remove(&format!("tokenizer.ggml.{key}"));
        assert!(error(&metadata).contains(&format!("tokenizer.ggml.{key} is missing")));
    }
    assert!(
        error(&with("spm.gguf", "scores", Value::Array(vec![Value::F32(0.0)]))).contains("1 entries for")
    );
}

/// A folder with the small byte-level `tokenizer.json` and the given files beside it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join("gpt2/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

fn open(files: &[(&str, &str)]) -> anyhow::Result<Tokenizer> {
    Tokenizer::from_file(&folder(files).path().join("tokenizer.json"))
}

#[test]
fn a_tokenizer_file_gives_ids_and_bytes() {
    let tokenizer = Tokenizer::from_file(&fixtures().join("gpt2/tokenizer.json")).unwrap();
    assert_eq!(tokenizer.len(), 320);
    let text = "The cat's naïve 🙂\n <|endoftext|>";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(joined(&tokenizer, &ids), text);
    assert_eq!(ids.last(), Some(&0));
    assert_eq!(tokenizer.bos(), Some(0));
    assert!(!tokenizer.adds_bos() && !tokenizer.is_ordinary(0));
}

#[test]
fn the_files_beside_it_say_what_bos_is() {
    let bare = open(&[]).unwrap();
    assert_eq!((bare.bos(), bare.adds_bos()), (None, false));
    let model = ("config.json", r#"{"bos_token_id": 5}"#);
    assert_eq!(open(&[model]).unwrap().bos(), Some(5));
    let named =
        open(&[("tokenizer_config.json", r#"{"bos_token": "<|endoftext|>", "add_bos_token": true}"#), model]);
    assert_eq!(named.as_ref().ok().map(|t| (t.bos(), t.adds_bos())), Some((Some(0), false)));
    let object =
        open(&[("tokenizer_config.json", r#"{"bos_token": {"content": "<|endoftext|>"}}"#)]).unwrap();
    assert_eq!((object.bos(), object.adds_bos()), (Some(0), false));
    let broken = open(&[("tokenizer_config.json", "{")]).err().unwrap();
    assert!(format!("{broken:#}").contains("tokenizer_config.json"));
}

#[test]
fn a_damaged_tokenizer_file_is_an_error() {
    let model = |vocab: &str| {
        format!(
            r#"{{"added_tokens": [], "model": {{"type": "BPE", "vocab": {vocab}, "merges": [["a", "b"]]}}}}"#
        )
    };
    for (json, expected) in [
        ("[]".to_string(), "is no tokenizer"),
        (model(r#"{"a": 0, "b": 1}"#), "its merges do not fit its vocabulary"),
        (model(r#"{"a": 0, "b": 1, "abc": 2}"#), "is no tokenizer"),
        (model(r#"{"a": 0, "b": 1, "ab": 4000000000}"#), "no vocabulary is that large"),
    ] {
        let error = format!("{:#}", open(&[("tokenizer.json", &json)]).err().unwrap());
        assert!(error.contains("tokenizer.json") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_template_that_puts_a_token_first_is_the_policy() {
    let json = std::fs::read_to_string(fixtures().join("gpt2/tokenizer.json")).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    value["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [],
        "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}}
    });
    value["truncation"] = serde_json::json!(
        {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    );
    let json = value.to_string();
    let read = |bos, adds| Tokenizer::from_bytes(json.as_bytes(), "embedded", bos, adds).unwrap();
    let tokenizer = read(None, None);
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (Some(0), true));
    assert_eq!(joined(&tokenizer, &tokenizer.encode("not cut short").unwrap()), "not cut short");
    assert!(!read(None, Some(false)).adds_bos());
    assert!(!read(Some(7), None).adds_bos());

    value["post_processor"]["single"].as_array_mut().unwrap().reverse();
    let ends = Tokenizer::from_bytes(value.to_string().as_bytes(), "embedded", None, None).unwrap();
    assert_eq!((ends.bos(), ends.adds_bos()), (None, false));
}
