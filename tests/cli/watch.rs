//! `attnscope watch`: a run that is written while it is watched, and what a kill, a full disk and a lost folder leave of its
//! history.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use attnscope::train::Settings;
use serde_json::Value;
use tempfile::TempDir;

use crate::trained::trained;

/// No checkpoint takes this long; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A job that writes the snapshots of a run which was trained before, one after the other, into a folder of its own.
struct Job {
    source: TempDir,
    folder: TempDir,
}

impl Job {
    /// One of five snapshots that has written none.
    fn new() -> Self {
        let settings = Settings {
            context: 40,
            batch: 2,
            steps: 4,
            repeat_steps: 2,
            learning_rate: 0.3,
            snapshot_every: 1,
            ..Settings::default()
        };
        let job = Self { source: trained(settings), folder: tempfile::tempdir().unwrap() };
        fs::create_dir(job.run()).unwrap();
        job
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn history(&self) -> PathBuf {
        self.folder.path().join("run.watch.jsonl")
    }

    fn snapshot(&self, step: u64) -> PathBuf {
        self.run().join(format!("step-{step:06}"))
    }

    fn weights(&self, step: u64) -> Vec<u8> {
        fs::read(self.source.path().join(format!("step-{step:06}/model.safetensors"))).unwrap()
    }

    /// Writes a snapshot of which so much of the weights is there.
    fn write(&self, step: u64, share: f64) {
        let from = self.source.path().join(format!("step-{step:06}"));
        fs::create_dir_all(self.snapshot(step)).unwrap();
        for file in ["config.json", "tokenizer.json"] {
            fs::copy(from.join(file), self.snapshot(step).join(file)).unwrap();
        }
        let weights = self.weights(step);
        let part = &weights[..(weights.len() as f64 * share) as usize];
        fs::write(self.snapshot(step).join("model.safetensors"), part).unwrap();
    }

    fn watch(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        command.arg("watch").arg(self.run()).args(["--interval", "0.02", "--only", "repeats"]);
        command.args(more).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::options().create(true).append(true).open(self.told_in()).unwrap());
        command
    }

    fn told_in(&self) -> PathBuf {
        self.folder.path().join("told")
    }

    /// What was told on standard error.
    fn told(&self) -> String {
        fs::read_to_string(self.told_in()).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Value> {
        lines(&self.history())
    }

    fn steps(&self) -> Vec<u64> {
        self.lines().iter().map(|line| line["step"].as_u64().unwrap()).collect()
    }
}

/// The lines of a history that are whole.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        thread::yield_now();
    }
}

fn ended(job: &Job, output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", job.told());
}

fn findings(line: &Value) -> Vec<(String, String)> {
    let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    line["findings"].as_array().unwrap().iter().map(|one| (text(one, "check"), text(one, "text"))).collect()
}

#[test]
fn a_run_is_checked_while_it_is_written() {
    let job = Job::new();
    let child = job.watch(&["--until-step", "4"]).spawn().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for step in 0..5 {
                // As a slow disk takes it.
                job.write(step, 0.0);
                let mut file = fs::File::options()
                    .append(true)
                    .open(job.snapshot(step).join("model.safetensors"))
                    .unwrap();
                for part in job.weights(step).chunks(2000) {
                    file.write_all(part).unwrap();
                    file.sync_all().unwrap();
                }
                until("its line", || job.steps().contains(&step));
            }
        });
    });
    ended(&job, &child.wait_with_output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1, 2, 3, 4], "{}", job.told());
    for line in job.lines() {
        let step = line["step"].as_u64().unwrap();
        assert_eq!(line["schema_version"], 1);
        assert_eq!(line["path"], job.snapshot(step).to_str().unwrap());
        assert_eq!(line["settings"]["texts"][0], "Austen");
        // What the command finds that checks it alone.
        let alone = Command::new(env!("CARGO_BIN_EXE_attnscope"))
            .arg("check")
            .arg(job.snapshot(step))
            .args(["--only", "repeats", "--format", "json", "-q"])
            .output()
            .unwrap();
        let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
        for key in ["verdict", "findings", "model", "settings"] {
            assert_eq!(line[key], alone[key], "{key} of step {step}");
        }
        let gain = alone["findings"].as_array().unwrap().iter().find(|one| one["check"] == "repeats.gain");
        assert_eq!(line["numbers"]["repeat_gain"], gain.unwrap()["value"]);
    }
    // A line a checkpoint.
    let told = job.told();
    assert_eq!(told.lines().filter(|line| line.starts_with("step ")).count(), 5, "{told}");
    assert!(
        told.contains("step 4: ")
            && told.contains(" · repeat gain ")
            && told.contains("5 checkpoints, 0 of them fail"),
        "{told}"
    );
    // All is checked: nothing is checked again.
    ended(&job, &job.watch(&["--once"]).output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1, 2, 3, 4]);
    // What is written anew is.
    job.write(3, 0.9);
    job.write(3, 1.0);
    ended(&job, &job.watch(&["--once"]).output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1, 2, 3, 4, 3]);
}

#[test]
fn a_kill_loses_no_line_and_leaves_none_half() {
    let job = Job::new();
    (0..5).for_each(|step| job.write(step, 1.0));
    for kept in 1..4 {
        let mut child = job.watch(&[]).spawn().unwrap();
        until("a line more", || job.lines().len() >= kept);
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        // As a kill in the middle of a write would leave it.
        let text = fs::read_to_string(job.history()).unwrap();
        let first = text.lines().next().unwrap();
        fs::write(job.history(), text.clone() + &first[..first.len() / (kept + 1)]).unwrap();
    }
    ended(&job, &job.watch(&["--once"]).output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1, 2, 3, 4]);
    let told = job.told();
    assert_eq!(told.matches("its last line was cut short, and was taken away").count(), 3, "{told}");
}

#[test]
fn what_is_broken_fails_once_and_the_command_is_told_of_it() {
    let job = Job::new();
    job.write(0, 1.0);
    job.write(1, 0.5);
    let mark = job.folder.path().join("mark");
    let command = format!(
        "printf '%s|' \"$ATTNSCOPE_STEP\" \"$ATTNSCOPE_CHECKPOINT\" \"$ATTNSCOPE_VERDICT\" \"$ATTNSCOPE_FINDINGS\" \
         \"$ATTNSCOPE_HISTORY\" >> '{}'; exit 3",
        mark.display()
    );
    let watch = |more: &[&str]| job.watch(&[&["--on-fail", &command][..], more].concat()).output().unwrap();
    // It may still be written to: nothing is said to be broken.
    ended(&job, &watch(&["--once"]), 0);
    assert!(
        job.told().contains("step 1 is left for the next time: it cannot be checked yet"),
        "{}",
        job.told()
    );
    assert_eq!((job.steps(), mark.exists()), (vec![0], false));
    // A later one is there.
    job.write(2, 1.0);
    ended(&job, &watch(&["--once"]), 1);
    assert_eq!(job.steps(), [0, 2, 1]);
    let broken = &job.lines()[2];
    assert_eq!((&broken["verdict"], &broken["model"]), (&"fail".into(), &Value::Null));
    assert_eq!(findings(broken)[0].0, "open");
    assert!(findings(broken)[0].1.contains("model.safetensors"), "{broken}");
    let told = fs::read_to_string(&mark).unwrap();
    let told: Vec<&str> = told.split('|').collect();
    assert_eq!((told[0], told[1], told[2]), ("1", job.snapshot(1).to_str().unwrap(), "fail"));
    assert!(told[3].starts_with("fail open: it cannot be checked: "), "{told:?}");
    assert_eq!(told[4], job.history().to_str().unwrap());
    assert!(job.told().contains("--on-fail at step 1: it ended with exit status: 3"), "{}", job.told());
    // It is known, and still the history has one that fails.
    fs::remove_file(&mark).unwrap();
    ended(&job, &watch(&["--once"]), 1);
    assert!(!mark.exists());
    job.write(1, 1.0);
    ended(&job, &watch(&["--once"]), 0);
    assert_eq!((job.steps(), mark.exists()), (vec![0, 2, 1, 1], false));
}

#[test]
fn only_what_is_new_against_the_checkpoint_before_runs_the_command() {
    let job = Job::new();
    (0..5).for_each(|step| job.write(step, 1.0));
    let mark = job.folder.path().join("mark");
    let command = format!("echo $ATTNSCOPE_STEP >> '{}'", mark.display());
    let arguments = ["--once", "--expect", "gain>50", "--on-fail", &command, "--every", "2"];
    ended(&job, &job.watch(&arguments).output().unwrap(), 1);
    assert_eq!((job.steps(), fs::read_to_string(&mark).unwrap().as_str()), (vec![0, 2, 4], "0\n"));
    assert!(job.lines().iter().all(|line| line["verdict"] == "fail"));
    assert_eq!(job.told().matches("repeats.gain>50 is not met").count(), 1, "{}", job.told());
}

/// The command with a limit of so many blocks to what is written to a file, of which it is told instead of being ended.
fn limited(command: &Command, blocks: usize) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    shell
}

#[test]
fn a_disk_that_fills_costs_no_line() {
    let job = Job::new();
    (0..5).for_each(|step| job.write(step, 1.0));
    // Room for two lines and a half.
    ended(
        &job,
        &job.watch(&["--once", "--history", "elsewhere"]).current_dir(job.folder.path()).output().unwrap(),
        0,
    );
    let whole = fs::read_to_string(job.folder.path().join("elsewhere")).unwrap();
    let blocks = whole.len() / 2 / 512;
    let output = limited(&job.watch(&["--once"]), blocks).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("run.watch.jsonl cannot be written: File too large"), "{told}");
    assert!(told.lines().last().unwrap().contains("make room"), "{told}");
    let kept = fs::read_to_string(job.history()).unwrap();
    assert!(kept.ends_with("}\n") && (1..5).contains(&job.lines().len()), "{kept}");
    ended(&job, &job.watch(&["--once"]).output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1, 2, 3, 4]);
    assert_eq!(fs::read_to_string(job.history()).unwrap(), whole);
}

#[test]
fn a_folder_that_vanishes_is_waited_for_and_the_history_stays() {
    let job = Job::new();
    job.write(0, 1.0);
    let child = job.watch(&["--until-step", "1"]).spawn().unwrap();
    until("the first line", || job.steps() == [0]);
    let away = job.folder.path().join("away");
    fs::rename(job.run(), &away).unwrap();
    until("that it is told", || job.told().contains("run is not there: waiting for it"));
    fs::rename(&away, job.run()).unwrap();
    until("that it is told", || job.told().contains("run is there now"));
    job.write(1, 1.0);
    ended(&job, &child.wait_with_output().unwrap(), 0);
    assert_eq!(job.steps(), [0, 1], "{}", job.told());
}

/// Starts a process that lives until its standard input is closed.
fn alive() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_watch_ends_with_the_job_after_what_that_has_left() {
    let job = Job::new();
    let mut process = alive();
    let child = job.watch(&["--until-pid", &process.id().to_string()]).spawn().unwrap();
    job.write(0, 1.0);
    until("the first line", || job.steps() == [0]);
    job.write(1, 1.0);
    job.write(2, 0.5);
    // Nobody asks for its exit code, as of a job in a shell.
    drop(process.stdin.take());
    ended(&job, &child.wait_with_output().unwrap(), 1);
    assert_eq!(job.steps(), [0, 1, 2], "what is half now stays so");
    assert_eq!(findings(&job.lines()[2])[0].0, "open");
    process.wait().unwrap();
    // One that does nothing any more is left alone after a while.
    let idle = job.watch(&["--idle-exit", "0.001"]).output().unwrap();
    ended(&job, &idle, 1);
    assert_eq!(job.steps(), [0, 1, 2]);
}

#[test]
fn what_cannot_be_watched_is_a_line() {
    let job = Job::new();
    let refused = |arguments: &[&str], wanted: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_attnscope"))
            .current_dir(job.folder.path())
            .arg("watch")
            .args(arguments)
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{arguments:?}: {told}");
        assert!(told.contains(wanted), "{arguments:?}: {told}");
    };
    refused(&["nowhere", "--once"], "holds no checkpoints");
    refused(&["run", "--once"], "holds no checkpoints");
    assert!(!job.folder.path().join("nowhere.watch.jsonl").exists());
    job.write(0, 1.0);
    refused(&["run/step-000000"], "attnscope check run/step-000000");
    refused(&["run/step-000000/config.json"], "is a file");
    refused(&["run", "--history", "run/step-000000/config.json"], "is no line of a watch");
    refused(&["run", "--once", "--until-step", "4"], "--until-step");
    refused(&["run", "--interval", "0"], "above 0");
    refused(&["run", "--only", "weihgts"], "the nearest is weights");
    let mut watch = job.watch(&[]);
    // SAFETY: `signal` may be called between fork and exec. A shell that runs the tests in the background has interrupts ignored.
    unsafe {
        watch.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            Ok(())
        });
    }
    let child = watch.spawn().unwrap();
    until("the first line", || job.steps() == [0]);
    refused(&["run", "--once"], "another attnscope appends to run.watch.jsonl");
    // SAFETY: takes two numbers; the child is ours and has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGINT) }, 0);
    ended(&job, &child.wait_with_output().unwrap(), 130);
}
