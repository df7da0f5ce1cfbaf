//! What is logged while a model trains is what is measured of its snapshots afterwards.

use std::{fs, path::Path, process::Command, time::Duration};

use attnscope::{
    engine::{
        Engine,
        open::OpenRequest,
        protocol::{Event, Request, RunView, Source},
    },
    train::Settings,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::trained::trained;

/// A run of six steps with a snapshot after every second.
fn run() -> TempDir {
    trained(Settings {
        context: 60,
        batch: 4,
        steps: 6,
        learning_rate: 0.02,
        repeat_steps: 3,
        snapshot_every: 2,
        ..Settings::default()
    })
}

fn log(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn timeline(folder: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
        .args(["timeline", folder.to_str().unwrap(), "--format", "json", "--device", "cpu", "-q"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn training_logs_what_the_timeline_measures() {
    let folder = run();
    let (log, timeline) = (log(folder.path()), timeline(folder.path()));
    let points = timeline["points"].as_array().unwrap();
    assert_eq!((log.len(), points.len()), (4, 4));
    for (logged, point) in log.iter().zip(points) {
        assert_eq!(logged["step"], point["step"]);
        assert_eq!(logged["length"], timeline["settings"]["length"]);
        assert_eq!(logged["repeat_gain"], point["repeat"]["gain"]);
        assert_eq!((&logged["held_out_loss"], &logged["icl"]), (&point["held_out_loss"], &point["icl"]));
        let (heads, measured) = (logged["heads"].as_array().unwrap(), point["heads"].as_array().unwrap());
        assert_eq!((heads.len(), measured.len()), (4, 4));
        for (logged, measured) in heads.iter().zip(measured) {
            for key in ["layer", "head", "induction", "previous", "duplicate"] {
                assert_eq!(logged[key], measured[key], "{key} at step {}", point["step"]);
            }
        }
    }
    let score = |line: &Value| line["heads"][3]["induction"].as_f64().unwrap();
    assert_ne!(score(&log[0]), score(&log[3]), "the model has learnt something");
}

#[test]
fn what_is_missing_in_an_older_log_is_measured_on_blocks_of_its_length() {
    let folder = run();
    // As it was logged by a version that measured on other sequences; one line is not there.
    let lines = log(folder.path()).into_iter().filter(|line| line["step"] != 4).map(|mut line| {
        line["length"] = 10.into();
        line["repeat_gain"] = 0.25.into();
        line.to_string() + "\n"
    });
    let lines: String = lines.collect();
    fs::write(folder.path().join("log.jsonl"), lines).unwrap();
    let model = Some(folder.path().to_str().unwrap().to_owned());
    let engine = Engine::spawn(OpenRequest { model, ..OpenRequest::default() });
    engine.send(Request::Watch(true));
    let done = |run: &RunView| run.points.len() == 4 && run.measuring.is_none();
    let run = loop {
        match engine.events.recv_timeout(Duration::from_secs(60)).expect("the engine answers") {
            Event::Run(Some(run)) if done(&run) => break run,
            Event::Failed { message } | Event::Fatal { message } => panic!("{message}"),
            _ => {}
        }
    };
    let sources: Vec<Source> = run.points.iter().map(|point| point.source).collect();
    assert_eq!(sources, [Source::Log, Source::Log, Source::Here, Source::Log]);
    assert!(run.points.iter().all(|point| point.length == Some(10) && !point.scores.is_empty()));
    assert_eq!((run.points[1].gain, run.points[2].held_out), (Some(0.25), None));
}
