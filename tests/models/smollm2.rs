//! A real model, SmolLM2-135M-Instruct as GGUF (`ATTNSCOPE_SMOLLM2` is its path), against values that the well-known
//! Python implementation computed from the same file (`tests/reference/smollm2.py`).

use std::collections::{BTreeMap, BTreeSet};

use attnscope::{
    analysis::{
        benchmark::{Kind, RankSettings},
        doubt::Ranks,
        explain,
        rank::{self, Tally},
        score::{HeadScores, Score},
    },
    checkpoint::progress::Nobody,
    engine::{
        open::{Model, OpenRequest},
        protocol::{Bos, PromptInput},
    },
    head::{Head, PerHead},
    model::{
        decoder::{Control, Pass},
        place::DtypeChoice,
    },
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    prompt: String,
    ids: Vec<u32>,
    /// The five most probable next tokens and their logits.
    top: Vec<(u32, f32)>,
    /// The last row of some heads' patterns.
    rows: BTreeMap<String, Vec<f32>>,
    sequences: Vec<Vec<u32>>,
    /// In the order of the heads in the model.
    induction: Vec<f32>,
    previous: Vec<f32>,
    duplicate: Vec<f32>,
    sink: Vec<f32>,
    /// The standard errors of these over the sequences, by the name of the score.
    errors: BTreeMap<String, Vec<f32>>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../fixtures/smollm2/reference.json")).unwrap()
}

fn open() -> Model {
    open_in(DtypeChoice::Auto)
}

fn open_in(dtype: DtypeChoice) -> Model {
    let path = std::env::var("ATTNSCOPE_SMOLLM2")
        .expect("ATTNSCOPE_SMOLLM2 must name SmolLM2-135M-Instruct.Q4_1.gguf, as in .ci/run");
    Model::open(&OpenRequest { model: Some(path), dtype, ..OpenRequest::default() }, &Nobody).unwrap()
}

#[test]
fn a_prompt_agrees_with_the_reference() {
    let (model, reference) = (open(), reference());
    let ids = model.encode(&PromptInput::Text(reference.prompt.clone()), Bos::Auto).unwrap();
    assert_eq!(ids, reference.ids);
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
    for (head, expected) in &reference.rows {
        let row = trace.row(head.parse::<Head>().unwrap(), ids.len() - 1).unwrap();
        for (weight, expected) in row.iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-4, "{head}: {weight} for {expected}");
        }
    }
    let last = trace.last.view().unwrap().narrow(0, ids.len() - 1, 1).unwrap();
    let logits: Vec<f32> = model.decoder.logits(&last).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let scale = logits.iter().fold(0.0f32, |scale, logit| scale.max(logit.abs()));
    for (id, expected) in &reference.top {
        let logit = logits[*id as usize];
        assert!((logit - expected).abs() < 2e-4 * scale, "token {id}: {logit} for {expected}");
    }
    assert_eq!(explain::strongest(&logits).0 as u32, reference.top[0].0);
}

fn ranking(model: &Model) -> PerHead<HeadScores> {
    tally(model).scores()
}

fn tally(model: &Model) -> Tally {
    let benchmark = model.benchmark(RankSettings::default()).unwrap();
    let draws: Vec<(Kind, usize)> = Kind::ALL
        .into_iter()
        .flat_map(|kind| (0..benchmark.draws(kind)).map(move |draw| (kind, draw)))
        .collect();
    let mut tally = Tally::new(model.info.layers, model.info.heads);
    tally.merge(rank::measure(&model.decoder, &benchmark, &draws, &Control::FREE).unwrap());
    tally
}

#[test]
fn a_ranking_agrees_with_the_reference() {
    let (model, reference) = (open(), reference());
    let benchmark = model.benchmark(RankSettings::default()).unwrap();
    let sequences: Vec<Vec<u32>> = (0..4).map(|draw| benchmark.sequence(Kind::Repeat, draw)).collect();
    assert_eq!(sequences, reference.sequences, "the draw of benchmark sequences has changed");
    let tally = tally(&model);
    let (scores, errors) = (tally.scores(), tally.errors());
    let expected = [
        (Score::Induction, &reference.induction),
        (Score::Previous, &reference.previous),
        (Score::Duplicate, &reference.duplicate),
        (Score::Sink, &reference.sink),
    ];
    for (score, expected) in expected {
        assert_eq!(scores.len(), expected.len());
        for ((head, scores), expected) in scores.iter().zip(expected) {
            let value = scores.get(score);
            assert!((value - expected).abs() < 1e-4, "{}, head {head}: {value} for {expected}", score.name());
        }
        for ((head, errors), expected) in errors.iter().zip(&reference.errors[score.name()]) {
            let error = errors.get(score);
            assert!(
                (error - expected).abs() < 1e-5,
                "error of {}, head {head}: {error} for {expected}",
                score.name()
            );
        }
    }
}

#[test]
fn leaders_that_change_places_with_the_seed_are_not_told_apart() {
    let model = open();
    let doubts = tally(&model).doubts(&Score::ALL);
    let ranks = |head: Head, score| doubts[head].ranks(score).unwrap();
    for head in [Head::new(8, 0), Head::new(14, 3)] {
        assert_eq!(ranks(head, Score::Duplicate), Ranks { low: 1, high: 2 }, "{head}");
    }
    // By induction the first is told apart from the second, and so from all.
    assert_eq!(ranks(Head::new(18, 6), Score::Induction), Ranks::one(1));
    assert_eq!(ranks(Head::new(17, 3), Score::Induction).low, 2);
    assert!(doubts[Head::new(0, 0)].ranks(Score::Tl).is_none(), "of one sequence nothing is known");
}

#[test]
fn the_known_heads_lead() {
    let model = open();
    let scores = ranking(&model);
    let leaders = |score, count: usize| -> Vec<String> {
        let order = rank::order(&scores, score);
        order[..count].iter().map(Head::to_string).collect()
    };
    assert_eq!(leaders(Score::Induction, 3), ["18.6", "17.3", "17.4"]);
    assert_eq!(leaders(Score::Previous, 2), ["16.0", "11.1"]);
    let duplicates: BTreeSet<String> = leaders(Score::Duplicate, 2).into_iter().collect();
    assert_eq!(duplicates, BTreeSet::from(["8.0".to_string(), "14.3".to_string()]));
    for head in [Head::new(18, 6), Head::new(17, 3), Head::new(17, 4)] {
        assert!(scores[head].chance < 0.02, "{head} attends so without a repeat as well");
    }
}

#[test]
fn half_types_give_the_same_first_heads() {
    // The blocks of the file widen to f32 exactly.
    let exact = ranking(&open());
    for (dtype, bound) in [(DtypeChoice::F16, 0.01), (DtypeChoice::Bf16, 0.05)] {
        let rounded = ranking(&open_in(dtype));
        for score in [Score::Induction, Score::Previous] {
            let moved = rank::moved(&exact, &rounded, score, 10);
            assert_eq!((moved.same, moved.of), (10, 10), "{dtype:?}, {}", score.name());
            assert!(moved.largest > 0.0 && moved.largest < bound, "{dtype:?}: {moved:?}");
        }
    }
}
