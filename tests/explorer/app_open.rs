//! Another model in the place of the one that is open: what stays and what goes.

use attnscope::engine::protocol::{Event, PromptInput, Request};

use crate::common::Bench;

fn open(bench: &mut Bench, model: &str) {
    bench.keys(&format!(":open<Space>{model}<Enter>"));
}

#[test]
fn the_prompt_the_head_and_what_is_ablated_stay() {
    let mut bench = Bench::new(120, 40);
    bench.keys(":prompt<Space>one<Space>two<Space>one<Enter>");
    bench.keys(":head<Space>1.5<Enter>xn");
    bench.sent.clear();
    open(&mut bench, "runs/step-100");
    bench.shows("runs/step-100");
    let prompts: Vec<&PromptInput> = bench
        .sent
        .iter()
        .filter_map(|request| match request {
            Request::Prompt { input, .. } => Some(input),
            _ => None,
        })
        .collect();
    let [PromptInput::Text(text)] = prompts[..] else { panic!("{prompts:?}") };
    assert!(text.starts_with("one two one") && text.len() > 11, "with what was generated: {text:?}");
    let ablated = |request: &&Request| matches!(request, Request::Ablate { heads, .. } if heads.len() == 1);
    assert!(bench.sent.iter().any(|request| ablated(&request)), "the new model is whole: {:?}", bench.sent);
    assert!(bench.sent.iter().any(|request| matches!(request, Request::Rank(_))));
    assert_eq!(bench.look().head.to_string(), "1.5");
}

#[test]
fn a_head_that_the_other_model_lacks_is_let_go() {
    let mut bench = Bench::new(80, 24);
    bench.keys(":head<Space>1.5<Enter>x");
    open(&mut bench, "small");
    assert_eq!(bench.look().head.layer, 0);
    bench.hides("ablated");
    open(&mut bench, "large");
    bench.shows("2 layers x 8 heads");
}

#[test]
fn a_model_without_layers_has_next_tokens_and_no_heads() {
    let mut bench = Bench::new(80, 24);
    open(&mut bench, "bigram");
    bench.shows("no layers, no heads");
    bench.shows("Next token");
    assert!(!matches!(bench.last(), Request::Rank(_)));
    for keys in ["r", "]i", "x", "t", "d", "y", "Y", "m", "<Down>", "<Tab>", "<Tab>zz", "2", "1", "nu"] {
        bench.keys(keys);
    }
    bench.keys("r");
    bench.shows("no heads to rank");
    bench.keys(":head<Space>0.0<Enter>");
    bench.shows("! a model without layers has no heads");
    open(&mut bench, "large");
    bench.shows("0.0 induction");
    bench.hides("ablated");
}

#[test]
fn a_model_that_cannot_be_opened_leaves_the_one_that_is() {
    let mut bench = Bench::new(80, 24);
    bench.slow = true;
    open(&mut bench, "nowhere");
    bench.shows("[opening]");
    bench.waiting.clear();
    bench.event(Event::Failed { message: "nowhere does not exist".into() });
    bench.slow = false;
    bench.keys("l");
    bench.hides("[opening]");
    bench.shows("attn-2l");
}
