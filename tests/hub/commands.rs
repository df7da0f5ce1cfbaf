//! The commands that speak to the hub or keep its cache, run as a script would run them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::hub_server::{
    self, Fault, Hub, On, Origin, Repository,
    models::{NAME, WEIGHTS, fixture, tiny},
};

/// A server, and a home for the program.
struct World {
    hub: Hub,
    home: TempDir,
}

impl World {
    fn new(repositories: Vec<Repository>) -> Self {
        Self { hub: Hub::start(repositories), home: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        for name in
            ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HTTP_PROXY", "http_proxy"]
        {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    /// Standard output and standard error of a command that succeeds.
    fn texts(&self, arguments: &[&str]) -> (String, String) {
        texts(self.run(arguments))
    }

    /// The one line of a command that fails.
    fn complaint(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty() && text.starts_with("attnscope: "), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
        text
    }

    fn model(&self) -> PathBuf {
        self.home.path().join("hub/models--org--tiny")
    }
}

fn texts(output: Output) -> (String, String) {
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    (String::from_utf8(output.stdout).unwrap(), error)
}

const RANK: [&str; 6] = ["rank", NAME, "--length", "5", "--format", "json"];

#[test]
fn a_name_is_enough_to_rank_a_model() {
    let world = World::new(vec![tiny()]);
    let (json, notes) = world.texts(&RANK);
    let report: Value = serde_json::from_str(&json).unwrap();
    let commit = fs::read_to_string(world.model().join("refs/main")).unwrap();
    assert_eq!(report["model"]["name"], "tiny");
    assert_eq!(report["model"]["source"], format!("org/tiny@{commit}"));
    assert!(notes.contains("192 kB to download"), "{notes}");
    // The source is a name too: it opens exactly the same again, from the cache.
    world.hub.forget();
    let again = world.texts(&["rank", &format!("org/tiny@{commit}"), "--length", "5", "--format", "json"]).0;
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!((&again["heads"], &again["model"]["source"]), (&report["heads"], &report["model"]["source"]));
    assert!(world.hub.requests().is_empty());
    // Quiet means quiet.
    let other = World::new(vec![tiny()]);
    assert_eq!(other.texts(&[&RANK[..], &["--quiet"]].concat()).1, "");
}

#[test]
fn a_token_that_was_stored_is_sent_and_never_printed() {
    let world = World::new(vec![tiny().private("hf_stored")]);
    fs::write(world.home.path().join("token"), "hf_stored\n").unwrap();
    let (json, notes) = world.texts(&RANK);
    assert!(!json.contains("hf_stored") && !notes.contains("hf_stored"));
    fs::write(world.home.path().join("token"), "hf_expired").unwrap();
    let text = world.complaint(&["revisions", NAME]);
    assert!(text.contains("/token: it is wrong or expired") && !text.contains("hf_expired"), "{text}");
}

#[test]
fn a_program_that_was_killed_goes_on_at_the_next_start() {
    let world = World::new(vec![tiny()]);
    let gate = world.hub.hold(On::cdn(WEIGHTS).get(), 120_000);
    let mut child = world.start(&RANK);
    gate.wait();
    child.kill().unwrap();
    child.wait().unwrap();
    gate.release();
    world.hub.forget();
    let etag = hub_server::sha256(&fixture("gpt2/model.safetensors"));
    let part = world.model().join("blobs").join(etag).with_extension("incomplete").metadata();
    let part = part.map_or(0, |part| part.len());
    world.texts(&RANK);
    let seen = world.hub.requests();
    let body = seen.iter().find(|seen| seen.origin == Origin::Cdn).unwrap();
    let from = (part > 0).then(|| format!("bytes={part}-"));
    assert_eq!(body.header("range"), from.as_deref());
}

#[test]
fn two_programs_download_a_file_once() {
    let world = World::new(vec![tiny()]);
    let gate = world.hub.hold(On::cdn(WEIGHTS).get(), 120_000);
    let first = world.start(&RANK);
    gate.wait();
    let mut second = world.start(&RANK);
    let mut said = BufReader::new(second.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.contains("another process downloads")), "the second waits for the first");
    gate.release();
    said.for_each(drop);
    let [first, second] = [first, second].map(|child| texts(child.wait_with_output().unwrap()).0);
    let heads = |text: &str| serde_json::from_str::<Value>(text).unwrap()["heads"].clone();
    assert_eq!(heads(&first), heads(&second));
    let bodies = world.hub.requests().iter().filter(|seen| seen.origin == Origin::Cdn).count();
    assert_eq!(bodies, 1);
}

#[test]
fn revisions_are_listed_with_the_steps_in_order() {
    let repository = ["step512", "step1000", "step64"].iter().fold(tiny().tag("v1.0"), |repository, step| {
        repository.main().commit(step).file("config.json", *step)
    });
    let world = World::new(vec![repository.main().commit("evil\u{202e}branch")]);
    let (table, _) = world.texts(&["revisions", NAME]);
    let names: Vec<&str> =
        table.lines().skip(1).map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["main", "evil∅branch", "v1.0", "step64", "step512", "step1000"], "{table}");

    world.texts(&RANK);
    let (json, _) = world.texts(&["revisions", NAME, "--format", "json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["schema_version"], 1);
    let revisions = report["revisions"].as_array().unwrap();
    assert_eq!(revisions[0]["cached"], true);
    assert_eq!(revisions[5]["step"], 1000);
    assert_eq!(revisions[5]["cached"], false);

    assert!(world.complaint(&["revisions", "org/nothing"]).contains("no such public model"));
    assert!(world.complaint(&["revisions", "tiny"]).contains("name org/model"));
}

#[test]
fn the_cache_is_listed_and_tidied() {
    let step = tiny()
        .commit("step1000")
        .file("config.json", fixture("gpt2-inverse/config.json"))
        .lfs(WEIGHTS, fixture("gpt2-inverse/model.safetensors"));
    let world = World::new(vec![step]);
    assert!(world.texts(&["cache"]).0.starts_with("no models in "));
    world.texts(&RANK);
    world.texts(&["rank", "org/tiny@step1000", "--length", "5"]);
    let (table, _) = world.texts(&["cache"]);
    assert!(table.contains("main") && table.contains("step1000") && table.contains("192 kB"), "{table}");

    // Nobody can be asked here, so nothing goes without --yes.
    let refusal = world.complaint(&["cache", "rm", "org/tiny@step1000"]);
    assert!(refusal.contains("--yes") && refusal.contains("org/tiny@step1000 (frees 147 kB)"), "{refusal}");
    let (_, done) = world.texts(&["cache", "rm", "--yes", "org/tiny@step1000"]);
    assert!(done.contains("removed org/tiny@step1000"), "{done}");
    // What the other commit shares with it is still there.
    world.hub.forget();
    world.texts(&RANK);
    assert!(world.hub.requests().is_empty());
    assert!(!world.model().join("refs/step1000").exists());

    let (json, _) = world.texts(&["cache", "--format", "json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["models"][0]["model"], NAME);
    assert_eq!(report["models"][0]["revisions"].as_array().unwrap().len(), 1);

    assert!(world.complaint(&["cache", "rm", "--yes", "org/other"]).contains("not in the cache"));
    assert!(world.complaint(&["cache", "rm", "--yes", "org/tiny@v9"]).contains("not its revision v9"));
    world.texts(&["cache", "rm", "--yes", NAME]);
    assert!(!world.model().exists());
}

#[test]
fn a_model_that_is_being_downloaded_is_not_removed() {
    let world = World::new(vec![tiny()]);
    let gate = world.hub.hold(On::cdn(WEIGHTS).get(), 120_000);
    let child = world.start(&RANK);
    gate.wait();
    assert!(world.complaint(&["cache", "rm", "--yes", NAME]).contains("another process downloads"));
    gate.release();
    texts(child.wait_with_output().unwrap());
}

#[test]
fn removing_follows_no_link_out_of_the_cache() {
    let world = World::new(vec![tiny().commit("other").file("tokenizer_config.json", "{}")]);
    world.texts(&RANK);
    world.texts(&["rank", "org/tiny@other", "--length", "5"]);
    let outside = world.home.path().join("precious");
    fs::write(&outside, "mine").unwrap();
    let snapshots = fs::read_dir(world.model().join("snapshots")).unwrap().flatten();
    for snapshot in snapshots {
        std::os::unix::fs::symlink(&outside, snapshot.path().join("link.json")).unwrap();
    }
    world.texts(&["cache", "rm", "--yes", "org/tiny@other"]);
    world.texts(&["cache", "rm", "--yes", NAME]);
    assert_eq!(fs::read_to_string(outside).unwrap(), "mine");
}

#[test]
fn without_a_terminal_a_download_is_told_in_plain_lines() {
    let world = World::new(vec![tiny()]);
    world.hub.fault(
        On::cdn(WEIGHTS).get(),
        Fault::Status { code: 429, headers: vec![("Retry-After", "1".into())], body: String::new() },
        1,
    );
    let (_, notes) = world.texts(&RANK);
    assert!(!notes.contains('\x1b') && !notes.contains('\r'), "{notes:?}");
    assert!(notes.contains("the hub asks to wait"), "{notes}");
}

#[test]
fn one_of_two_names_goes_alone() {
    let world = World::new(vec![tiny().tag("v1.0")]);
    world.texts(&RANK);
    world.texts(&["rank", "org/tiny@v1.0", "--length", "5"]);
    let (_, done) = world.texts(&["cache", "rm", "--yes", "org/tiny@v1.0"]);
    assert!(done.contains("the name org/tiny@v1.0") && done.contains("for main means them too"), "{done}");
    world.hub.forget();
    world.texts(&RANK);
    assert!(world.hub.requests().is_empty());
    // The last name takes the files with it.
    let (_, done) = world.texts(&["cache", "rm", "--yes", "org/tiny@main"]);
    assert!(done.contains("removed org/tiny (frees 192 kB)"), "{done}");
    assert!(!world.model().exists());
}

#[test]
fn what_downloads_left_can_be_removed_alone() {
    let world = World::new(vec![tiny()]);
    world.texts(&RANK);
    let part = world.model().join("blobs/0123.ab12.incomplete");
    fs::write(&part, vec![0; 5000]).unwrap();
    assert!(world.texts(&["cache", "ls"]).0.contains("(unfinished)"));
    let (_, done) = world.texts(&["cache", "rm", "--unfinished", "--yes", NAME]);
    assert!(done.contains("frees 5.0 kB"), "{done}");
    assert!(!part.exists());
    world.hub.forget();
    world.texts(&RANK);
    assert!(world.hub.requests().is_empty());
}

#[test]
fn every_try_is_told_where_there_are_no_bars() {
    let world = World::new(vec![tiny()]);
    let trouble = Fault::Status { code: 503, headers: Vec::new(), body: String::new() };
    world.hub.fault(On::hub("/api/"), trouble, 2);
    let (_, notes) = world.texts(&RANK);
    let tries: Vec<&str> = notes.lines().filter(|line| line.contains("status 503")).collect();
    assert_eq!(tries.len(), 2, "{notes}");
    assert!(tries[0].ends_with("in 1 s") && tries[1].ends_with("in 2 s"), "{notes}");
}
