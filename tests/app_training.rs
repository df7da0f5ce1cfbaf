//! The Training screen and scrubbing through the snapshots of a run.

#![allow(clippy::unwrap_used)]

mod common;

use attnscope::{
    app::Effect,
    engine::protocol::{Event, Request, RunView, SnapshotView},
};
use common::{Bench, Engine, run};

/// The models that were asked to be opened.
fn opened(bench: &Bench) -> Vec<&str> {
    let opens = bench.sent.iter().filter_map(|request| match request {
        Request::Open { model } => model.as_deref(),
        _ => None,
    });
    opens.collect()
}

/// The engine tells of a run.
fn tell(bench: &mut Bench, run: RunView) {
    bench.engine.run = Some(run);
    let told = bench.engine.run();
    bench.event(told);
}

#[test]
fn the_screen_shows_the_change_and_the_values_under_the_cursor() {
    let mut bench = Bench::of_run(80, 24, 20);
    bench.shows("small step 1900");
    bench.keys("5");
    bench.shows("induction by head · the change: steps 400 to 600 · 20 snapshots");
    bench.shows("step 1900 · 20 of 20 · open");
    bench.shows("▸● 1.3   0.910");
    bench.shows("icl 125-13");
    bench.keys("hhhhhhhhhhhhhh");
    bench.shows("step 500 · 6 of 20 · Enter opens it");
    bench.shows("1.3 induction 0.455");
    bench.shows("▲500");
    bench.keys("<Home>");
    bench.shows("step 0 · 1 of 20");
    bench.keys("<End>j");
    bench.shows("▸● 1.5   0.550");
    bench.keys("s");
    bench.shows("previous by head · the change: steps 300 to 500");
    bench.shows("m measures the snapshots");
    assert!(opened(&bench).is_empty(), "looking opens nothing");
}

#[test]
fn the_run_is_followed_while_the_screen_is_shown() {
    let mut bench = Bench::of_run(80, 24, 3);
    let watches = |bench: &Bench| -> Vec<bool> {
        let told = bench.sent.iter().filter_map(|request| match request {
            Request::Watch(watch) => Some(*watch),
            _ => None,
        });
        told.collect()
    };
    assert_eq!(watches(&bench), [] as [bool; 0]);
    bench.keys("5hv");
    assert_eq!(watches(&bench), [true]);
    // It grows under the cursor, which stays where it is.
    bench.shows("step 100 · 2 of 3");
    tell(&mut bench, RunView { open: Some(2), ..run(5) });
    bench.shows("step 100 · 2 of 5");
    assert!(bench.app.take_dirty());
    bench.keys("2");
    assert_eq!(watches(&bench), [true, false]);
}

#[test]
fn snapshots_are_scrubbed_with_the_head_and_the_prompt_kept() {
    let mut bench = Bench::of_run(120, 40, 4);
    bench.keys(":prompt<Space>one<Space>two<Space>one<Enter>:head<Space>1.5<Enter>");
    bench.sent.clear();
    bench.keys("<lt>{");
    assert_eq!(opened(&bench), ["runs/small/step-000200", "runs/small/step-000100"]);
    bench.shows("small step 100");
    bench.shows("·one ·two ·one");
    assert_eq!(bench.look().head.to_string(), "1.5");
    bench.keys(">}");
    bench.shows("small step 300");
    bench.keys(">");
    bench.shows("no snapshot of small lies further on that side");
    assert_eq!(opened(&bench).len(), 4);
    // From the screen of the run, too.
    bench.keys("50<Enter>");
    bench.shows("small step 0");
    bench.shows("What 1.5 does here");
}

#[test]
fn fast_keys_do_not_wait_for_what_is_being_opened() {
    let mut bench = Bench::of_run(80, 24, 6);
    bench.slow = true;
    bench.sent.clear();
    bench.keys("<lt><lt><lt>");
    let wanted = ["runs/small/step-000400", "runs/small/step-000300", "runs/small/step-000200"];
    assert_eq!(opened(&bench), wanted);
    // The engine opens the last of them alone.
    bench
        .waiting
        .retain(|request| !matches!(request, Request::Open { model } if model.as_deref() != Some(wanted[2])));
    bench.slow = false;
    bench.deliver();
    bench.shows("small step 200");
    bench.keys(">");
    bench.shows("small step 300");
}

#[test]
fn a_snapshot_that_cannot_be_opened_is_passed_over() {
    let mut bench = Bench::of_run(80, 24, 4);
    bench.engine.fail = true;
    bench.keys("<lt>");
    bench.shows("! ");
    bench.shows("small step 300");
    bench.keys("<lt>");
    bench.shows("small step 100");
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_stays() {
    let mut bench = Bench::of_run(80, 24, 8);
    let mut broken = run(8);
    broken.snapshots[3].problem = Some("step-000300/model.safetensors: it ends\x1b[2J too early".into());
    broken.points.remove(3);
    broken.troubles.push("log.jsonl: its last line is not finished, and was left out".into());
    tell(&mut bench, broken);
    bench.keys("5");
    bench.shows("left out: step 300: step-000300/model.safete");
    bench.shows("the change: steps 400 to 600");
    bench.keys("hhhh");
    bench.shows("step 300 · 4 of 8");
    bench.shows("left out: step-000300/model.safetensors: it");
    bench.shows("log.jsonl: its last line");
}

#[test]
fn measuring_is_started_stopped_and_shown() {
    let mut bench = Bench::of_run(80, 24, 3);
    bench.keys("5m");
    assert_eq!(bench.last(), &Request::Measure(true));
    bench.shows("[measuring 1/3]");
    bench.keys("<C-c>");
    assert_eq!(bench.last(), &Request::Measure(false));
    bench.hides("measuring");
    // What is unknown is said, and nothing stands still without a word.
    let empty = RunView { points: Vec::new(), logged: false, ..run(2) };
    tell(&mut bench, empty);
    bench.shows("no snapshot is measured: m measures them all");
    bench.shows("not measured yet");
    bench.shows("loss and icl: attnscope timeline runs/small");
    bench.keys("jksvyY");
}

#[test]
fn values_and_curves_are_copied() {
    let mut bench = Bench::of_run(80, 24, 3);
    bench.keys("50yY");
    let copies: Vec<&String> = bench
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Copy(text) => Some(text),
            _ => None,
        })
        .collect();
    assert!(
        copies[0].starts_with("runs/small/step-000000 step=0 held_out_loss=8.000000 repeat_gain="),
        "{copies:?}"
    );
    assert!(copies[0].contains(" 1.3 induction=0.000000"), "{copies:?}");
    let rows: Vec<Vec<&str>> = copies[1].lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows[0][..5], ["step", "held_out_loss", "repeat_gain", "icl", "0.0"]);
    assert_eq!(rows.iter().map(Vec::len).collect::<Vec<_>>(), [20; 4]);
    assert_eq!(rows[3][0], "200");
}

#[test]
fn without_a_run_the_screen_says_what_one_is() {
    let mut bench = Bench::new(80, 24);
    bench.keys("5");
    bench.shows("attnscope train --text novel.txt --out runs/small");
    bench.keys("hlm<Enter>jkyYs");
    bench.keys("1>");
    bench.shows("the model is no snapshot of a run");
    assert!(opened(&bench).is_empty());
    // Another model may not belong to the run of the one before.
    let mut bench = Bench::with(80, 24, Engine::new(2, 8, true));
    tell(&mut bench, run(4));
    bench.event(Event::Run(None));
    bench.hides("small step");
    let alone = SnapshotView { step: 7, model: "step-7".into(), problem: None };
    tell(&mut bench, RunView { snapshots: vec![alone], open: Some(0), ..run(0) });
    bench.keys("5hl<Home><End>v");
    bench.shows("step 7 · 1 of 1 · open");
}
