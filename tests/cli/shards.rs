//! `--shard I/N`: processes side by side do together what one does.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use attnscope::train::Settings;
use serde_json::Value;
use tempfile::TempDir;

use crate::trained::trained;

/// Processes at once.
const SHARDS: usize = 8;

/// A run of eleven snapshots, one of which is broken, and a text beside it.
fn run() -> TempDir {
    let folder = trained(Settings {
        context: 40,
        batch: 4,
        steps: 20,
        learning_rate: 0.02,
        repeat_steps: 10,
        snapshot_every: 2,
        ..Settings::default()
    });
    fs::write(folder.path().join("step-000006/model.safetensors"), "half").unwrap();
    let text: String =
        (0..60).map(|day| format!("On day {day} the baker sold {} loaves.\n", day * 31 % 50)).collect();
    fs::write(folder.path().join("text.txt"), text).unwrap();
    folder
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.current_dir(folder).args(arguments).arg("-q");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs the command once for each share, all at once, each with a file of its own.
fn side_by_side(folder: &Path, arguments: &[&str], name: &str) -> Vec<Output> {
    let start = |shard: usize| {
        let (out, shard) = (format!("{name}-{shard}.jsonl"), format!("{shard}/{SHARDS}"));
        command(folder, &[arguments, &["--shard", &shard, "--out", &out]].concat()).spawn().unwrap()
    };
    let children: Vec<Child> = (1..=SHARDS).map(start).collect();
    children.into_iter().map(|child| child.wait_with_output().unwrap()).collect()
}

#[test]
fn eight_shares_of_a_timeline_merge_to_what_one_run_gives() {
    let run = run();
    let folder = run.path();
    let measured = ["timeline", ".", "--text", "text.txt", "--windows", "4", "--by", "previous"];
    for output in side_by_side(folder, &measured, "part") {
        let is_broken = told(&output).contains("left out: step 6: ");
        assert!(output.status.success() || is_broken, "{}", told(&output));
        assert!(output.stdout.is_empty());
    }
    // In any order, and one twice.
    let mut files: Vec<String> =
        [5, 3, 8, 1, 2, 7, 4, 6, 3].map(|shard| format!("part-{shard}.jsonl")).into();
    for format in ["table", "json", "csv", "svg"] {
        let whole = output(folder, &[&measured[..], &["--format", format]].concat());
        let mut merge = vec!["timeline", "--format", format];
        merge.extend(files.iter().map(String::as_str));
        let merged = output(folder, &merge);
        assert!(merged.status.success(), "{}", told(&merged));
        assert_eq!(
            String::from_utf8_lossy(&merged.stdout),
            String::from_utf8_lossy(&whole.stdout),
            "{format}"
        );
        assert!(whole.stdout.len() > 1000 && told(&merged).ends_with(&told(&whole)), "{}", told(&merged));
        assert!(told(&merged).starts_with("taken once: 2 lines"), "{}", told(&merged));
    }
    // As one file, and its lines again.
    let all: String = files[..8].iter().map(|file| fs::read_to_string(folder.join(file)).unwrap()).collect();
    fs::write(folder.join("all.jsonl"), &all).unwrap();
    let again = output(folder, &["timeline", "all.jsonl", "--format", "jsonl"]);
    assert_eq!(again.stdout.iter().filter(|&&byte| byte == b'\n').count(), 11);
    // What is missing is told, with the shares that had it.
    files.retain(|file| file != "part-3.jsonl" && file != "part-7.jsonl");
    let merge: Vec<&str> = ["timeline"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let some = output(folder, &merge);
    assert!(some.status.success());
    assert!(
        told(&some).contains("missing: 3 of 11 snapshots: those of --shard 3/8, 7/8\n"),
        "{}",
        told(&some)
    );
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let run = run();
    let folder = run.path();
    let timeline = |arguments: &[&str]| output(folder, &[&["timeline"], arguments].concat());
    for (name, more) in [
        ("first", &["--shard", "1/2"][..]),
        ("second", &["--shard", "2/2"]),
        ("short", &["--shard", "2/2", "--length", "7"]),
    ] {
        let done = timeline(&[&["."], more, &["--out", &format!("{name}.jsonl")]].concat());
        assert!(done.status.success(), "{}", told(&done));
    }
    let text = fs::read_to_string(folder.join("first.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let other = lines.map(|mut line| {
        line["point"]["repeat"]["gain"] = 7.into();
        line.to_string() + "\n"
    });
    fs::write(folder.join("other.jsonl"), other.collect::<String>()).unwrap();
    fs::write(folder.join("torn.jsonl"), &text[..text.len() - 9]).unwrap();
    let elsewhere = text.replacen("\"place\":0,", "\"place\":8,", 1);
    fs::write(folder.join("elsewhere.jsonl"), elsewhere).unwrap();
    for (arguments, wanted) in [
        (&["first.jsonl", "short.jsonl"][..], "with other settings"),
        (&["first.jsonl", "other.jsonl"], "are both of step 0 and differ"),
        (&["torn.jsonl"], "torn.jsonl, line 6 is no line of `attnscope timeline --format jsonl`"),
        (&["log.jsonl"], "log.jsonl, line 1 is no line of"),
        (&["elsewhere.jsonl"], "different runs"),
        (&["first.jsonl", "."], "name the one or the other"),
        (&["first.jsonl", "--length", "7"], "--length"),
        (&["first.jsonl", "--by", "previous"], "give --by to the shares"),
        (&["none.jsonl"], "none.jsonl cannot be read"),
        (&[".", "--shard", "3/2"], "from 1/2 to 2/2"),
    ] {
        let refused = timeline(arguments);
        let told = told(&refused);
        assert_eq!((refused.status.code(), told.lines().count()), (Some(2), 1), "{arguments:?}: {told}");
        assert!(told.contains(wanted), "{arguments:?}: {told}");
    }
}

#[test]
fn eight_shares_of_a_check_are_what_one_run_finds() {
    let run = run();
    let folder = run.path();
    let checked = ["check", ".", "--only", "repeats"];
    let codes: Vec<_> =
        side_by_side(folder, &checked, "check").iter().map(|output| output.status.code()).collect();
    // One has nothing but the snapshot that is broken.
    assert_eq!(codes, [0, 0, 0, 2, 0, 0, 0, 0].map(Some));
    let whole = output(folder, &[&checked[..], &["--format", "jsonl"]].concat());
    assert_eq!(whole.status.code(), Some(1), "{}", told(&whole));
    let whole = String::from_utf8(whole.stdout).unwrap();
    let parts: String = (1..=SHARDS)
        .map(|shard| fs::read_to_string(folder.join(format!("check-{shard}.jsonl"))).unwrap())
        .collect();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!((sorted(&parts), sorted(&parts).len()), (sorted(&whole), 11));
    // A watch goes on from what they have found.
    fs::write(folder.join("history.jsonl"), &parts).unwrap();
    let watch = output(folder, &["watch", ".", "--once", "--history", "history.jsonl", "--only", "repeats"]);
    assert_eq!(watch.status.code(), Some(1), "{}", told(&watch));
    assert_eq!(fs::read_to_string(folder.join("history.jsonl")).unwrap(), parts);
}

#[test]
fn several_models_are_checked_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let checked = |more: &[&str]| {
        output(folder.path(), &[&["check", "attn-2l", "bigram", "--only", "text.loss"], more].concat())
    };
    let table = checked(&[]);
    assert_eq!(table.status.code(), Some(0), "{}", told(&table));
    let text = String::from_utf8(table.stdout).unwrap();
    assert_eq!((text.matches("text.loss").count(), text.matches("(embedded)").count()), (4, 2), "{text}");
    let json = checked(&["--format", "json"]);
    assert_eq!((json.status.code(), told(&json).lines().count()), (Some(2), 1));
    assert!(told(&json).contains("--format jsonl"), "{}", told(&json));
}
