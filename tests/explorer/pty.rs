//! The real program on a pseudo terminal: what it paints, what it leaves behind, and that it ends when it should.

use std::{fs, path::Path, sync::atomic::Ordering, thread, time::Duration};

use crate::terminal::{PROGRAM, Pty, modes};

/// The parameters of every SGR sequence in the bytes.
fn colours(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let sequences = text.split("\x1b[").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        rest[end..].starts_with('m').then(|| rest[..end].to_owned())
    });
    sequences.collect()
}

#[test]
fn it_paints_helps_and_quits() {
    let mut pty = Pty::explorer(120, 40, &[]);
    let first = pty.wait_ready();
    assert!(pty.output.lock().unwrap().screen.screen().alternate_screen());
    assert_ne!(modes(&**pty.master.as_ref().unwrap()), pty.modes_before);
    pty.keys("?");
    pty.wait("the help", |screen| screen != first && screen.to_lowercase().contains("help"));
    pty.keys("q");
    pty.wait_ready();
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
    assert!(pty.bytes().ends_with(b"\x1b[?1049l"));
}

#[test]
fn steps_and_heads_change_the_screen() {
    let mut pty = Pty::explorer(120, 40, &[]);
    pty.wait_ready();
    for keys in ["\x1b[D", "\x1b[C", "\x1b[B", "\x1b[A", "]i"] {
        pty.wait_quiet(Duration::from_millis(300));
        let before = pty.screen();
        pty.keys(keys);
        pty.wait(&format!("{keys:?} to change something"), |screen| screen != before);
    }
    pty.keys("2");
    pty.wait("the ranking", |screen| screen.contains("induction") && screen.contains("previous"));
    pty.keys("Q");
    assert_eq!(pty.exit_code(), 0);
}

#[test]
fn every_view_of_the_circuits_is_painted() {
    let mut pty = Pty::explorer(80, 24, &[]);
    pty.wait_ready();
    pty.keys("3");
    for shown in [
        "the query token",
        "the strongest sources",
        "eigenvalues of",
        "by tokens back;",
        "K-composition",
        "induction corner",
        "direct path  ",
    ] {
        pty.wait_for(shown);
        pty.keys("\t");
    }
    pty.keys("Q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
}

#[test]
fn a_run_is_followed_and_scrubbed() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    let add = |step: u64| {
        // As the trainer does: under another name until it is whole.
        let (hidden, snapshot) = (folder.path().join(".new"), folder.path().join(format!("step-{step:06}")));
        std::fs::create_dir(&hidden).unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            std::fs::copy(shipped.join(file), hidden.join(file)).unwrap();
        }
        std::fs::rename(hidden, snapshot).unwrap();
    };
    add(100);
    add(200);
    std::fs::create_dir(folder.path().join("step-000150")).unwrap();
    std::fs::write(folder.path().join("step-000150/config.json"), "{}").unwrap();
    let mut pty = Pty::spawn(120, 40, PROGRAM, &[folder.path().to_str().unwrap()], &[]);
    pty.wait("the last snapshot", |screen| screen.contains("step 200") && screen.contains("Doctor"));
    pty.keys("5");
    let screen = pty.wait("two points and what is broken", |screen| {
        screen.contains("left out: step 150") && screen.contains("measured here")
    });
    assert!(screen.contains("3 of 3"), "{screen}");
    // It grows by itself.
    add(300);
    pty.wait_for("3 of 4");
    pty.keys("1");
    pty.wait("the prompt", |screen| screen.contains("Pattern"));
    pty.keys(">");
    pty.wait_for("step 300");
    pty.keys("<");
    pty.wait_for("step 200");
    pty.keys("<");
    pty.wait_for("! ");
    pty.keys("<");
    pty.wait("the first snapshot", |screen| screen.contains("step 100") && screen.contains("Doctor"));
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
}

#[test]
fn it_follows_the_size_of_the_terminal() {
    let mut pty = Pty::explorer(80, 24, &[]);
    pty.wait_ready();
    for (width, height) in [(40, 10), (1, 1), (160, 50), (80, 24)] {
        pty.wait_quiet(Duration::from_millis(300));
        let seen = pty.bytes().len();
        pty.resize(width, height);
        pty.wait("a frame of the new size", |_| pty.bytes().len() > seen);
    }
    pty.wait_ready();
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
}

#[test]
fn signals_give_the_terminal_back() {
    for (name, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("QUIT", 131)] {
        let mut pty = Pty::explorer(80, 24, &[]);
        pty.wait_ready();
        pty.signal(name);
        assert_eq!(pty.exit_code(), code, "{name}");
        pty.assert_given_back();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_weights_file_that_is_cut_ends_it_with_one_line_and_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints/attn-2l");
    let model = folder.path().join("attn-2l");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(shipped.join(file), model.join(file)).unwrap();
    }
    let mut pty = Pty::spawn(80, 24, PROGRAM, &[model.to_str().unwrap()], &[]);
    pty.wait_ready();
    let weights = model.join("model.safetensors");
    fs::File::options().write(true).open(&weights).unwrap().set_len(0).unwrap();
    // Without the head, the layers run again.
    pty.keys("x");
    assert_eq!(pty.exit_code(), 2);
    pty.assert_given_back();
    pty.wait_for("became shorter while it was read");
}

#[test]
fn it_stops_and_comes_back() {
    let mut pty = Pty::spawn(80, 24, "sh", &["-i"], &[("PS1", "ready> ")]);
    pty.wait_for("ready>");
    pty.keys(&format!("'{PROGRAM}'\n"));
    let shown = |pty: &Pty| pty.output.lock().unwrap().screen.screen().alternate_screen();
    for _ in 0..2 {
        pty.wait_ready();
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("\x1a");
        pty.wait("the shell", |screen| !shown(&pty) && screen.trim_end().ends_with("ready>"));
        assert!(pty.screen().contains("topped"), "{}", pty.screen());
        pty.keys("fg\n");
        pty.wait("the explorer again", |_| shown(&pty));
    }
    pty.wait_ready();
    pty.keys("q");
    pty.wait("the shell at the end", |screen| !shown(&pty) && screen.trim_end().ends_with("ready>"));
    pty.keys("echo code=$?\n");
    pty.wait_for("code=0");
}

#[test]
fn no_color_means_none() {
    for variables in [&[("NO_COLOR", "1")][..], &[("NO_COLOR", "1"), ("COLORTERM", "truecolor")]] {
        let mut pty = Pty::explorer(120, 40, variables);
        pty.wait_ready();
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("?");
        pty.wait_quiet(Duration::from_millis(300));
        pty.keys("Q");
        pty.exit_code();
        let used = colours(&pty.bytes());
        let coloured = |sgr: &String| sgr.contains("38;") || sgr.contains("48;") || sgr.is_empty();
        assert!(!used.iter().any(coloured), "{used:?}");
    }
    let mut pty = Pty::explorer(120, 40, &[("COLORTERM", "truecolor")]);
    pty.wait_ready();
    pty.keys("Q");
    pty.exit_code();
    assert!(colours(&pty.bytes()).iter().any(|sgr| sgr.contains("38;2") || sgr.contains("48;2")));
}

#[test]
fn a_dumb_terminal_is_refused() {
    let mut pty = Pty::explorer(80, 24, &[("TERM", "dumb")]);
    assert_eq!(pty.exit_code(), 2);
    let screen = pty.wait_for("attnscope show");
    assert!(screen.contains("attnscope rank"), "{screen}");
    assert!(!pty.bytes().contains(&0x1b));
}

#[test]
fn a_model_that_cannot_be_opened_is_named_after_the_screen() {
    let mut pty = Pty::spawn(80, 24, PROGRAM, &["./no-such-model"], &[]);
    assert_eq!(pty.exit_code(), 2);
    pty.assert_given_back();
    let screen = pty.wait_for("attnscope: ");
    assert!(screen.contains("no-such-model"), "{screen}");
}

#[test]
fn a_terminal_that_goes_away_ends_it() {
    let mut pty = Pty::explorer(80, 24, &[]);
    pty.wait_ready();
    pty.wait_quiet(Duration::from_millis(300));
    pty.deaf.store(true, Ordering::SeqCst);
    pty.keys("?"); // wakes the reading thread, which then lets go
    thread::sleep(Duration::from_millis(200));
    drop(pty.writer.take());
    drop(pty.master.take());
    assert_ne!(pty.exit_code(), 0);
}

#[test]
fn it_is_silent_and_asleep_when_nothing_happens() {
    let pty = Pty::explorer(120, 40, &[]);
    pty.wait_ready();
    pty.wait_quiet(Duration::from_millis(1000));
    let (bytes, wakeups) = (pty.bytes().len(), wakeups(&pty));
    thread::sleep(Duration::from_millis(1000));
    assert_eq!(pty.bytes().len(), bytes);
    assert_eq!(self::wakeups(&pty), wakeups);
}

/// How often the thread that draws has gone to sleep; the same number twice means that it slept in between.
fn wakeups(pty: &Pty) -> Option<String> {
    let id = pty.child.process_id()?;
    let status = std::fs::read_to_string(format!("/proc/{id}/task/{id}/status")).ok()?;
    status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned)
}
