//! The Circuits screen driven by keys: what it asks for, once, and what its keys move.

use attnscope::{
    app::Effect,
    engine::protocol::{
        Event, PromptInput, Request,
        circuits::{Ask, News, Role, Steps},
    },
    head::Head,
};

use crate::common::{Bench, Engine};

/// What was asked about circuits so far.
fn asked(bench: &Bench) -> Vec<Ask> {
    let asks = bench.sent.iter().filter_map(|request| match request {
        Request::Circuits(ask) => Some(ask.clone()),
        _ => None,
    });
    asks.collect()
}

fn copied(bench: &Bench) -> String {
    let text = bench.effects.iter().rev().find_map(|effect| match effect {
        Effect::Copy(text) => Some(text.clone()),
        _ => None,
    });
    text.unwrap()
}

#[test]
fn every_view_asks_once_and_only_when_it_is_looked_at() {
    let mut bench = Bench::new(80, 24);
    assert_eq!(asked(&bench), []);
    bench.keys("3");
    let [Ask::Bigram { token: PromptInput::Ids(ids) }] = &asked(&bench)[..] else {
        panic!("{:?}", bench.sent)
    };
    assert_eq!(ids.len(), 1);
    bench.shows("after \" Doctor\", the query token");
    bench.keys("<Tab><Tab><Tab><Tab><Tab><Tab>");
    let expected = [
        Ask::Trigrams { head: Head::new(1, 3), token: None },
        Ask::Copying,
        Ask::Positions,
        Ask::Composition,
        Ask::Corner,
        Ask::Terms { epoch: 1, query: 10 },
    ];
    assert_eq!(asked(&bench)[1..], expected);
    bench.keys("<Tab><Tab><S-Tab>[v]v13");
    assert_eq!(asked(&bench).len(), 7, "{:?}", asked(&bench));
    // Another query token is another bigram, and another line of terms.
    bench.keys("1h3<S-Tab>");
    assert_eq!(asked(&bench).len(), 9);
}

#[test]
fn the_head_is_the_explorers_and_enter_opens_what_the_cursor_is_on() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3<Tab><Tab>");
    bench.shows("eigenvalues of 1.3");
    bench.keys("l");
    assert_eq!(bench.look().head, Head::new(1, 4));
    bench.keys("[l");
    assert_eq!(bench.look().head, Head::new(0, 4));
    // The list is one of heads: its cursor is the head.
    bench.keys("gg");
    assert_eq!(bench.look().head, Head::new(1, 0));
    bench.keys("jj<Enter>");
    assert_eq!(bench.look().head, Head::new(1, 2));
    bench.shows("Pattern 1.2");
    bench.keys("3<Tab><Tab>");
    bench.shows("0.1 -> 1.3");
    bench.keys("<Enter>");
    bench.shows("Pattern 1.3");
    bench.keys("3G<Enter>");
    assert_ne!(bench.look().head, Head::new(1, 3));
}

#[test]
fn kinds_of_composition_and_roles_of_a_token_are_switched() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3<Tab>");
    bench.shows("the strongest sources");
    bench.keys("s");
    bench.shows("\" Doctor\" as source");
    bench.keys("s");
    bench.shows("as destination");
    bench.keys("s");
    bench.shows("as out");
    bench.keys("s");
    bench.shows("the strongest sources");
    bench.keys("<Tab><Tab><Tab>");
    bench.shows("K-composition");
    bench.keys("s");
    bench.shows("V-composition");
    bench.keys("s");
    bench.shows("Q-composition");
    bench.keys("<Tab>s");
    bench.shows("this view does not");
}

#[test]
fn a_token_is_typed_chosen_and_left() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3/<Space>keep<Enter>");
    bench.shows("after \" keep\"");
    bench.keys("<Tab>");
    bench.shows("the strongest sources");
    bench.keys("i<Space>keeper<Enter>");
    bench.shows("\" keeper\" as source");
    assert_eq!(
        asked(&bench).last().unwrap(),
        &Ask::Trigrams {
            head: Head::new(1, 3),
            token: Some((PromptInput::Text(" keeper".into()), Role::Source))
        }
    );
    bench.keys("<S-Tab>i<C-u>keep in<Enter>");
    bench.shows("one token is wanted");
    bench.keys("i<C-u><Enter>");
    bench.shows("the query token");
    // The next token's own next tokens.
    bench.keys("jj<Enter>");
    bench.hides("the query token");
    let Ask::Bigram { token } = asked(&bench).last().unwrap().clone() else { panic!() };
    assert_eq!(token, PromptInput::Ids(vec![3]));
    // Ids are typed where there is no tokenizer.
    let mut bench = Bench::with(80, 24, Engine::new(2, 8, false));
    bench.keys("3i17x<Enter>");
    bench.shows("`17x` is no token id");
    bench.keys("<Backspace><Enter>");
    bench.shows("after #17");
}

#[test]
fn work_shows_its_steps_is_stopped_and_goes_on() {
    let mut bench = Bench::new(80, 24);
    bench.slow = true;
    bench.keys("3<Tab><Tab>");
    bench.shows("computing");
    assert!(bench.app.busy());
    let steps = Steps { stage: "eigenvalues", done: 12, total: 30, unit: "layers" };
    bench.event(Event::Circuits { ask: Ask::Copying, news: News::Working(steps) });
    bench.shows("eigenvalues: 12 of 30 layers");
    bench.keys("<C-c>");
    assert_eq!(bench.last(), &Request::StopCircuits);
    bench.event(Event::Circuits { ask: Ask::Copying, news: News::Stopped });
    bench.shows("stopped · eigenvalues: 12 of 30 layers · c goes on");
    assert!(!bench.app.busy());
    bench.waiting.clear();
    bench.slow = false;
    bench.keys("c");
    bench.shows("eigenvalues of 1.3");
    bench.keys("c");
    bench.shows("nothing was stopped");
}

#[test]
fn rows_and_lists_are_copied() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3jy");
    assert!(copied(&bench).starts_with("token=\" Doctor\" next="), "{}", copied(&bench));
    for columns in [
        "token\tnext\tlogit\tprobability",
        "head\tsource\tdestination\tattention\tout\tlogit",
        "head\tcopying",
        "head\tdistance\tattention",
        "kind\tearlier\tlater\tabove_random\tscore",
        "head\tthrough\tmatching\tcopying\ttrace",
        "terms\tbefore\tafter",
    ] {
        bench.keys("Y");
        let text = copied(&bench);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(columns));
        let fields = columns.split('\t').count();
        assert!(lines.clone().count() > 1 && lines.all(|line| line.split('\t').count() == fields), "{text}");
        bench.keys("<Tab>");
    }
    // The end of the skip-trigrams' list is among their bugs.
    bench.keys("<Tab>Gy");
    assert!(
        copied(&bench).contains("destination2=") && copied(&bench).contains("margin=1.0"),
        "{}",
        copied(&bench)
    );
}

#[test]
fn what_is_not_defined_is_said() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3<Tab><Tab><Tab><Tab>");
    // From a view that the other model does not have, to one that every model has.
    bench.keys(":open small<Enter>");
    bench.shows("the direct path");
    let mut bench = Bench::with(80, 24, Engine::new(1, 4, true));
    bench.keys("3<S-Tab><S-Tab>");
    bench.shows("Not defined for one layer");
    bench.keys("<S-Tab>");
    bench.shows("Not defined for one layer");
    let asks = asked(&bench);
    assert!(!asks.contains(&Ask::Corner) && !asks.contains(&Ask::Composition), "{asks:?}");
    let mut bench = Bench::with(80, 24, Engine::new(0, 4, true));
    bench.keys("3");
    bench.shows("the whole of this model");
    bench.shows("after \"");
    for _ in 0..6 {
        bench.keys("<Tab>");
        bench.shows("no layers and so no heads");
        bench.keys("lj<Enter>y");
    }
    assert!(asked(&bench).iter().all(|ask| matches!(ask, Ask::Bigram { .. })));
}

#[test]
fn another_model_forgets_the_answers_and_a_failed_one_keeps_them() {
    let mut bench = Bench::new(80, 24);
    bench.keys("3<Tab><Tab>");
    bench.keys(":open<Space>large<Enter>");
    assert_eq!(asked(&bench).iter().filter(|ask| **ask == Ask::Copying).count(), 2);
    bench.slow = true;
    bench.keys("<Tab>:open<Space>nowhere<Enter>");
    bench.waiting.clear();
    bench.slow = false;
    bench.event(Event::Failed { message: "nowhere does not exist".into() });
    bench.shows("by tokens back");
    // From a view that the other model does not have.
    bench.keys("<Tab>:open<Space>bigram<Enter>");
    bench.shows("the whole of this model");
}
