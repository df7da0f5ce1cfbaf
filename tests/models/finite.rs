//! Checkpoints with numbers that cannot be computed with: where they are is said, and nothing of those that cannot be reached.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use attnscope::{
    engine::{
        Engine,
        open::OpenRequest,
        protocol::{Bos, Event, Look, Pool, PromptInput, Request},
    },
    head::Head,
};
use candle_core::{Device, Tensor, safetensors};

/// A copy of a fixture with other numbers in a tensor.
fn spoilt(fixture: &str, tensor: &str, change: impl Fn(&mut [f32])) -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
    let folder = tempfile::tempdir().unwrap();
    fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
    let mut tensors = safetensors::load(from.join("model.safetensors"), &Device::Cpu).unwrap();
    let old = &tensors[tensor];
    let mut numbers = old.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    change(&mut numbers);
    let new = Tensor::from_vec(numbers, old.dims(), &Device::Cpu).unwrap();
    tensors.insert(tensor.into(), new);
    safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

fn set(at: usize, number: f32) -> impl Fn(&mut [f32]) {
    move |numbers| numbers[at] = number
}

fn run(model: &Path, arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    program.arg(arguments[0]).arg(model).args(&arguments[1..]).output().unwrap()
}

/// What `command` says on standard error of a model's numbers.
fn said(model: &Path, arguments: &[&str]) -> String {
    let output = run(model, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter(|line| line.contains("finite") || line.contains("no number"));
    lines.collect::<Vec<_>>().join("\n")
}

const SHOW: [&str; 5] = ["show", "--ids", "3,4,5,4", "--head", "1.0"];

fn trace(model: &Path) -> String {
    let out = model.join("out");
    said(model, &["trace", "--ids", "3,4,5,4", "--out", out.to_str().unwrap()])
}

#[test]
fn the_first_step_token_and_tensor_are_named() {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    for (fixture, tensor, at, number, step, place) in [
        (
            "llama3-rope",
            "model.embed_tokens.weight",
            5 * 32 + 7,
            nan,
            "the embedding at token 2 (#5)",
            "[5, 7]",
        ),
        (
            "llama3-rope",
            "model.layers.1.self_attn.q_proj.weight",
            33,
            nan,
            "layer 1's queries at token 0 (#3)",
            "[1, 1]",
        ),
        ("llama3-rope", "model.layers.0.self_attn.k_proj.weight", 0, inf, "layer 0's keys", "[0, 0]"),
        ("llama3-rope", "model.layers.1.self_attn.v_proj.weight", 70, nan, "layer 1's values", "[2, 6]"),
        (
            "llama3-rope",
            "model.layers.0.self_attn.o_proj.weight",
            64,
            nan,
            "what layer 0's attention writes",
            "[1, 0]",
        ),
        ("llama3-rope", "model.layers.1.mlp.down_proj.weight", 57, nan, "layer 1's MLP", "[1, 1]"),
        ("llama3-rope", "model.layers.1.mlp.gate_proj.weight", 3, nan, "layer 1's MLP", "[0, 3]"),
        (
            "llama3-rope",
            "model.layers.1.input_layernorm.weight",
            3,
            inf,
            "layer 1's normalisation before attention",
            "[3]",
        ),
        (
            "llama3-rope",
            "model.layers.0.post_attention_layernorm.weight",
            3,
            nan,
            "layer 0's normalisation before the MLP",
            "[3]",
        ),
        ("gpt2", "transformer.wpe.weight", 36, nan, "the embedding at token 1 (#4)", "[1, 0]"),
        ("gpt2", "transformer.h.1.attn.c_attn.weight", 108, inf, "layer 1's queries", "[1, 0]"),
        ("gpt2", "transformer.h.1.attn.c_attn.bias", 40, nan, "layer 1's keys", "[40]"),
    ] {
        let model = spoilt(fixture, tensor, set(at, number));
        let expected = format!("numbers stop being finite in {step}");
        let holds = format!("`{tensor}` holds {number} at {place}");
        for said in [said(model.path(), &SHOW), trace(model.path())] {
            assert!(said.starts_with(&expected) && said.contains(&holds), "{tensor}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn what_only_logits_show_is_told_where_there_are_logits() {
    for (tensor, at, step) in
        [("lm_head.weight", 40, "the unembedding"), ("model.norm.weight", 5, "the last normalisation")]
    {
        let model = spoilt("llama3-rope", tensor, set(at, f32::NAN));
        assert_eq!(said(model.path(), &SHOW), "");
        let said = trace(model.path());
        assert!(
            said.starts_with(&format!("numbers stop being finite in {step}: `{tensor}` holds NaN")),
            "{said}"
        );
    }
}

#[test]
fn a_ranking_says_where_it_begins() {
    let model = spoilt("llama3-rope", "model.layers.0.mlp.up_proj.weight", set(9, f32::NAN));
    let said = said(model.path(), &["rank", "--length", "5", "--bos", "off"]);
    assert!(said.contains("from 1.0 on, is no number\nnumbers stop being finite in layer 0's MLP"), "{said}");
    assert!(said.contains("`model.layers.0.mlp.up_proj.weight` holds NaN at [0, 9]"), "{said}");
}

#[test]
fn what_grows_too_large_and_what_a_type_cannot_hold_are_told_apart() {
    let large = |numbers: &mut [f32]| numbers.iter_mut().for_each(|number| *number = 2e38);
    let model = spoilt("llama3-rope", "model.layers.0.mlp.up_proj.weight", large);
    let said_of_all = said(model.path(), &SHOW);
    assert!(said_of_all.contains("no weight there is NaN or infinite"), "{said_of_all}");
    let model = spoilt("llama3-rope", "model.layers.0.self_attn.v_proj.weight", set(2, 70_000.0));
    assert_eq!(said(model.path(), &SHOW), "");
    let half = said(model.path(), &[&SHOW[..], &["--dtype", "f16"]].concat());
    assert!(half.contains("v_proj.weight` holds 70000 at [0, 2], more than f16 can hold"), "{half}");
}

#[test]
fn sound_models_and_what_a_prompt_does_not_reach_say_nothing() {
    let unused = spoilt("llama3-rope", "model.embed_tokens.weight", set(90 * 32, f32::NAN));
    let sound = spoilt("llama3-rope", "model.norm.weight", |_| ());
    for model in [unused, sound] {
        assert_eq!(said(model.path(), &SHOW) + &trace(model.path()), "");
    }
    let broken = spoilt("llama3-rope", "model.embed_tokens.weight", set(3 * 32, f32::NAN));
    assert_eq!(said(broken.path(), &[&SHOW[..], &["-q"]].concat()), "");
}

#[test]
fn the_explorer_says_it_too() {
    // The last is that of a token which is not in the prompt and comes behind it.
    for (tensor, at, query, step) in [
        ("model.layers.1.mlp.up_proj.weight", 0, 2, "layer 1's MLP"),
        ("lm_head.weight", 0, 2, "the unembedding"),
        ("model.embed_tokens.weight", 90 * 32, 3, "the embedding at token 3 (#90)"),
    ] {
        let folder = spoilt("llama3-rope", tensor, set(at, f32::NAN));
        let model = Some(folder.path().display().to_string());
        let engine = Engine::spawn(OpenRequest { model, ..OpenRequest::default() });
        let look = Look { head: Head::new(0, 1), query, fits: (8, 8), pool: Pool::Max };
        engine.send(Request::Prompt { epoch: 1, input: PromptInput::Ids(vec![3, 4, 5]), bos: Bos::Off });
        engine.send(Request::Append { epoch: 2, token: Some(90) });
        engine.send(Request::Look { epoch: 2, look });
        let mut notes = Vec::new();
        loop {
            match engine.events.recv_timeout(Duration::from_secs(60)).unwrap() {
                Event::Note(note) if note.contains("finite") => notes.push(note),
                Event::Explanation { .. } => break,
                Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
                _ => {}
            }
        }
        assert!(notes.len() == 1 && notes[0].contains(step) && notes[0].contains(tensor), "{notes:?}");
    }
}
