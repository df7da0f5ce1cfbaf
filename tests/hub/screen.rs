//! The explorer's download screen in a pseudo terminal: bars move, keys answer, and the terminal is whole afterwards.

use tempfile::TempDir;

use crate::hub_server::{
    Fault, Hub, On, Origin,
    models::{NAME, WEIGHTS, tiny},
};
use crate::terminal::{PROGRAM, Pty};

/// The explorer on a model of the hub.
fn explorer(hub: &Hub, cache: &TempDir, width: u16, height: u16) -> Pty {
    let cache = cache.path().to_str().unwrap();
    let variables = [
        ("HF_ENDPOINT", hub.endpoint()),
        ("HF_HOME", cache.to_owned()),
        ("HF_HUB_CACHE", format!("{cache}/hub")),
        ("HF_HUB_OFFLINE", "0".to_owned()),
        ("HF_TOKEN", String::new()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Pty::spawn(width, height, PROGRAM, &[NAME], &variables)
}

#[test]
fn bars_move_and_the_model_opens() {
    let (hub, cache) = (Hub::start(vec![tiny()]), tempfile::tempdir().unwrap());
    let first = hub.hold(On::cdn(WEIGHTS).get(), 60_000);
    let mut pty = explorer(&hub, &cache, 120, 40);
    first.wait();
    let screen = pty.wait("a third of the download", |screen| screen.contains("60 kB / 182 kB"));
    assert!(screen.contains("org/tiny") && screen.contains(WEIGHTS) && screen.contains('█'), "{screen}");
    pty.keys("?");
    pty.wait("the help over it", |screen| !screen.contains("of 192 kB"));
    pty.keys("\x1b");
    pty.wait("the download again", |screen| screen.contains("of 192 kB"));
    first.release();
    pty.wait("the model", |screen| screen.contains("Pattern"));
    pty.keys("Q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();
}

#[test]
fn a_key_cancels_and_the_next_start_goes_on() {
    for (key, code) in [("q", 0), ("\x03", 130)] {
        let (hub, cache) = (Hub::start(vec![tiny()]), tempfile::tempdir().unwrap());
        let gate = hub.hold(On::cdn(WEIGHTS).get(), 100_000);
        let mut pty = explorer(&hub, &cache, 80, 24);
        gate.wait();
        pty.wait("the bytes so far", |screen| screen.contains("100 kB / 182 kB"));
        pty.keys(key);
        assert_eq!(pty.exit_code(), code);
        pty.assert_given_back();
        gate.release();
        hub.forget();

        let mut pty = explorer(&hub, &cache, 80, 24);
        pty.wait("the model", |screen| screen.contains("Pattern"));
        pty.keys("Q");
        assert_eq!(pty.exit_code(), 0);
        let ranges = hub
            .requests()
            .iter()
            .filter(|seen| seen.origin == Origin::Cdn && seen.header("range").is_some())
            .count();
        assert_eq!(ranges, 1, "the second download went on where the first ended");
    }
}

#[test]
fn a_wait_is_shown_and_a_failure_is_told_after_the_screen() {
    let (hub, cache) = (Hub::start(vec![tiny()]), tempfile::tempdir().unwrap());
    let limit =
        Fault::Status { code: 429, headers: vec![("Retry-After", "200".into())], body: String::new() };
    hub.fault(On::hub("/api/"), limit, 1);
    let mut pty = explorer(&hub, &cache, 80, 24);
    pty.wait_for("the hub asks to wait");
    pty.keys("q");
    assert_eq!(pty.exit_code(), 0);
    pty.assert_given_back();

    let (hub, cache) = (Hub::start(vec![tiny().gated()]), tempfile::tempdir().unwrap());
    let mut pty = explorer(&hub, &cache, 80, 24);
    assert_eq!(pty.exit_code(), 2);
    pty.assert_given_back();
    pty.wait_for("accept its terms");
}

#[test]
fn more_than_is_free_is_asked_about_on_the_screen() {
    let (hub, cache) = (Hub::start(vec![tiny()]), tempfile::tempdir().unwrap());
    let size = 1_u64 << 60;
    let tree = format!(
        r#"[{{"type":"file","oid":"0","size":{size},"path":"model.safetensors"}},
            {{"type":"file","oid":"0","size":817,"path":"config.json"}}]"#
    );
    hub.fault(On::hub("/tree/"), Fault::Status { code: 200, headers: Vec::new(), body: tree }, 1);
    hub.fault(On::hub(WEIGHTS).head(), Fault::Length { say: size }, 1);
    let mut pty = explorer(&hub, &cache, 80, 24);
    let screen = pty.wait_for("download it all");
    assert!(screen.contains("y yes") && screen.contains("n no"), "{screen}");
    pty.keys("n");
    assert_eq!(pty.exit_code(), 2);
    pty.assert_given_back();
    pty.wait_for("not downloaded");
    assert!(!hub.requests().iter().any(|seen| seen.method == "GET" && seen.path.contains("resolve")));
}
