//! The tour on the shipped models, every stop walked to with the real engine: what a stop says is on its screen.

use attnscope::{
    app::{
        Options,
        key::Key,
        tour::{STOPS, Stop},
    },
    checkpoint::embedded,
    engine::protocol::PromptInput,
};

use crate::live::Live;

/// The tour at its first stop.
fn start(columns: u16, rows: u16) -> Live {
    let first = &STOPS[0];
    let prompt = Some(PromptInput::Text(first.prompt.into()));
    let options = Options { title: first.model.into(), prompt, tour: true, ..Options::default() };
    Live::new(columns, rows, Some(first.model), options)
}

/// The screen of a stop, complete.
fn arrived(live: &mut Live, at: usize) -> String {
    let stop = &STOPS[at];
    let place = format!("Tour {} of {} ·", at + 1, STOPS.len());
    live.until(stop.title, |screen| screen.contains(&place) && screen.contains(stop.model));
    live.settle();
    live.screen()
}

fn stop(title: &str) -> (usize, &'static Stop) {
    STOPS.iter().enumerate().find(|(_, stop)| stop.title.contains(title)).unwrap()
}

/// The screen of the stop with that title, at 120 x 40.
fn visit(title: &str) -> String {
    let mut live = start(120, 40);
    arrived(&mut live, 0);
    let (at, _) = stop(title);
    live.keys(&".".repeat(at));
    arrived(&mut live, at)
}

#[test]
fn every_stop_is_shown_whole_on_a_small_and_a_large_screen() {
    for (columns, rows) in [(80, 24), (120, 40)] {
        let mut live = start(columns, rows);
        for (at, stop) in STOPS.iter().enumerate() {
            if at > 0 {
                live.keys(".");
            }
            let screen = arrived(&mut live, at);
            assert!(!screen.contains("larger terminal"), "{columns}x{rows}, {}:\n{screen}", stop.title);
            let said = screen.split_whitespace().collect::<Vec<_>>().join(" ");
            let last = stop.text.split(' ').next_back().unwrap();
            assert!(said.contains(last), "{columns}x{rows}, {}: `{last}` is missing\n{screen}", stop.title);
            let footer = screen.lines().last().unwrap();
            assert!(!footer.starts_with('!'), "{}: {footer}", stop.title);
        }
        live.keys(".");
        assert!(live.screen().contains("this was the last stop"));
        live.keys(",");
        arrived(&mut live, STOPS.len() - 2);
        live.keys("<Esc>");
        assert!(!live.screen().contains("Tour "), "Esc leaves the tour and nothing else");
    }
}

#[test]
fn the_stops_name_shipped_models_and_keys_that_mean_something() {
    assert!((8..=12).contains(&STOPS.len()));
    for stop in STOPS {
        assert!(embedded::has(stop.model), "{}", stop.model);
        Key::sequence(stop.keys).unwrap();
    }
}

#[test]
fn the_bigram_table_is_the_first_screen() {
    let screen = visit("No layers");
    assert!(screen.contains("the whole of this model") && screen.contains("after \" Doctor\""), "{screen}");
}

#[test]
fn one_layer_names_the_doctor_of_its_text() {
    let screen = visit("it remembers");
    assert!(screen.contains("▸\" Defene\""), "{screen}");
}

#[test]
fn the_previous_token_head_is_the_first_by_that_score() {
    let screen = visit("the token before");
    assert!(screen.contains("Heads · previous") && screen.contains("Pattern 0.3 · previous 0.8"), "{screen}");
}

#[test]
fn one_layer_s_weights_are_shown() {
    let screen = visit("Copying is");
    assert!(screen.contains("16 eigenvalues of 0.0"), "{screen}");
    let screen = visit("Skip-trigrams");
    assert!(screen.contains("\" said\" as source") && screen.contains("Bugs:"), "{screen}");
}

#[test]
fn the_induction_head_finds_the_name() {
    let screen = visit("The induction head");
    assert!(screen.contains("the induction target"), "{screen}");
    assert!(screen.contains("▸\" G\""), "the name is the first choice:\n{screen}");
}

#[test]
fn the_ablated_head_takes_the_name_away() {
    let screen = visit("Take a head away");
    assert!(screen.contains("is ablated"), "{screen}");
    assert!(!screen.contains("▸\" G\""), "{screen}");
}

#[test]
fn the_strongest_edges_lead_to_induction_heads() {
    let screen = visit("How two heads talk");
    assert!(screen.lines().any(|line| line.contains('▸') && line.contains(" 0.3 -> 1.")), "{screen}");
}

#[test]
fn the_change_is_found_and_a_snapshot_before_it_does_nothing() {
    let screen = visit("The moment");
    assert!(screen.contains("the change: steps 1900 to 2100"), "{screen}");
    let screen = visit("Before the change");
    assert!(screen.contains("attn-2l step 1800") && !screen.contains("▸\" book\""), "{screen}");
    let mut live = start(120, 40);
    arrived(&mut live, 0);
    let (at, _) = stop("Before the change");
    live.keys(&".".repeat(at));
    arrived(&mut live, at);
    for step in [1900, 1950, 2000, 2050, 2100, 2150, 2200] {
        live.keys(">");
        live.until("the next snapshot", |screen| screen.contains(&format!("attn-2l step {step}")));
    }
    live.until("the answer", |screen| screen.contains("▸\" book\""));
}
