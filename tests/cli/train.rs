//! `attnscope train` as a program: killed, interrupted and gone on; its snapshots opened by the rest of attnscope.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use attnscope::{
    checkpoint::progress::Nobody,
    engine::open::{Model, OpenRequest},
    head::Head,
    model::decoder::Pass,
    train::model::Model as Trained,
};
use candle_core::{DType, Device, Tensor};
use tempfile::{TempDir, tempdir};

/// A folder with a text to train on.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    let text: String = (0..400)
        .map(|day| {
            format!(
                "On day {day} the baker of street {} sold {} loaves of bread.\n\n",
                day % 7,
                day * 31 % 50
            )
        })
        .collect();
    fs::write(folder.path().join("text.txt"), text).unwrap();
    folder
}

fn command(folder: &Path, out: &str, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    let usual =
        "train --text text.txt --heads 2 --width 16 --vocab 300 --context 40 --batch 4 --repeat-steps 4";
    command.current_dir(folder).args(usual.split(' ')).args(["--out", out]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, out: &str, more: &[&str]) -> Output {
    command(folder, out, more).output().unwrap()
}

fn done(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn message(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Waits until the run has stored a state.
fn wait_for_state(folder: &Path, out: &str, child: &mut Child) {
    let state = folder.join(out).join("state/state.safetensors");
    let start = Instant::now();
    while !state.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "no state after a minute");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it was stopped");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Enough steps that a run is not over before it is stopped.
const LONG: [&str; 6] = ["--steps", "400", "--save-every", "5", "--snapshot-every", "100"];

#[test]
fn a_killed_run_goes_on_to_the_same_weights() {
    let folder = folder();
    let folder = folder.path();
    done(&run(folder, "whole", &LONG));
    let mut child = command(folder, "killed", &LONG).spawn().unwrap();
    wait_for_state(folder, "killed", &mut child);
    // SIGKILL.
    child.kill().unwrap();
    child.wait().unwrap();
    let last = "step-000400/model.safetensors";
    assert!(!folder.join("killed").join(last).exists(), "it was killed too late to show anything");
    let again = run(folder, "killed", &LONG);
    done(&again);
    let weights = |out: &str| fs::read(folder.join(out).join(last)).unwrap();
    assert_eq!(weights("whole"), weights("killed"));
    let state = |out: &str| {
        let state = fs::read(folder.join(out).join("state/state.safetensors")).unwrap();
        let tensors = candle_core::safetensors::load_buffer(&state, &Device::Cpu).unwrap();
        let mut all: Vec<(String, Vec<f32>)> = tensors
            .into_iter()
            .map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    assert_eq!(state("whole"), state("killed"));
    let finished = run(folder, "killed", &LONG);
    done(&finished);
    assert!(message(&finished).contains("all 400 steps are done already"), "{}", message(&finished));
    let other = run(folder, "killed", &["--steps", "500"]);
    assert_eq!(other.status.code(), Some(2));
    assert_eq!(message(&other).lines().count(), 1, "{}", message(&other));
    assert!(message(&other).contains("killed holds a run that began with --"), "{}", message(&other));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_stores_its_state_and_says_how_to_go_on() {
    let folder = folder();
    let folder = folder.path();
    for (number, signal) in [("int", libc::SIGINT), ("term", libc::SIGTERM), ("hup", libc::SIGHUP)] {
        // Only the beginning is stored on the way.
        let settings = ["--steps", "100000", "--save-every", "100000", "--snapshot-every", "100000"];
        let mut child = command(folder, number, &settings).spawn().unwrap();
        wait_for_state(folder, number, &mut child);
        std::thread::sleep(Duration::from_millis(200));
        // SAFETY: takes two numbers; the child is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        let output = child.wait_with_output().unwrap();
        let said = message(&output);
        assert_eq!(output.status.code(), Some(130), "{said}");
        assert!(said.contains("interrupted after step") && said.contains("goes on from there"), "{said}");
        let step: usize =
            said.split("after step ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        let child = command(folder, number, &settings).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(600));
        // SAFETY: as above.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        let said = message(&child.wait_with_output().unwrap());
        assert!(said.contains(&format!("going on after step {step} of")), "{said}");
    }
}

#[test]
fn bad_input_is_one_line_and_exit_code_2() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("empty.txt"), "\n").unwrap();
    fs::write(folder.join("binary"), b"\x7fELF\0\0").unwrap();
    for (arguments, says) in [
        (&["--text", "empty.txt"][..], "empty.txt is empty"),
        (&["--text", "binary"], "binary is a binary file"),
        (&["--text", "gone.txt"], "cannot read gone.txt"),
        (&["--vocab", "50000"], "lower --vocab"),
        (&["--mlp", "2", "--smeared-keys"], "cannot be used with"),
        (&["--out", "text.txt"], "text.txt is no folder"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        let mut all = vec!["train"];
        for (name, usual) in [("--text", "text.txt"), ("--out", "out")] {
            if !arguments.contains(&name) {
                all.extend([name, usual]);
            }
        }
        let output = command.current_dir(folder).args(all).args(arguments).output().unwrap();
        let said = message(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn every_kind_of_snapshot_opens_and_computes_what_was_trained() {
    let folder = folder();
    let folder = folder.path();
    let ids: Vec<u32> = vec![0, 5, 9, 200, 5, 9, 17, 5];
    for (out, more) in [
        ("attention", &[][..]),
        ("bigrams", &["--layers", "0"]),
        ("mlps", &["--mlp", "2.5"]),
        ("smeared", &["--smeared-keys"]),
    ] {
        let mut settings = vec!["--steps", "30", "--lr", "0.02"];
        settings.extend(more);
        done(&run(folder, out, &settings));
        let snapshot = folder.join(out).join("step-000030");
        let trained = Trained::load(&snapshot, DType::F32, &Device::Cpu).unwrap();
        let input = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let expected = trained.forward(&input).unwrap();

        let model = Some(snapshot.display().to_string());
        let opened = Model::open(&OpenRequest { model, ..OpenRequest::default() }, &Nobody).unwrap();
        let mut trace = opened.decoder.trace();
        opened.decoder.extend(&mut trace, &ids, &Pass::FREE).unwrap();
        let logits = opened.decoder.logits(&trace.last.view().unwrap()).unwrap();
        assert!(apart(&logits, &expected.logits.squeeze(0).unwrap()) < 1e-4, "{out}");
        for (layer, pattern) in expected.patterns.iter().enumerate() {
            for head in 0..opened.info.heads {
                let shown = Tensor::from_vec(
                    trace.matrix(Head::new(layer, head)).unwrap(),
                    (ids.len(), ids.len()),
                    &Device::Cpu,
                );
                let trained = pattern.get(0).unwrap().get(head).unwrap();
                assert!(apart(&shown.unwrap(), &trained) < 1e-5, "{out} {layer}.{head}");
            }
        }
    }
    // Without heads there is nothing to rank or show, but there are logits.
    let bigrams = "bigrams/step-000030";
    for arguments in [&["rank", bigrams][..], &["show", bigrams, "--ids", "0,5", "--head", "0.0"]] {
        let output = attnscope(folder, &[arguments, &["--quiet"]].concat());
        let said = message(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains("no layers") && said.contains("attnscope circuits"), "{said}");
    }
    let table = &["circuits", bigrams, "--what", "bigram", "--ids", "5", "--top", "3", "--quiet"];
    let output = attnscope(folder, table);
    done(&output);
    assert!(String::from_utf8_lossy(&output.stdout).contains("logit"));
    done(&attnscope(folder, &["trace", bigrams, "--ids", "0,5,9", "--out", "logits.safetensors"]));
    let tensors = candle_core::safetensors::load(folder.join("logits.safetensors"), &Device::Cpu).unwrap();
    assert_eq!((tensors.len(), tensors["logits"].dims()), (2, &[3, 300][..]));
    let output = attnscope(folder, &["trace", bigrams, "--ids", "0", "--layers", "0", "--out", "x"]);
    assert_eq!(output.status.code(), Some(2));
}

fn attnscope(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attnscope")).current_dir(folder).args(arguments).output().unwrap()
}

/// The largest difference of two tensors.
fn apart(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}
