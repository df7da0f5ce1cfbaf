//! The engine checks a model in the background.

use attnscope::{
    analysis::check::{Verdict, catalogue},
    engine::{
        Engine,
        open::OpenRequest,
        protocol::{Bos, CheckView, Event, PromptInput, Request},
    },
};

use crate::waiting::wait;

fn open(model: &str) -> Engine {
    Engine::spawn(OpenRequest { model: Some(model.to_owned()), ..OpenRequest::default() })
}

fn check(event: &Event) -> Option<CheckView> {
    match event {
        Event::Check(view) => Some((**view).clone()),
        _ => None,
    }
}

#[test]
fn a_check_goes_on_behind_a_prompt_until_it_is_done() {
    let engine = open("attn-2l");
    engine.send(Request::Check(catalogue::chosen(&["weights", "text", "inside"]).unwrap()));
    wait(&engine, |event| check(event).filter(|view| view.doing.is_some()));
    engine.send(Request::Prompt { epoch: 1, input: PromptInput::Text(" the door".into()), bos: Bos::Auto });
    let told = wait(&engine, |event| match event {
        Event::Check(view) if view.doing.is_none() => Some("check"),
        Event::Tokens { .. } => Some("tokens"),
        _ => None,
    });
    assert_eq!(told, "tokens", "a prompt does not wait for a check");
    let view = wait(&engine, |event| check(event).filter(|view| view.doing.is_none()));
    assert!(!view.stopped);
    let of = |id: &str| view.found.iter().find(|finding| finding.check == id).map(|finding| finding.verdict);
    assert_eq!(of("text.loss"), Some(Verdict::Ok));
    assert_eq!(of("repeats.gain"), None);
    assert!(view.found.iter().all(|finding| finding.verdict < Verdict::Fail), "{:?}", view.found);
}

#[test]
fn a_check_stops_and_another_model_ends_it() {
    let engine = open("attn-2l");
    engine.send(Request::Check(catalogue::ids()));
    wait(&engine, check);
    engine.send(Request::StopChecking);
    assert!(wait(&engine, |event| check(event).filter(|view| view.stopped)).doing.is_some());
    engine.send(Request::Check(catalogue::ids()));
    wait(&engine, check);
    engine.send(Request::Open { model: Some("bigram".into()) });
    wait(&engine, |event| matches!(event, Event::Opened(info) if info.layers == 0).then_some(()));
    // Nothing more is told of the model before: a stop finds nothing to stop.
    engine.send(Request::StopChecking);
    engine.send(Request::Prompt { epoch: 1, input: PromptInput::Text(" the door".into()), bos: Bos::Auto });
    let told = wait(&engine, |event| match event {
        Event::Check(_) => Some("check"),
        Event::Tokens { .. } => Some("tokens"),
        _ => None,
    });
    assert_eq!(told, "tokens");
}
