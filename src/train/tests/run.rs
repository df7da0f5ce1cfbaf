//! Runs: what they write, and that they go on.

use std::fs;

use tempfile::tempdir;

use super::*;

/// Trains on the story on the CPU, and stops after the step `until` where one is given.
fn train_until(settings: &Settings, out: &Path, until: Option<usize>) -> Result<Outcome> {
    train(settings, &corpus(), out, &Device::Cpu, |event| match event {
        Event::Step { step, .. } if Some(step) == until => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

fn complaint(settings: &Settings, out: &Path) -> String {
    let error = train_until(settings, out, None).err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// The log without the seconds, which differ.
fn log_lines(out: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(out.join("log.jsonl")).unwrap();
    let mut lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("seconds")));
    lines
}

#[test]
fn the_same_seed_gives_the_same_weights() {
    let folder = tempdir().unwrap();
    let weights = |settings: &Settings, name: &str| {
        let out = folder.path().join(name);
        train_until(settings, &out, None).unwrap();
        fs::read(out.join("step-000003/model.safetensors")).unwrap()
    };
    let first = weights(&small(), "a");
    assert_eq!(first, weights(&small(), "b"));
    assert_ne!(first, weights(&Settings { seed: 1, ..small() }, "c"));
}

#[test]
fn a_stopped_run_goes_on_as_if_it_had_not_stopped() {
    let folder = tempdir().unwrap();
    let settings = Settings {
        steps: 9,
        snapshot_every: 4,
        snapshots: Spacing::Log,
        save_every: 3,
        repeat_share: 0.5,
        mention_share: 0.5,
        ..small()
    };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train_until(&settings, &whole, None).unwrap();
    // Stopped at a snapshot, between, and right before the end; state every step or only when stopped.
    for (until, save_every) in [(2, 1), (5, 100), (8, 3)] {
        let outcome = train_until(&Settings { save_every, ..settings.clone() }, &parts, Some(until)).unwrap();
        assert_eq!(outcome.step, until);
    }
    // Killed after the last state: a line and a snapshot that the state does not know of, and a line half written.
    let log = parts.join("log.jsonl");
    let mut text = fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
    text += "{\"step\":9,\"tokens\":1}\n{\"st";
    fs::write(&log, text).unwrap();
    fs::create_dir_all(parts.join("step-000009")).unwrap();
    fs::create_dir_all(parts.join(".step-000009.new")).unwrap();
    let outcome = train_until(&settings, &parts, None).unwrap();
    assert_eq!((outcome.step, outcome.report.map(|report| report.step)), (9, Some(9)));
    assert_eq!(log_lines(&whole), log_lines(&parts));
    let steps: Vec<u64> = log_lines(&parts).iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1, 2, 4, 8, 9]);
    for step in steps {
        for file in ["model.safetensors", "config.json", "tokenizer.json"] {
            let file = format!("step-{step:06}/{file}");
            assert_eq!(fs::read(whole.join(&file)).unwrap(), fs::read(parts.join(&file)).unwrap(), "{file}");
        }
    }
    assert!(!parts.join(".step-000009.new").exists());
    // A run that is done says so and changes nothing.
    let before = fs::read(&log).unwrap();
    let again = train_until(&settings, &parts, None).unwrap();
    assert_eq!((again.step, again.report.map(|report| report.step)), (9, Some(9)));
    assert_eq!(before, fs::read(&log).unwrap());
}

#[test]
fn a_run_goes_on_with_its_settings_only() {
    let folder = tempdir().unwrap();
    let out = folder.path();
    train_until(&small(), out, Some(1)).unwrap();
    for (other, says) in [
        (Settings { layers: 3, ..small() }, "began with --layers 2, not --layers 3"),
        (Settings { mlp: Some(2.), ..small() }, "began with no --mlp, not --mlp 2.0"),
        (Settings { smeared_keys: true, ..small() }, "not --smeared-keys"),
        (Settings { learning_rate: 1e-3, ..small() }, "began with --lr 0.002, not --lr 0.001"),
        (Settings { snapshots: Spacing::Log, ..small() }, "not --snapshots log"),
    ] {
        let error = complaint(&other, out);
        assert!(error.contains(says) && error.contains("another folder"), "{error}");
    }
    let plain = Corpus::from_texts(&[story()]).unwrap();
    let text = Corpus::from_texts(&[story() + "One more sentence."]).unwrap().with_invented_names();
    for (corpus, says) in [(plain, "began with --invent-names"), (text, "another --text")] {
        let error = train(&small(), &corpus, out, &Device::Cpu, |_| ControlFlow::Continue(())).err().unwrap();
        assert!(error.to_string().contains(says), "{error}");
    }
    // How often the state is stored is free.
    train_until(&Settings { save_every: 7, ..small() }, out, None).unwrap();
}

#[test]
fn a_run_is_worked_on_once_at_a_time() {
    let folder = tempdir().unwrap();
    let mut error = String::new();
    train(&small(), &corpus(), folder.path(), &Device::Cpu, |event| {
        if let Event::Step { step: 1, .. } = event {
            error = complaint(&small(), folder.path());
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(error.contains("another attnscope trains in"), "{error}");
}

#[test]
fn damage_is_named_and_what_is_good_is_kept() {
    let folder = tempdir().unwrap();
    let out = folder.path();
    let settings = Settings { steps: 4, snapshot_every: 1, ..small() };
    train_until(&settings, out, Some(3)).unwrap();
    fs::remove_dir_all(out.join("step-000001")).unwrap();
    let weights = out.join("step-000002/model.safetensors");
    fs::write(&weights, &fs::read(&weights).unwrap()[..100]).unwrap();
    let mut seen = Vec::new();
    train(&settings, &corpus(), out, &Device::Cpu, |event| {
        if let Event::Begun { gaps, .. } = event {
            seen = gaps.to_vec();
        }
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains("step-000001/config.json is gone"), "{seen:?}");
    assert!(seen[1].contains("step-000002/model.safetensors is damaged"), "{seen:?}");
    // A state that is cut short.
    let state = out.join("state/state.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() - 10]).unwrap();
    let error = complaint(&settings, out);
    assert!(error.contains("state.safetensors is damaged") && error.contains("--from"), "{error}");
    fs::write(&state, bytes).unwrap();
    assert_eq!(train_until(&settings, out, None).unwrap().step, 4);
    // Snapshots of something else.
    let foreign = tempdir().unwrap();
    fs::create_dir_all(foreign.path().join("step-000000")).unwrap();
    assert!(
        complaint(&settings, foreign.path()).contains("no state to go on from: give --out another folder")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_snapshot_that_cannot_be_written_leaves_what_was_written_whole() {
    let folder = tempdir().unwrap();
    let out = folder.path();
    let settings = Settings { steps: 4, snapshot_every: 2, ..small() };
    train_until(&settings, out, Some(1)).unwrap();
    // The folder of the next snapshot cannot be made.
    let hidden = out.join(".step-000004.new");
    fs::write(&hidden, "").unwrap();
    let error = complaint(&settings, out);
    assert!(error.contains("cannot write") && error.contains("step-000004"), "{error}");
    fs::remove_file(&hidden).unwrap();
    // It can again.
    assert_eq!(train_until(&settings, out, None).unwrap().step, 4);
    let whole = tempdir().unwrap();
    train_until(&settings, whole.path(), None).unwrap();
    assert_eq!(log_lines(out), log_lines(whole.path()));
    let weights = |out: &Path| fs::read(out.join("step-000004/model.safetensors")).unwrap();
    assert_eq!(weights(out), weights(whole.path()));
}

#[test]
fn a_snapshot_gives_the_same_logits_when_loaded() {
    let folder = tempdir().unwrap();
    let outcome = train_until(&small(), folder.path(), None).unwrap();
    let snapshot = outcome.report.unwrap().folder;
    let ids = Tensor::new(&[[0u32, 3, 5, 3, 5, 10]], &Device::Cpu).unwrap();
    let logits = |model: &Model| model.forward(&ids).unwrap().logits.flatten_all().unwrap();
    let loaded = load(&snapshot);
    assert_eq!(loaded.config(), outcome.model.config());
    // The file holds halves: once they are loaded and saved again nothing changes any more.
    assert!(apart(&logits(&loaded), &logits(&outcome.model)) < 5e-3);
    let again = tempdir().unwrap();
    loaded.save(again.path()).unwrap();
    assert_eq!(apart(&logits(&load(again.path())), &logits(&loaded)), 0.);
}

#[test]
fn training_goes_on_from_a_snapshot() {
    let folder = tempdir().unwrap();
    let first = train_until(&small(), &folder.path().join("first"), None).unwrap().report.unwrap();
    let onward = Settings { from: Some(first.folder.clone()), seed: 1, ..small() };
    train_until(&onward, &folder.path().join("second"), None).unwrap();
    for file in ["model.safetensors", "tokenizer.json", "config.json"] {
        let start = fs::read(folder.path().join("second/step-000000").join(file)).unwrap();
        assert_eq!(start, fs::read(first.folder.join(file)).unwrap(), "{file}");
    }
    let wider = Settings { width: 32, ..onward };
    let error = complaint(&wider, &folder.path().join("third"));
    assert!(error.contains("step-000003 holds a model of other sizes"), "{error}");
}

#[test]
fn weights_beyond_f16_are_refused() {
    let folder = tempdir().unwrap();
    let config = Config::new(11, 12, 1, 3, 9).unwrap();
    let model = Model::new(config, DType::F32, &Device::Cpu, &mut rng()).unwrap();
    for bad in [1e6, f32::NAN] {
        let (_, var) = &model.weights()[3];
        var.set(&Tensor::full(bad, var.dims(), &Device::Cpu).unwrap()).unwrap();
        let error = model.save(folder.path()).unwrap_err().to_string();
        assert!(error.contains("k_proj") && error.contains("--lr"), "{error}");
    }
}

#[test]
fn settings_that_cannot_work_say_why_and_leave_nothing() {
    let folder = tempdir().unwrap();
    for (settings, says) in [
        (Settings { vocab: 60_000, ..small() }, "lower --vocab"),
        (Settings { vocab: 10, ..small() }, "--vocab 10 is too small"),
        (Settings { width: 15, ..small() }, "--width 15"),
        (Settings { width: 1 << 40, ..small() }, "of memory"),
        (Settings { heads: 0, ..small() }, "--heads"),
        (Settings { steps: 0, ..small() }, "--steps 0"),
        (Settings { batch: 0, ..small() }, "--batch 0"),
        (Settings { save_every: 0, ..small() }, "--save-every 0"),
        (Settings { context: 5, ..small() }, "--context 5"),
        (Settings { context: 1_500, ..small() }, "--context 1500"),
        (Settings { learning_rate: 0., ..small() }, "--lr"),
        (Settings { repeat_share: 1.5, ..small() }, "--repeat-share 1.5"),
        (Settings { mention_share: -0.5, ..small() }, "--mention-share -0.5"),
        (Settings { mlp: Some(-1.), ..small() }, "--mlp -1"),
        (Settings { mlp: Some(4.), layers: 0, ..small() }, "--mlp needs layers"),
        (Settings { smeared_keys: true, layers: 0, ..small() }, "--smeared-keys needs layers"),
    ] {
        let error = complaint(&settings, folder.path());
        assert!(error.contains(says), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{says}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_whose_name_is_no_text_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let folder = tempdir().unwrap();
    let error = complaint(&small(), &folder.path().join(OsStr::from_bytes(b"run\xff")));
    assert!(error.contains("is no UTF-8 text: give --out another folder"), "{error}");
}
