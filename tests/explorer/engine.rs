//! The engine behind its channels, on a real model: what is asked is answered, in order, and nothing stale or half done.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use attnscope::{
    engine::{
        Engine,
        open::OpenRequest,
        protocol::{Bos, Candidate, Event, HeadView, Look, Pool, PromptInput, RankSettings, Request, Token},
    },
    head::Head,
};

use crate::waiting::{PATIENCE, wait};

fn spawn(model: &str) -> Engine {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(model);
    let engine =
        Engine::spawn(OpenRequest { model: Some(path.display().to_string()), ..OpenRequest::default() });
    wait(&engine, |event| matches!(event, Event::Opened(_)).then_some(()));
    engine
}

fn tokens(engine: &Engine, wanted: u64) -> (Arc<[Token]>, usize) {
    wait(engine, |event| match event {
        Event::Tokens { epoch, tokens, prompt } if *epoch == wanted => Some((tokens.clone(), *prompt)),
        Event::Failed { message } => panic!("{message}"),
        _ => None,
    })
}

fn prompt(epoch: u64, ids: &[u32]) -> Request {
    Request::Prompt { epoch, input: PromptInput::Ids(ids.to_vec()), bos: Bos::Auto }
}

fn look(query: usize) -> Look {
    Look { head: Head::new(1, 2), query, fits: (4, 4), pool: Pool::Max }
}

fn view(engine: &Engine) -> Arc<HeadView> {
    wait(engine, |event| match event {
        Event::Head { view, .. } => Some(view.clone()),
        _ => None,
    })
}

fn failure(engine: &Engine) -> String {
    wait(engine, |event| match event {
        Event::Failed { message } => Some(message.clone()),
        _ => None,
    })
}

fn ids(tokens: &[Token]) -> Vec<u32> {
    tokens.iter().map(|token| token.id).collect()
}

#[test]
fn a_prompt_is_run_looked_at_and_stepped() {
    let engine = spawn("llama-gqa");
    engine.send(prompt(1, &[5, 9, 7, 5, 9, 3]));
    let (run, length) = tokens(&engine, 1);
    assert_eq!((ids(&run), length), (vec![5, 9, 7, 5, 9, 3], 6));

    engine.send(Request::Look { epoch: 1, look: look(4) });
    let seen = view(&engine);
    assert_eq!((seen.row.len(), seen.column.len()), (5, 2));
    assert!((seen.row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(seen.column[0], seen.row[4]);
    assert_eq!((seen.map.tokens, seen.map.pooled, seen.map.side), (6, 2, 3));
    let best = wait(&engine, |event| match event {
        Event::Candidates { query: 4, top, unablated: None, .. } => Some(top.clone()),
        _ => None,
    });
    assert!(best.windows(2).all(|pair| pair[0].probability >= pair[1].probability));
    let explanation = wait(&engine, |event| match event {
        Event::Explanation { explanation, .. } => Some(explanation.clone()),
        _ => None,
    });
    assert_eq!(explanation.strongest.1, seen.row.iter().copied().fold(0.0, f32::max));

    // On by the most probable token, then back out of it.
    engine.send(Request::Look { epoch: 1, look: look(5) });
    let best = wait(&engine, |event| match event {
        Event::Candidates { query: 5, top, .. } => Some(top[0].token.id),
        _ => None,
    });
    engine.send(Request::Append { epoch: 2, token: None });
    let (longer, length) = tokens(&engine, 2);
    assert_eq!((longer.len(), length, longer[6].id), (7, 6, best));
    engine.send(Request::Truncate { epoch: 3, length: 6 });
    assert_eq!(ids(&tokens(&engine, 3).0), ids(&run));
    engine.send(Request::Look { epoch: 3, look: look(4) });
    assert_eq!(view(&engine).row, seen.row);
}

#[test]
fn an_ablated_head_changes_the_candidates_and_comes_back() {
    let engine = spawn("llama-tied-mqa");
    let candidates = |epoch| {
        engine.send(Request::Look { epoch, look: look(3) });
        wait(&engine, |event| match event {
            Event::Candidates { epoch: of, top, unablated, .. } if *of == epoch => {
                Some((top.clone(), unablated.clone()))
            }
            _ => None,
        })
    };
    engine.send(prompt(1, &[5, 9, 7, 5]));
    tokens(&engine, 1);
    let (whole, none) = candidates(1);
    assert!(none.is_none());
    engine.send(Request::Ablate { epoch: 2, heads: BTreeSet::from([Head::new(0, 1)]) });
    tokens(&engine, 2);
    let (without, beside) = candidates(2);
    assert_eq!(beside.unwrap(), whole);
    assert_ne!(without, whole);
    engine.send(Request::Ablate { epoch: 3, heads: BTreeSet::new() });
    tokens(&engine, 3);
    let (again, none) = candidates(3);
    assert!(none.is_none());
    for (again, whole) in again.iter().zip(whole.iter()) {
        assert_eq!(again.token, whole.token);
        assert!((again.probability - whole.probability).abs() < 1e-5);
    }
}

#[test]
fn what_the_model_says_with_no_head_ablated_is_told_of_every_token() {
    for (model, head) in [("llama-tied-mqa", Head::new(0, 1)), ("llama-dynamic", Head::new(1, 0))] {
        let engine = spawn(model);
        let candidates = |epoch, query| {
            engine.send(Request::Look { epoch, look: Look { query, ..look(query) } });
            wait(&engine, |event| match event {
                Event::Candidates { epoch: of, top, unablated, .. } if *of == epoch => {
                    Some((top.clone(), unablated.clone()))
                }
                Event::Failed { message } => panic!("{message}"),
                _ => None,
            })
        };
        // The end of a prompt that grows, is shortened and grows otherwise, over the length at which the rotation changes.
        let mut prompts: Vec<Vec<u32>> = vec![(0..14).map(|at| 3 + at * 7 % 40).collect()];
        let next = |ids: &[u32], id| [ids, &[id]].concat();
        for id in [9, 5, 40] {
            prompts.push(next(&prompts[prompts.len() - 1], id));
        }
        prompts.push(prompts[2].clone());
        prompts.push(next(&prompts[2], 11));
        let mut whole = Vec::new();
        for (epoch, ids) in (1..).zip(&prompts) {
            engine.send(prompt(epoch, ids));
            tokens(&engine, epoch);
            whole.push(candidates(epoch, ids.len() - 1).0);
        }
        engine.send(prompt(10, &prompts[0]));
        engine.send(Request::Ablate { epoch: 11, heads: BTreeSet::from([head]) });
        engine.send(Request::Append { epoch: 12, token: Some(9) });
        engine.send(Request::Append { epoch: 13, token: Some(5) });
        engine.send(Request::Append { epoch: 14, token: Some(40) });
        engine.send(Request::Truncate { epoch: 15, length: prompts[2].len() });
        engine.send(Request::Append { epoch: 16, token: Some(11) });
        tokens(&engine, 16);
        let (without, beside) = candidates(16, prompts[5].len() - 1);
        assert!(same(&beside.unwrap(), &whole[5]) && !same(&without, &whole[5]), "{model}");
        let (_, beside) = candidates(16, prompts[1].len() - 1);
        assert!(same(&beside.unwrap(), &whole[1]) || model == "llama-dynamic", "{model}");
        engine.send(Request::Ablate { epoch: 17, heads: BTreeSet::new() });
        tokens(&engine, 17);
        let (again, none) = candidates(17, prompts[5].len() - 1);
        assert!(none.is_none() && same(&again, &whole[5]), "{model}");
    }
}

/// Whether the best ten candidates are the same, but for rounding.
fn same(one: &[Candidate], other: &[Candidate]) -> bool {
    one.iter()
        .zip(other)
        .take(10)
        .all(|(one, other)| one.token == other.token && (one.probability - other.probability).abs() < 1e-5)
}

#[test]
fn a_ranking_goes_on_while_the_prompt_is_walked() {
    let engine = spawn("gpt2");
    engine.send(prompt(1, &[5, 9, 7, 5]));
    tokens(&engine, 1);
    engine.send(Request::Rank(RankSettings { length: 8, batch: 3, ..RankSettings::default() }));
    for query in [0, 1, 2, 3] {
        engine.send(Request::Look { epoch: 1, look: look(query) });
    }
    let (mut last_query, mut finished, mut explained) = (0, false, false);
    while !(finished && explained) {
        match engine.events.recv_timeout(PATIENCE).expect("the engine answers") {
            Event::Ranking { done, total, scores, .. } => {
                assert_eq!(scores.len(), 2 * 3);
                finished = done == total;
            }
            Event::Head { view, .. } => last_query = view.look.query,
            Event::Explanation { explanation, .. } => explained = explanation.query == 3,
            Event::Failed { message } => panic!("{message}"),
            _ => {}
        }
    }
    assert_eq!(last_query, 3);
    // One that would take hours is stopped, and the engine is free again.
    engine.send(Request::Rank(RankSettings { length: 8, batch: 10_000_000, ..RankSettings::default() }));
    engine.send(Request::StopRanking);
    wait(&engine, |event| matches!(event, Event::RankingStopped).then_some(()));
    engine.send(Request::Look { epoch: 1, look: look(1) });
    assert_eq!(view(&engine).look.query, 1);
    assert!(engine.events.try_iter().all(|event| !matches!(event, Event::Ranking { .. })), "it still runs");
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let engine = spawn("llama-gqa");
    let vocabulary = 96;
    engine.send(prompt(1, &[5, 9]));
    tokens(&engine, 1);
    engine.send(prompt(2, &[5, 100_000]));
    assert!(failure(&engine).contains("token 100000"));
    engine.send(prompt(3, &[]));
    assert!(failure(&engine).contains("empty"));
    engine.send(prompt(4, &vec![1; 100_000]));
    assert!(failure(&engine).contains("context"));
    let text = PromptInput::Text("hello".into());
    engine.send(Request::Prompt { epoch: 5, input: text, bos: Bos::Auto });
    assert!(failure(&engine).contains("tokenizer"));
    engine.send(Request::Ablate { epoch: 6, heads: BTreeSet::from([Head::new(9, 9)]) });
    assert!(failure(&engine).contains("9.9"));
    engine.send(Request::Look { epoch: 1, look: look(1) });
    assert_eq!(view(&engine).row.len(), 2, "of {vocabulary} tokens");
}

#[test]
fn another_model_takes_the_place_of_the_first_or_the_first_stays() {
    let engine = spawn("gpt2");
    let open = |model: &str| {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(model);
        engine.send(Request::Open { model: Some(path.display().to_string()) });
    };
    engine.send(prompt(1, &[5, 9, 5]));
    engine.send(Request::Rank(RankSettings { length: 8, batch: 1_000_000, ..RankSettings::default() }));
    open("nowhere");
    assert!(failure(&engine).contains("nowhere does not exist"));
    open("llama-gqa");
    let info = wait(&engine, |event| match event {
        Event::Opened(info) => Some(info.clone()),
        _ => None,
    });
    assert_eq!(info.name, "llama-gqa");
    assert!(engine.events.try_iter().all(|event| !matches!(event, Event::Ranking { .. })), "it still ranks");
    engine.send(Request::Look { epoch: 1, look: look(1) });
    engine.send(prompt(2, &[5, 9]));
    assert_eq!(ids(&tokens(&engine, 2).0), [5, 9]);
    engine.send(Request::Look { epoch: 2, look: look(1) });
    assert_eq!(view(&engine).row.len(), 2);
}

#[test]
fn a_model_that_cannot_be_opened_is_fatal() {
    let engine = Engine::spawn(OpenRequest { model: Some("/nowhere".into()), ..OpenRequest::default() });
    let message = wait(&engine, |event| match event {
        Event::Fatal { message } => Some(message.clone()),
        _ => None,
    });
    assert!(message.contains("/nowhere does not exist"), "{message}");
}

#[test]
fn dropping_the_engine_ends_it() {
    let engine = spawn("gpt2");
    engine.send(Request::Rank(RankSettings { length: 8, batch: 1_000_000, ..RankSettings::default() }));
    let events = engine.events.clone();
    drop(engine);
    while events.try_recv().is_ok() {}
    assert!(events.recv().is_err(), "the engine's end of the channel is closed");
}

#[test]
fn what_is_said_of_a_head_is_what_its_ablation_does() {
    let engine = spawn("llama-gqa");
    let head = Head::new(0, 1);
    // No token comes twice, so that what is followed is the most probable one.
    engine.send(prompt(1, &[5, 9, 7, 11, 40, 3]));
    tokens(&engine, 1);
    for query in [2, 4, 5] {
        let look = Look { head, query, ..look(query) };
        engine.send(Request::Look { epoch: 1, look });
        let explanation = wait(&engine, |event| match event {
            Event::Explanation { explanation, .. } if explanation.query == query => Some(explanation.clone()),
            _ => None,
        });
        let influence = explanation.influence.clone().unwrap();
        engine.send(Request::Ablate { epoch: 2, heads: BTreeSet::from([head]) });
        engine.send(Request::Look { epoch: 2, look });
        let ablated = wait(&engine, |event| match event {
            Event::Candidates { query: of, top, unablated: Some(_), .. } if *of == query => Some(top.clone()),
            _ => None,
        });
        let told = ablated.iter().find(|candidate| candidate.token == influence.target);
        let told = told.unwrap_or_else(|| panic!("token {query}: not among the best"));
        let difference = (told.probability - influence.without).abs();
        assert!(difference < 1e-6, "token {query}: {} and {}", told.probability, influence.without);
        assert!((influence.probability - influence.without).abs() > 1e-6, "it makes no difference");
        engine.send(Request::Ablate { epoch: 1, heads: BTreeSet::new() });
    }
}
