//! Models with another head than an unembedding, or with none: the decoder is opened, what it is is said, and where nothing tells
//! next tokens none are shown. Their patterns are compared with those of their classes in `families.rs`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use attnscope::engine::{
    Engine,
    open::OpenRequest,
    protocol::{Bos, Event, Look, Pool, PromptInput, Request},
};
use attnscope::head::Head;
use candle_core::Device;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn run(arguments: &[&str], model: &Path) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    program.arg(arguments[0]).arg(model).args(&arguments[1..]).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn what_the_model_is_and_what_is_left_out_is_said() {
    let no_head = "it has no output head (no `lm_head.weight`), so nothing is told of next tokens; patterns are its own";
    let tied = "next tokens are told by the embedding, which transformers ties to the output head";
    for (name, words) in [
        (
            "llama-classes",
            format!(
                "it is a LlamaForSequenceClassification; its classification or reward head is left out (`score.weight`); {no_head}"
            ),
        ),
        ("llama-base", format!("it is a LlamaModel; {no_head}")),
        (
            "llama-value-head",
            "its value head is left out (`v_head.summary.bias`, `v_head.summary.weight`)\n".into(),
        ),
        ("qwen2-token-classes", format!("head is left out (`score.bias`, `score.weight`); {tied}")),
        (
            "gpt2-classes",
            format!(
                "it is a GPT2ForSequenceClassification; its classification or reward head is left out (`score.weight`); {tied}"
            ),
        ),
    ] {
        let output = run(&["show", "--ids", "3,4,5", "--head", "0.1"], &fixture(name));
        assert!(output.status.success() && said(&output).contains(&words), "{name}: {}", said(&output));
    }
    assert!(!said(&run(&["show", "--ids", "3,4", "--head", "0.1"], &fixture("gpt2"))).contains("head is"));
}

#[test]
fn a_value_head_beside_a_wrapped_model_is_told_as_one() {
    let folder = fixture("llama-value-head");
    let tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    let wrapped = tensors.into_iter().map(|(name, tensor)| match name.starts_with("v_head") {
        true => (name, tensor),
        false => (format!("pretrained_model.{name}"), tensor),
    });
    let copy = tempfile::tempdir().unwrap();
    candle_core::safetensors::save(&wrapped.collect(), copy.path().join("model.safetensors")).unwrap();
    std::fs::copy(folder.join("config.json"), copy.path().join("config.json")).unwrap();
    let reference = folder.join("reference.safetensors").display().to_string();
    let output = run(&["verify", "--reference", &reference], copy.path());
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("its value head is left out (`v_head.summary.bias`"), "{}", said(&output));
    assert!(!said(&output).contains("beside it"), "{}", said(&output));
}

#[test]
fn without_an_output_head_heads_are_ranked_and_work_on_logits_is_refused() {
    let model = fixture("llama-base");
    let output = run(&["rank", "--length", "8"], &model);
    assert!(output.status.success(), "{}", said(&output));
    let output = run(&["circuits", "--what", "bigram", "--ids", "5", "-q"], &model);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(
        said(&output).contains("the model has no output head (no `lm_head.weight`)"),
        "{}",
        said(&output)
    );
    assert_eq!(said(&output).lines().count(), 1);
}

#[test]
fn the_explorer_shows_patterns_and_says_that_nothing_tells_next_tokens() {
    let model = Some(fixture("llama-classes").display().to_string());
    let engine = Engine::spawn(OpenRequest { model, ..OpenRequest::default() });
    let look = Look { head: Head::new(0, 1), query: 2, fits: (8, 8), pool: Pool::Max };
    engine.send(Request::Prompt { epoch: 1, input: PromptInput::Ids(vec![3, 4, 5]), bos: Bos::Auto });
    engine.send(Request::Look { epoch: 1, look });
    let (mut row, mut candidates) = (None, None);
    let explanation = loop {
        match engine.events.recv_timeout(Duration::from_secs(60)).unwrap() {
            Event::Head { view, .. } => row = Some(view.row.clone()),
            Event::Candidates { top, .. } => candidates = Some(top.len()),
            Event::Explanation { explanation, .. } => break explanation,
            Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
            _ => {}
        }
    };
    assert_eq!((row.unwrap().len(), candidates), (3, Some(0)));
    assert_eq!(explanation.influence, None);
    engine.send(Request::Append { epoch: 2, token: None });
    loop {
        match engine.events.recv_timeout(Duration::from_secs(60)).unwrap() {
            Event::Failed { message } => break assert!(message.contains("no output head"), "{message}"),
            Event::Tokens { epoch: 2, .. } => panic!("a token was made up"),
            _ => {}
        }
    }
}
