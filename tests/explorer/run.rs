//! A real training run behind the engine: what was logged, what is measured, and a folder that is still being written.

use std::{fs, path::Path, sync::Arc};

use attnscope::{
    analysis::{loss, score::Score},
    checkpoint::progress::Nobody,
    engine::{
        Engine,
        open::{Model, OpenRequest},
        protocol::{
            Bos, Comparison, Event, Measured, Pair, PromptInput, RankSettings, Request, RunView, Source,
        },
    },
    head::Head,
    model::decoder::Control,
    train::Settings,
};
use tempfile::TempDir;

use crate::{trained::trained, waiting::PATIENCE};

/// A run of four steps with a snapshot after each.
fn four_steps() -> TempDir {
    trained(Settings {
        context: 40,
        batch: 2,
        steps: 4,
        repeat_steps: 2,
        snapshot_every: 1,
        ..Settings::default()
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

fn request(model: &Path) -> OpenRequest {
    OpenRequest { model: Some(model.to_str().unwrap().to_owned()), ..OpenRequest::default() }
}

/// The next news of a run that `wanted` takes.
fn run(engine: &Engine, wanted: impl Fn(&RunView) -> bool) -> Arc<RunView> {
    loop {
        match engine.events.recv_timeout(PATIENCE).expect("the engine answers") {
            Event::Run(Some(run)) if wanted(&run) => return run,
            Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
            _ => {}
        }
    }
}

fn measured(run: &RunView) -> Vec<u64> {
    run.points.iter().filter(|point| point.source == Source::Here).map(|point| point.step).collect()
}

fn broken(run: &RunView) -> Vec<u64> {
    run.snapshots.iter().filter(|one| one.problem.is_some()).map(|one| one.step).collect()
}

#[test]
fn a_run_opens_at_its_end_with_what_was_logged_and_is_measured_on_request() {
    let folder = four_steps();
    let engine = Engine::spawn(request(folder.path()));
    let seen = run(&engine, |_| true);
    assert_eq!((seen.snapshots.len(), seen.open, seen.logged), (5, Some(4), true));
    assert_eq!(seen.points.iter().map(|point| point.step).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    let point = &seen.points[2];
    assert!(point.held_out.unwrap() > 0.0 && point.icl.unwrap().late <= 40 && point.gain.is_some());
    assert!(
        point.scores[Head::new(1, 1)].measured(Score::Induction).is_some()
            && point.scores[Head::new(1, 1)].measured(Score::Sink).is_none()
    );
    // All is logged: nothing is measured unless it is asked for.
    engine.send(Request::Watch(true));
    assert!(run(&engine, |_| true).measuring.is_none());
    engine.send(Request::Measure(true));
    let all = run(&engine, |run| run.measuring.is_none());
    assert_eq!(measured(&all), [0, 1, 2, 3, 4]);
    assert_eq!(all.points[2].held_out, point.held_out, "what only the log knows stays");
    // The numbers are those of the `timeline` command.
    let model = Model::open(&request(Path::new(&all.snapshots[2].model)), &Nobody).unwrap();
    let settings = RankSettings { length: model.info.block, ..RankSettings::default() };
    let benchmark = model.benchmark(settings).unwrap();
    let alone = Measured::measure(2, &model.decoder, &benchmark, Score::Induction, &Control::FREE).unwrap();
    assert_eq!((&all.points[2].scores, all.points[2].gain), (&alone.scores, alone.gain));
    // Another snapshot in the place of this one: what was measured stays.
    engine.send(Request::Open { model: Some(all.snapshots[1].model.clone()) });
    let scrubbed = run(&engine, |run| run.open == Some(1));
    assert_eq!(measured(&scrubbed), [0, 1, 2, 3, 4]);
    let elsewhere = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gpt2");
    engine.send(Request::Open { model: Some(elsewhere.to_str().unwrap().to_owned()) });
    while !matches!(engine.events.recv_timeout(PATIENCE).expect("the engine answers"), Event::Run(None)) {}
}

#[test]
fn a_run_that_is_being_written_grows_and_what_is_broken_is_told_until_it_is_whole() {
    let (source, folder) = (four_steps(), tempfile::tempdir().unwrap());
    let step = |number: u64| format!("step-{number:06}");
    let add = |number: u64| copy(&source.path().join(step(number)), &folder.path().join(step(number)));
    add(0);
    let engine = Engine::spawn(request(&folder.path().join(step(0))));
    engine.send(Request::Watch(true));
    assert_eq!(measured(&run(&engine, |run| !run.points.is_empty())), [0]);
    // Asked again, it looks again; so a test need not wait until it does by itself.
    add(2);
    engine.send(Request::Watch(true));
    let grown = run(&engine, |run| run.points.len() == 2 && run.measuring.is_none());
    assert_eq!((measured(&grown), grown.open), (vec![0, 2], Some(0)));
    // A snapshot in the middle comes late and half.
    add(1);
    let weights = folder.path().join(step(1)).join("model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    engine.send(Request::Watch(true));
    let half = run(&engine, |run| run.snapshots.len() == 3 && run.measuring.is_none());
    assert_eq!((broken(&half), measured(&half), half.open), (vec![1], vec![0, 2], Some(0)));
    let problem = half.snapshots[1].problem.as_ref().unwrap();
    assert!(problem.contains("model.safetensors") && problem.lines().count() == 1, "{problem}");
    fs::write(&weights, &whole).unwrap();
    engine.send(Request::Watch(true));
    let repaired = run(&engine, |run| broken(run).is_empty() && run.measuring.is_none());
    assert_eq!(measured(&repaired), [0, 1, 2]);
    // The log comes, its last line half written.
    let log = fs::read_to_string(source.path().join("log.jsonl")).unwrap();
    let end = log.match_indices('\n').nth(3).unwrap().0 - 20;
    fs::write(folder.path().join("log.jsonl"), &log[..end]).unwrap();
    engine.send(Request::Watch(true));
    let logged = run(&engine, |run| run.logged);
    assert!(logged.troubles[0].contains("last line is not finished"), "{:?}", logged.troubles);
    assert!(logged.points[2].held_out.is_some() && logged.points.len() == 3);
    // It goes away: what was known stays.
    fs::rename(folder.path(), folder.path().with_extension("gone")).unwrap();
    engine.send(Request::Watch(true));
    let gone =
        run(&engine, |run| !run.troubles.is_empty() && run.troubles[0].contains("cannot be read any more"));
    assert_eq!(gone.points.len(), 3);
    fs::rename(folder.path().with_extension("gone"), folder.path()).unwrap();
}

#[test]
fn a_snapshot_of_another_model_is_none_of_the_run() {
    let folder = four_steps();
    fs::remove_file(folder.path().join("log.jsonl")).unwrap();
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    copy(&other, &folder.path().join("step-000009"));
    let engine = Engine::spawn(request(&folder.path().join("step-000004")));
    engine.send(Request::Watch(true));
    let seen = run(&engine, |run| !run.points.is_empty() && run.measuring.is_none());
    assert_eq!((broken(&seen), measured(&seen)), (vec![9], vec![0, 1, 2, 3, 4]));
    assert!(seen.snapshots[5].problem.as_ref().unwrap().contains("another run"));
}

/// The next answer to a comparison, and what it answers.
fn compared(engine: &Engine) -> (Pair, Result<Arc<Comparison>, String>) {
    loop {
        match engine.events.recv_timeout(PATIENCE).expect("the engine answers") {
            Event::Compared { pair, result } => return (pair, result),
            Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
            _ => {}
        }
    }
}

#[test]
fn two_snapshots_are_compared_on_the_prompt() {
    let folder = four_steps();
    let step = |number: u64| folder.path().join(format!("step-{number:06}"));
    let engine = Engine::spawn(request(&step(4)));
    let ids = vec![0, 50, 60, 70, 50, 60];
    let losses = |number: u64| {
        let model = Model::open(&request(&step(number)), &Nobody).unwrap();
        loss::per_token(&model.decoder, &ids, &Control::FREE).unwrap()
    };
    let prompt = |epoch| Request::Prompt { epoch, input: PromptInput::Ids(ids.clone()), bos: Bos::Off };
    engine.send(prompt(1));
    // Of several that wait only the last is answered, and none about a prompt that is over.
    let ask = |epoch, before| engine.send(Request::Compare(Some(Pair { epoch, before })));
    ask(7, 0);
    ask(1, 3);
    ask(1, 0);
    let answer = loop {
        let (pair, result) = compared(&engine);
        if pair.before == 0 {
            assert_eq!(pair.epoch, 1);
            break result.unwrap();
        }
    };
    assert_eq!((answer.before, answer.after), (0, Some(4)));
    let both = |answer: &Comparison| -> (Vec<f32>, Vec<f32>) {
        answer.changes.iter().map(|change| (change.before, change.after)).unzip()
    };
    assert_eq!(both(&answer), (losses(0), losses(4)));
    assert!(answer.changes.iter().any(|change| change.difference() != 0.0));
    // Another snapshot is opened; the one before is what it was.
    engine.send(Request::Open { model: Some(step(2).to_str().unwrap().to_owned()) });
    engine.send(prompt(2));
    ask(2, 0);
    let (pair, result) = compared(&engine);
    let answer = result.unwrap();
    assert_eq!((pair.epoch, answer.after), (2, Some(2)));
    assert_eq!(both(&answer), (losses(0), losses(2)));
    // What was kept of it is not taken for what was written in its place.
    copy(&step(4), &step(0));
    ask(2, 0);
    assert_eq!(both(&compared(&engine).1.unwrap()), (losses(4), losses(2)));
    ask(2, 9);
    assert_eq!(compared(&engine).1.unwrap_err(), "the run has no step 9 any more");
    fs::write(step(1).join("model.safetensors"), "x").unwrap();
    ask(2, 1);
    let problem = compared(&engine).1.unwrap_err();
    assert!(problem.contains("model.safetensors") && problem.lines().count() == 1, "{problem}");
}

#[test]
fn nothing_is_measured_while_the_screen_is_not_shown() {
    let folder = four_steps();
    fs::remove_file(folder.path().join("log.jsonl")).unwrap();
    let engine = Engine::spawn(request(folder.path()));
    let answered = |epoch: u64| {
        engine.send(Request::Prompt { epoch, input: PromptInput::Ids(vec![5, 9, 5]), bos: Bos::Auto });
        let mut last = None;
        loop {
            match engine.events.recv_timeout(PATIENCE).expect("the engine answers") {
                Event::Run(run) => last = run,
                Event::Tokens { epoch: of, .. } if of == epoch => return last,
                Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
                _ => {}
            }
        }
    };
    assert!(answered(1).unwrap().points.is_empty(), "told when it was opened");
    engine.send(Request::Watch(true));
    engine.send(Request::Watch(false));
    let left = answered(2).unwrap();
    let known = left.points.len();
    assert!(left.measuring.is_none());
    // Two prompts later it is no further.
    assert_eq!(answered(3), None);
    engine.send(Request::Watch(true));
    let back = run(&engine, |run| run.points.len() == 5);
    assert!(known < 5 || back.measuring.is_none());
    assert_eq!(measured(&back), [0, 1, 2, 3, 4]);
}
