//! The app while a model is being opened: what it says, what it asks, and how it is left.

use attnscope::{
    app::Effect,
    engine::protocol::{Download, Event, PromptInput, Request, Transfer, TransferState},
};

use crate::common::{Bench, Engine};

/// A download of one file, of which so many bytes are here.
fn download(done: u64) -> Event {
    let file = Transfer { name: "model.gguf".into(), done, total: 100, state: TransferState::Running };
    Event::Download(Download { files: vec![file], speed: None, note: None })
}

#[test]
fn a_question_is_answered_by_its_keys_alone() {
    for (keys, answer) in [("y", true), ("n", false), ("<Esc>", false), ("?y<Esc>y", true)] {
        let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
        bench.keys("yn");
        bench.event(Event::Question("Download 4.1 GB?".into()));
        bench.shows("Download 4.1 GB?");
        bench.shows("y yes   n no   q quit");
        bench.keys("<Enter>j");
        assert_eq!(bench.sent, []);
        bench.keys(keys);
        assert_eq!(bench.sent, [Request::Answer(answer)], "{keys}");
        bench.hides("4.1 GB");
        bench.keys("ynq");
        assert_eq!((bench.sent.len(), &bench.effects[..]), (1, &[Effect::Quit(0)][..]));
    }
}

#[test]
fn loading_is_left_at_once() {
    let quits = |keys: &str| {
        let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
        bench.shows("q quit");
        bench.event(download(1));
        bench.shows("q stops; what is here is kept");
        bench.keys(keys);
        bench.effects
    };
    assert_eq!(quits("q"), [Effect::Quit(0)]);
    assert_eq!(quits("<C-c>"), [Effect::Quit(130)]);
    assert_eq!(quits("?<C-c>"), [Effect::Quit(130)]);
    assert_eq!(quits(":<C-c>"), [Effect::Quit(130)]);
    assert_eq!(quits("?q<Esc>"), []);
}

#[test]
fn what_was_said_while_loading_can_be_read_afterwards() {
    let mut bench = Bench::loading(120, 40, Engine::new(2, 8, true));
    bench.event(Event::Note("1 file, 100 B".into()));
    bench.event(download(50));
    bench.event(Event::Note("offline: what is here is used".into()));
    bench.shows("50 of 100 B");
    bench.progress(1_000_000, 2_000_000);
    bench.shows("reading weights 1.0 of 2.0 MB");
    bench.hides("100 B,");
    bench.hides("what is here is kept");
    bench.event(Event::Opened(bench.engine.info.clone().into()));
    bench.shows("offline: what is here is used");
    bench.hides("1 file, 100 B");
    bench.keys("h");
    bench.hides("offline");
    bench.event(Event::Note("a word later".into()));
    bench.shows("a word later");
}

#[test]
fn news_that_are_none_draw_nothing() {
    let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
    let question = Event::Question("Go on?".into());
    for event in [download(1), download(2), Event::Note("a note".into()), question] {
        bench.app.take_dirty();
        bench.event(event.clone());
        assert!(bench.app.take_dirty(), "{event:?}");
        bench.event(event.clone());
        assert!(!bench.app.take_dirty(), "{event:?}");
    }
}

#[test]
fn a_default_prompt_that_does_not_fit_gives_way_to_a_short_one() {
    let prompts = |bench: &Bench| {
        let prompt = |request: &Request| match request {
            Request::Prompt { input, .. } => Some(input.clone()),
            _ => None,
        };
        bench.sent.iter().filter_map(prompt).collect::<Vec<_>>()
    };
    let refused =
        || Event::Failed { message: "the prompt has 34 tokens, but the model's context is 32".into() };
    let mut bench = Bench::loading(80, 24, Engine::new(2, 8, true));
    bench.slow = true;
    bench.event(Event::Opened(bench.engine.info.clone().into()));
    bench.event(refused());
    assert!(
        matches!(prompts(&bench)[..], [PromptInput::Text(_), PromptInput::Ids(_)]),
        "{:?}",
        prompts(&bench)
    );
    bench.hides("34 tokens");
    // A second refusal is told, and what was refused can be edited.
    bench.event(refused());
    bench.shows("34 tokens");
    assert_eq!(prompts(&bench).len(), 2);
}
