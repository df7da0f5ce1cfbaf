//! Tokenizers without a `tokenizer.json` against the Python libraries (`tests/reference/tokenizer_files.py`).

use std::collections::BTreeMap;

use attnscope::checkpoint::progress::Nobody;
use attnscope::checkpoint::tokenizer::Tokenizer;
use attnscope::checkpoint::{Checkpoint, Wanted};
use attnscope::text::clean;
use candle_core::quantized::gguf_file::{Content, Value};

use super::{Ids, fixtures, joined};

fn reference() -> BTreeMap<String, Ids> {
    serde_json::from_slice(&fixture("tokenizers.json")).unwrap()
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(fixtures().join("tokenizers").join(name)).unwrap()
}

/// The tokenizer of a folder that has these files.
fn open(files: &[(&str, &[u8])]) -> anyhow::Result<Tokenizer> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    Tokenizer::from_folder(folder.path())
}

/// What is wrong with such a folder: one line.
fn error(files: &[(&str, &[u8])]) -> String {
    let error = format!("{:#}", open(files).err().expect("an error"));
    assert!(!error.contains('\n'), "{error}");
    error
}

/// Checks the ids of every text of a vocabulary.
fn agree(name: &str, tokenizer: &Tokenizer) {
    for (text, expected) in &reference()[name] {
        assert_eq!(&tokenizer.encode(text).unwrap(), expected, "{name}: {text:?}");
    }
}

/// `vocab.json` and `merges.txt`, with some of what lies beside them.
fn vocabulary(beside: &[&str]) -> Vec<(&'static str, Vec<u8>)> {
    let names =
        ["vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"];
    let wanted = names.into_iter().enumerate().filter(|(at, name)| *at < 2 || beside.contains(name));
    wanted.map(|(_, name)| (name, fixture(name))).collect()
}

fn borrowed<'a>(files: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'static str, &'a [u8])> {
    files.iter().map(|(name, content)| (*name, content.as_slice())).collect()
}

#[test]
fn a_vocabulary_with_merges_gives_the_ids_of_its_class() {
    let mut files = vocabulary(&["added_tokens.json", "special_tokens_map.json", "tokenizer_config.json"]);
    let tokenizer = open(&borrowed(&files)).unwrap();
    agree("GPT2Tokenizer", &tokenizer);
    let text = "It's naïve 🙂</s>\n <image>";
    assert_eq!(joined(&tokenizer, &tokenizer.encode(text).unwrap()), text);
    // As OPT has it: `</s>` opens a sequence.
    let bos = tokenizer.bos().unwrap();
    assert_eq!((tokenizer.piece(bos), tokenizer.adds_bos()), (b"</s>".to_vec(), true));
    assert!(!tokenizer.is_ordinary(bos) && !tokenizer.is_ordinary(tokenizer.len() as u32 - 1));

    files.last_mut().unwrap().1 = br#"{"tokenizer_class": "Qwen2TokenizerFast"}"#.to_vec();
    let tokenizer = open(&borrowed(&files)).unwrap();
    agree("Qwen2Tokenizer", &tokenizer);
    assert_eq!((tokenizer.piece(tokenizer.bos().unwrap()), tokenizer.adds_bos()), (b"</s>".to_vec(), false));
}

#[test]
fn a_vocabulary_with_merges_stands_alone() {
    let files = vocabulary(&[]);
    let tokenizer = open(&borrowed(&files)).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (None, false));
    let ids = tokenizer.encode("the cat").unwrap();
    let expected = &reference()["GPT2Tokenizer"];
    assert_eq!(tokenizer.encode("Hello world").unwrap(), expected["Hello world"]);
    assert_eq!(joined(&tokenizer, &ids), "the cat");

    let config: &[u8] = br#"{"add_prefix_space": true, "tokenizer_class": "GPT2Tokenizer"}"#;
    let spaced = open(&[borrowed(&files), vec![("tokenizer_config.json", config)]].concat()).unwrap();
    assert_eq!(joined(&spaced, &spaced.encode("the cat").unwrap()), " the cat");
}

#[test]
fn ranks_are_read_with_the_pattern_and_the_special_tokens_of_their_vocabulary() {
    let ranks = fixture("ranks.tiktoken");
    let config: &[u8] = br#"{"model_type": "llama"}"#;
    let llama = open(&[("tokenizer.model", &ranks), ("config.json", config)]).unwrap();
    agree("llama3", &llama);
    let bos = llama.bos().unwrap();
    assert_eq!((llama.piece(bos), llama.adds_bos()), (b"<|begin_of_text|>".to_vec(), true));
    assert_eq!(llama.piece(llama.len() as u32 - 1), b"<|reserved_special_token_250|>");
    assert!(!llama.is_ordinary(bos) && llama.is_ordinary(llama.encode("the").unwrap()[0]));

    for name in ["qwen", "cl100k_base", "o200k_base", "o200k_harmony", "r50k_base"] {
        let tokenizer = open(&[(&format!("{name}.tiktoken"), &ranks)]).unwrap();
        agree(name, &tokenizer);
        assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (None, false), "{name}");
    }
    let config: &[u8] = br#"{"tokenizer_class": "QWenTokenizer"}"#;
    agree("qwen", &open(&[("any.tiktoken", &ranks), ("tokenizer_config.json", config)]).unwrap());
}

#[test]
fn sentence_piece_models_give_the_ids_of_the_library() {
    for name in ["llama", "gemma", "t5", "suffix"] {
        let tokenizer = open(&[("tokenizer.model", &fixture(&format!("{name}.model")))]).unwrap();
        agree(name, &tokenizer);
        let bos = tokenizer.bos().unwrap();
        assert_eq!((tokenizer.piece(bos), tokenizer.adds_bos()), (b"<s>".to_vec(), true), "{name}");
    }
    let model = fixture("gemma.model");
    let beside: [(&str, &[u8]); 2] = [
        ("tokenizer_config.json", br#"{"add_bos_token": false, "bos_token": "<turn>"}"#),
        ("added_tokens.json", br#"{"<turn>": 450}"#),
    ];
    let tokenizer = open(&[&[("tokenizer.model", &model[..])][..], &beside].concat()).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos(), tokenizer.len()), (Some(450), false, 451));
    let text = "a  b<turn><sep> naïve 🙂\n\n";
    let ids = tokenizer.encode(text).unwrap();
    assert!(ids.contains(&450));
    assert_eq!(joined(&tokenizer, &ids), text);
}

#[test]
fn unigram_vocabularies_of_gguf_files_are_read() {
    let content = Content::read(&mut std::io::Cursor::new(fixture("t5.gguf"))).unwrap();
    let mut metadata = content.metadata;
    let tokenizer = Tokenizer::from_gguf(&metadata, "test.gguf").unwrap();
    agree("t5", &tokenizer);
    assert_eq!((tokenizer.bos(), tokenizer.adds_bos()), (None, false));
    metadata.insert("tokenizer.ggml.precompiled_charsmap".into(), Value::Array(vec![Value::U8(9)]));
    let broken = format!("{:#}", Tokenizer::from_gguf(&metadata, "test.gguf").err().unwrap());
    assert!(broken.contains("test.gguf") && broken.contains("precompiled_charsmap"), "{broken}");
}

#[test]
fn a_model_opens_without_its_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("gpt2").join(name), folder.path().join(name)).unwrap();
    }
    let reason = || {
        let wanted = Wanted { model: folder.path().to_str(), ..Wanted::default() };
        Checkpoint::open(&wanted, &Nobody).unwrap().tokenizer.err()
    };
    assert!(reason().unwrap().contains("has no tokenizer"));
    std::fs::write(folder.path().join("vocab.json"), fixture("vocab.json")).unwrap();
    assert!(reason().unwrap().contains("merges.txt"));
    std::fs::write(folder.path().join("merges.txt"), fixture("merges.txt")).unwrap();
    assert_eq!(reason(), None);
}

#[test]
fn a_part_of_a_character_is_shown_as_its_bytes() {
    let ranks = fixture("ranks.tiktoken");
    let models = ["llama", "gemma", "suffix"].map(|name| fixture(&format!("{name}.model")));
    let mut folders = vec![open(&[("r50k_base.tiktoken", &ranks)]).unwrap()];
    folders.extend(models.iter().map(|model| open(&[("tokenizer.model", model)]).unwrap()));
    for tokenizer in folders {
        let ids = tokenizer.encode("🧭").unwrap();
        let shown: Vec<String> = ids.iter().map(|&id| clean(&tokenizer.piece(id))).collect();
        let parts: String = shown.concat();
        assert!(parts.contains("<0xA7><0xAD>") && parts.contains("<0xF0><0x9F>"), "{shown:?}");
        assert!(
            ids.len() > 1 && ids.iter().filter(|&&id| tokenizer.is_ordinary(id)).count() <= 1,
            "{shown:?}"
        );
    }
}

#[test]
fn a_character_table_has_a_token_for_each_character() {
    for table in [r#"["\n", " ", "a", "é"]"#, r#"{"a": 2, " ": 1, "\n": 0, "é": 3}"#] {
        let tokenizer = open(&[("chars.json", table.as_bytes())]).unwrap();
        assert_eq!(tokenizer.encode("a é\na").unwrap(), [2, 1, 3, 0, 2]);
        assert_eq!((tokenizer.len(), tokenizer.bos()), (4, None));
        assert_eq!(tokenizer.piece(3), "é".as_bytes());
        let unknown = format!("{:#}", tokenizer.encode("ab").unwrap_err());
        assert!(unknown.contains("chars.json has no token for `b`"), "{unknown}");
    }
    for (table, expected) in [
        (r#"["a", "bc"]"#, "the token 1 is `bc`, which is not one character"),
        (r#"["a", 1]"#, "must be a list of characters"),
        (r#"{"a": -1}"#, "must be a list of characters"),
        (r#"{"a": 99999999}"#, "no vocabulary is that large"),
        (r#"["a", "a"]"#, "`a` comes twice"),
        ("7", "must be a list of characters"),
        ("[", "must be a list of characters"),
    ] {
        let error = error(&[("chars.json", table.as_bytes())]);
        assert!(error.contains("chars.json") && error.contains(expected), "{error}");
    }
}

#[test]
fn the_first_of_several_forms_is_taken() {
    let ranks = fixture("ranks.tiktoken");
    let table: (&str, &[u8]) = ("chars.json", br#"["a"]"#);
    assert_eq!(open(&[table, ("meta.pkl", b"")]).unwrap().len(), 1);
    let config = br#"{"model_type": "llama"}"#;
    let both = open(&[table, ("tokenizer.model", &ranks), ("config.json", config)]).unwrap();
    assert!(both.len() > 256);
    let json = std::fs::read(fixtures().join("gpt2/tokenizer.json")).unwrap();
    assert_eq!(open(&[table, ("tokenizer.json", &json), ("qwen.tiktoken", &ranks)]).unwrap().len(), 320);
}

#[test]
fn a_pickled_table_is_refused_with_the_way_out() {
    let error = error(&[("meta.pkl", b"\x80\x04}.")]);
    assert!(
        error.contains("meta.pkl is a pickle") && error.contains("write chars.json in its folder"),
        "{error}"
    );
    assert!(self::error(&[]).contains("has no tokenizer: none of tokenizer.json, tokenizer.model"));
}

#[test]
fn broken_vocabularies_and_merges_are_named() {
    let (vocab, merges) = (fixture("vocab.json"), fixture("merges.txt"));
    assert!(error(&[("vocab.json", &vocab)]).contains("cannot read merges.txt beside it"));
    assert!(error(&[("merges.txt", &merges)]).contains("vocab.json: No such file"));
    for (vocab, expected) in [
        (&vocab[..vocab.len() / 2], "vocab.json is no object"),
        (b"[]", "vocab.json is no object"),
        (b"{}", "vocab.json has no token"),
        (br#"{"a": "b"}"#, r#"gives "a" the id "b""#),
        (br#"{"a": -1}"#, r#"gives "a" the id -1"#),
        (br#"{"a": 4000000000}"#, "no vocabulary is that large"),
        (br#"{"a": 0}"#, "which the vocabulary lacks"),
    ] {
        let error = error(&[("vocab.json", vocab), ("merges.txt", &merges)]);
        assert!(error.contains(expected) && error.contains("vocab.json"), "{error}");
    }
    let config: &[u8] = br#"{"tokenizer_class": "CLIPTokenizer"}"#;
    for (merges, config, expected) in [
        (&b"#version: 0.2\na b\nabc\n"[..], &b"{}"[..], "line 3 of merges.txt is no pair"),
        (b"\xff", b"{}", "cannot read merges.txt"),
        (&merges, config, "says tokenizer_class CLIPTokenizer"),
        (&merges, b"{", "tokenizer_config.json"),
        (
            &merges,
            br#"{"added_tokens_decoder": {"4000000000": {"content": "x"}}}"#,
            "no vocabulary is that large",
        ),
    ] {
        let files = [("vocab.json", &vocab[..]), ("merges.txt", merges), ("tokenizer_config.json", config)];
        let error = error(&files);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn broken_ranks_are_named() {
    let ranks = fixture("ranks.tiktoken");
    let first: Vec<u8> = ranks.split_inclusive(|&byte| byte == b'\n').take(20).flatten().copied().collect();
    let twice = [&ranks[..], b"AA== 9000\n"].concat();
    let garbled = [&ranks[..], b"!! 9\n"].concat();
    for (content, expected) in [
        (
            &ranks[..],
            "and how their vocabulary cuts texts is not known here; known are llama3 (128000 ranks)",
        ),
        (&first, "it has no token for the byte"),
        (&twice, "has a token that came before"),
        (&garbled, "is no token in base64 with a rank"),
        (b"", "it has no token for the byte"),
        (b"\xff\xfe", "it is no text"),
    ] {
        let error = error(&[("own.tiktoken", content)]);
        assert!(error.contains("own.tiktoken") && error.contains(expected), "{error}");
    }
}

#[test]
fn broken_sentence_piece_models_are_named() {
    let model = fixture("t5.model");
    let wrong_type = {
        // `model_type: UNIGRAM` in the trainer's settings becomes a type that cuts at spaces alone.
        let at = model.windows(3).rposition(|bytes| bytes == [0x18, 1, 0x20]).expect("model_type");
        let mut model = model.clone();
        model[at + 1] = 3;
        model
    };
    for (content, expected) in [
        (&wrong_type[..], "model_type is 3"),
        (b"", "it has no pieces"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no SentencePiece model"),
        (b"\x0a\x03\x0a\x01\xff", "piece 0: it is no text"),
    ] {
        let error = error(&[("tokenizer.model", content)]);
        assert!(error.contains("tokenizer.model") && error.contains(expected), "{error}");
    }
    for end in (1..model.len()).step_by(53) {
        let error = error(&[("tokenizer.model", &model[..end])]);
        assert!(error.contains("is no SentencePiece model") && error.contains("cut short"), "{end}: {error}");
    }
}
