//! The engine's circuits, on real models: the same numbers as the functions that the command line prints, in steps that give
//! way.

use std::{path::PathBuf, sync::Arc};

use attnscope::{
    analysis::circuits::{
        bigram,
        composition::{Composition, DRAWS},
        corner,
        factors::Embedding,
        position::{self, Average},
        spectrum::{self, Ends},
        terms,
        trigram::Expanded,
    },
    checkpoint::progress::Nobody,
    engine::{
        Engine,
        open::{Model, OpenRequest},
        protocol::{
            Bos, Event, Look, Pool, PromptInput, Request,
            circuits::{Ask, Circuit, Facts, Kind, News, Role},
        },
    },
    head::Head,
    model::decoder::{Control, Pass},
};

use crate::waiting::wait;

const FREE: Control<'_> = Control::FREE;
const WHICH: Embedding = Embedding::Effective;

fn request(model: Option<&str>) -> OpenRequest {
    let path = |model| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(model);
    OpenRequest { model: model.map(|model| path(model).display().to_string()), ..OpenRequest::default() }
}

fn engine(model: Option<&str>) -> Engine {
    let engine = Engine::spawn(request(model));
    wait(&engine, |event| matches!(event, Event::Opened(_)).then_some(()));
    engine
}

/// The last answer to an ask.
fn ask(engine: &Engine, ask: &Ask) -> Result<Arc<Circuit>, String> {
    engine.send(Request::Circuits(ask.clone()));
    wait(engine, |event| match event {
        Event::Circuits { ask: of, news: News::Answer(answer) } if of == ask => match answer {
            Ok(circuit) if matches!(circuit.facts, Facts::Trigrams { bugs: None, .. }) => None,
            answer => Some(answer.clone()),
        },
        _ => None,
    })
}

fn prompt(engine: &Engine, epoch: u64, ids: &[u32]) {
    engine.send(Request::Prompt { epoch, input: PromptInput::Ids(ids.to_vec()), bos: Bos::Auto });
    wait(engine, |event| matches!(event, Event::Tokens { epoch: of, .. } if *of == epoch).then_some(()));
}

fn look(engine: &Engine, query: usize) {
    let look = Look { head: Head::new(1, 2), query, fits: (4, 4), pool: Pool::Max };
    engine.send(Request::Look { epoch: 1, look });
}

#[test]
fn views_of_heads_are_those_of_the_headless_functions() {
    for name in [None, Some("attn-only"), Some("gpt2"), Some("llama-gqa")] {
        let model = Model::open(&request(name), &Nobody).unwrap();
        let (decoder, info) = (&model.decoder, &model.info);
        let engine = engine(name);
        let facts = |wanted: &Ask| ask(&engine, wanted).unwrap();

        let ends = Ends::of(decoder, WHICH, &FREE).unwrap();
        let circuit = facts(&Ask::Copying);
        let Facts::Copying { spectra, order } = &circuit.facts else { panic!() };
        assert_eq!(*spectra, spectrum::ov_spectra(decoder, &ends, &FREE).unwrap(), "{name:?}");
        let score = |head: &Head| spectra[*head].positivity();
        assert!(order.is_sorted_by(|a, b| score(a) >= score(b)), "{order:?}");

        let circuit = facts(&Ask::Composition);
        let Facts::Composition { scores, edges } = &circuit.facts else { panic!() };
        let expected = Composition::of(decoder, 0, DRAWS, &FREE).unwrap();
        assert_eq!(scores.baseline, expected.baseline);
        for kind in Kind::ALL {
            let all = expected.edges(kind, None, 500);
            assert_eq!(edges[kind as usize], all, "{name:?}");
            assert!(!all.is_empty());
        }

        let circuit = facts(&Ask::Positions);
        let Facts::Positions { profiles, .. } = &circuit.facts else { panic!() };
        let tokens = 64.min(info.context);
        for layer in 0..info.layers {
            let average = Average::of(decoder, WHICH.of_layer(layer), &FREE).unwrap();
            let expected = position::profiles(decoder, &average, layer, tokens).unwrap();
            for (head, expected) in expected.iter().enumerate() {
                assert_eq!(profiles[Head::new(layer, head)], *expected, "{name:?}");
            }
        }

        let circuit = facts(&Ask::Corner);
        let Facts::Corner { points } = &circuit.facts else { panic!() };
        assert_eq!(points.len(), (info.layers - 1) * info.heads);
        assert!(points.iter().all(|point| (point.copying - score(&point.head)).abs() < 1e-12), "{name:?}");
        let mut sorted = points.clone();
        corner::sort(&mut sorted);
        assert_eq!(sorted, *points);
    }
}

#[test]
fn views_of_tokens_are_those_of_the_headless_functions() {
    for name in [None, Some("gpt2"), Some("llama-gqa")] {
        let decoder = Model::open(&request(name), &Nobody).unwrap().decoder;
        let engine = engine(name);
        let token = PromptInput::Ids(vec![5]);
        let circuit = ask(&engine, &Ask::Bigram { token: token.clone() }).unwrap();
        let Facts::Bigram { next, .. } = &circuit.facts else { panic!() };
        let got: Vec<_> = next.iter().map(|next| (next.token.id, next.logit, next.probability)).collect();
        let expected = bigram::bigram(&decoder, WHICH, 5, 64).unwrap();
        assert_eq!(
            got,
            expected.iter().map(|next| (next.id, next.logit, next.probability)).collect::<Vec<_>>()
        );

        let head = Head::new(1, 1);
        let expanded = Expanded::of(&decoder, head, WHICH, &FREE).unwrap();
        let asks = Role::ALL.map(|role| Some((token.clone(), role)));
        for token in asks.into_iter().chain([None]) {
            let circuit = ask(&engine, &Ask::Trigrams { head, token: token.clone() }).unwrap();
            let Facts::Trigrams { rows, bugs: Some(_), .. } = &circuit.facts else { panic!() };
            let expected = match token {
                Some((_, role)) => expanded.with(role, 5, 24),
                None => expanded.strongest(24, 1, &FREE),
            };
            let expected = expected.unwrap();
            let pairs = expected.iter().flat_map(|found| found.pairs().map(|(b, c)| (found.source, b, c)));
            let pairs: Vec<_> = pairs.map(|(a, b, c)| (a, b.id, b.value, c.id, c.value)).collect();
            let rows = rows.iter();
            let rows: Vec<_> = rows
                .map(|row| (row.source.id, row.destination.id, row.attention, row.out.id, row.logit))
                .collect();
            assert_eq!(rows, pairs, "{name:?}");
        }
    }
}

#[test]
fn terms_are_of_the_query_token_and_of_the_whole_model() {
    let model = Model::open(&request(None), &Nobody).unwrap();
    let engine = engine(None);
    let ids = [5, 9, 7, 5, 9, 7, 5];
    prompt(&engine, 1, &ids);
    let terms_at = |epoch, query| match &ask(&engine, &Ask::Terms { epoch, query }).unwrap().facts {
        Facts::Terms { token, target, terms } => (token.id, target.id, terms.clone()),
        other => panic!("{other:?}"),
    };
    let mut trace = model.decoder.trace();
    model.decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
    let expansion = terms::Expansion::of(&model.decoder, &trace, &FREE).unwrap();
    let whole = terms_at(1, 4);
    assert_eq!(whole, (9, 7, expansion.over(4..5, &[7]).unwrap()));
    // After the last token, the model's own choice; all terms together give the model's probability.
    look(&engine, 6);
    let best = wait(&engine, |event| match event {
        Event::Candidates { query: 6, top, .. } => Some(top[0].clone()),
        _ => None,
    });
    let (_, target, last) = terms_at(1, 6);
    assert_eq!(target, best.token.id);
    assert!((last.losses[2] + f64::from(best.probability).ln()).abs() < 1e-3, "{last:?} {best:?}");
    // Ablated heads are counted in.
    engine.send(Request::Ablate { epoch: 2, heads: [Head::new(0, 3)].into() });
    assert!((terms_at(2, 4).2.losses[2] - whole.2.losses[2]).abs() < 1e-5);
    // Of a prompt that is gone nothing is told.
    engine.send(Request::Circuits(Ask::Terms { epoch: 1, query: 4 }));
    wait(&engine, |event| matches!(event, Event::Circuits { news: News::Stopped, .. }).then_some(()));
}

#[test]
fn what_cannot_be_computed_is_said() {
    let engine = engine(Some("llama-gqa"));
    prompt(&engine, 1, &[5, 9, 7]);
    let problem = |wanted: Ask| ask(&engine, &wanted).unwrap_err();
    assert!(problem(Ask::Terms { epoch: 1, query: 1 }).contains("attention-only"));
    assert!(problem(Ask::Bigram { token: PromptInput::Ids(vec![1, 2]) }).contains("one token"));
    assert!(problem(Ask::Bigram { token: PromptInput::Ids(vec![1_000_000]) }).contains("1000000"));
    assert!(problem(Ask::Bigram { token: PromptInput::Text("a".into()) }).contains("tokenizer"));
}

#[test]
fn work_gives_way_goes_on_and_is_stopped() {
    let engine = engine(None);
    prompt(&engine, 1, &[5, 9, 7, 5]);
    // A look that comes in between is answered, and the work comes to its end all the same.
    engine.send(Request::Circuits(Ask::Corner));
    look(&engine, 3);
    wait(&engine, |event| matches!(event, Event::Head { view, .. } if view.look.query == 3).then_some(()));
    // One view in the place of another, and back.
    engine.send(Request::Circuits(Ask::Positions));
    engine.send(Request::Circuits(Ask::Copying));
    assert!(ask(&engine, &Ask::Corner).is_ok());
    assert!(ask(&engine, &Ask::Positions).is_ok());
    // Stopped, it tells so and says nothing more.
    engine.send(Request::Circuits(Ask::Trigrams { head: Head::new(1, 1), token: None }));
    wait(&engine, |event| matches!(event, Event::Circuits { news: News::Working(_), .. }).then_some(()));
    engine.send(Request::StopCircuits);
    wait(&engine, |event| matches!(event, Event::Circuits { news: News::Stopped, .. }).then_some(()));
    look(&engine, 1);
    wait(&engine, |event| match event {
        Event::Circuits { .. } => panic!("it still works"),
        Event::Head { .. } => Some(()),
        _ => None,
    });
}
