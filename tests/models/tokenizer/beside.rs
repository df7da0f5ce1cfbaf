//! Small files beside a `tokenizer.json`, against `AutoTokenizer` (`tests/reference/beside.py`).

use std::collections::BTreeMap;

use attnscope::checkpoint::tokenizer::Tokenizer;
use serde::Deserialize;
use serde_json::Value;

use super::{Ids, fixtures, folder, open};

#[derive(Deserialize)]
struct Case {
    base: String,
    steps: BTreeMap<String, Value>,
    files: BTreeMap<String, Value>,
    ids: Ids,
}

#[test]
fn the_files_beside_a_tokenizer_add_to_it_as_in_the_reference() {
    let cases = std::fs::read(fixtures().join("tokenizers/beside.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    assert!(cases.len() > 50);
    let bases = [("gpt2", "gpt2/tokenizer.json"), ("pieces", "tokenizers/pieces.json")];
    let bases: BTreeMap<_, _> =
        bases.map(|(name, path)| (name, std::fs::read(fixtures().join(path)).unwrap())).into();
    for Case { base, steps, files, ids } in cases {
        let mut json: BTreeMap<String, Value> = serde_json::from_slice(&bases[&*base]).unwrap();
        json.extend(steps.clone());
        let json = ("tokenizer.json", serde_json::to_string(&json).unwrap());
        let beside = files.iter().map(|(name, content)| (name.as_str(), content.to_string()));
        let written: Vec<_> = beside.chain([json]).collect();
        let written: Vec<_> = written.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let tokenizer = open(&written).unwrap();
        for (text, expected) in ids {
            let first = tokenizer.bos().filter(|_| tokenizer.adds_bos());
            let found: Vec<u32> = first.into_iter().chain(tokenizer.encode(&text).unwrap()).collect();
            assert_eq!(found, expected, "{text:?} with {steps:?} and {files:?}");
        }
    }
}

#[test]
fn an_added_token_is_special_text_and_told_where_its_id_is_another() {
    let at = |id: u32| {
        let config =
            format!(r#"{{"added_tokens_decoder": {{"{id}": {{"content": "<new>", "special": true}}}}}}"#);
        open(&[("tokenizer_config.json", &config)]).unwrap()
    };
    let tokenizer = at(320);
    assert_eq!((tokenizer.len(), tokenizer.piece(320)), (321, b"<new>".to_vec()));
    assert!(!tokenizer.is_ordinary(320) && tokenizer.remarks().is_empty());
    assert!(at(330).remarks()[0].contains("`<new>` is 320"));
}

#[test]
fn added_tokens_that_are_none_are_named() {
    for (name, text, expected) in [
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"x": {"content": "a"}}}"#,
            "has `x`, no token",
        ),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"5": {}}}"#, "has `5`, no token"),
        ("added_tokens.json", r#"{"<a>": -1}"#, "gives `<a>` the id -1"),
    ] {
        let folder = folder(&[(name, text)]);
        let error = format!("{:#}", Tokenizer::from_folder(folder.path()).err().unwrap());
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}
