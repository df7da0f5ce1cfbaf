//! The Training screen and scrubbing through the snapshots of a run.

use attnscope::{
    app::Effect,
    engine::protocol::{Event, Request, RunView, SnapshotView},
};

use crate::common::{Bench, Engine, run};

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

/// What was asked to be compared.
fn comparisons(bench: &Bench) -> Vec<Option<u64>> {
    let asked = bench.sent.iter().filter_map(|request| match request {
        Request::Compare(pair) => Some(pair.map(|pair| pair.before)),
        _ => None,
    });
    asked.collect()
}

#[test]
fn the_prompt_is_shown_before_and_after_the_change() {
    let mut bench = Bench::of_run(80, 24, 20);
    bench.keys("5");
    bench.shows("held-out loss, repeat gain");
    assert_eq!(comparisons(&bench), []);
    bench.keys("<Tab>");
    // The change is from 400 to 600.
    assert_eq!(comparisons(&bench), [Some(400)]);
    bench.shows("step 400 -> step 1900 · mean loss");
    bench.shows("\" Doctor\" (10): 5.00 -> 2.00 nats, better by 3.00");
    bench.shows("better -5 ------++++++ +5 worse, nats");
    bench.shows("·Doctor- ");
    bench.shows("▸  10 \" Doctor\"   5.00   2.00   -3.00│");
    bench.keys("j");
    bench.shows("\"am\" (3): 4.40 -> 5.90 nats, worse by 1.50");
    bench.shows(" am+uru ");
    // The token stays under the cursor while snapshots are scrubbed, and the snapshot before stays.
    bench.keys("<lt>");
    bench.shows("step 400 -> step 1800");
    bench.shows("\"am\" (3): 4.40 -> 5.80 nats, worse by 1.40");
    assert_eq!(comparisons(&bench), [Some(400), Some(400)]);
    bench.keys("Y");
    let Some(Effect::Copy(table)) = bench.effects.last() else { panic!("nothing was copied") };
    assert_eq!(table.lines().nth(3), Some("3\tam\t4.400000\t5.800000\t1.400000"));
    bench.keys("k<Tab>j");
    bench.shows("held-out loss, repeat gain");
    assert_eq!(comparisons(&bench).last(), Some(&None));
    bench.keys("<Tab>2");
    assert_eq!(comparisons(&bench)[3..], [Some(400), None]);
}

#[test]
fn the_snapshot_before_is_marked() {
    let mut bench = Bench::of_run(80, 24, 20);
    bench.keys("50lb");
    bench.shows("step 100 -> step 1900");
    bench.shows("step 100 · 2 of 20 · before ");
    bench.keys("$b");
    bench.shows("the open snapshot is the one before: > opens a later one");
    bench.keys("b");
    bench.shows("the mark is off");
    bench.shows("step 400 -> step 1900");
    assert_eq!(comparisons(&bench), [Some(100), Some(1900), Some(400)]);
    // Without a change it is the first.
    let mut bench = Bench::of_run(80, 24, 2);
    bench.keys("5<Tab>");
    bench.shows("step 0 -> step 100");
}

#[test]
fn a_comparison_is_given_up_and_what_is_broken_is_told() {
    let mut bench = Bench::of_run(80, 24, 20);
    bench.slow = true;
    bench.keys("5<Tab>");
    bench.shows("before and after …");
    bench.keys("<C-c>");
    bench.shows("held-out loss, repeat gain");
    assert_eq!(comparisons(&bench), [Some(400), None]);
    bench.slow = false;
    bench.engine.broken_before = true;
    bench.keys("<Tab>jk");
    bench.shows("step-000400/model.safetensors: it ends␛[2J too early");
    // Of one token nothing can be said.
    bench.engine.broken_before = false;
    bench.keys("1:ids<Space>5<Enter>5");
    bench.shows("nothing predicts the first token");
    bench.keys("jkY");
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
