//! One cache with Python: what its `huggingface_hub` downloaded opens here, and what was downloaded here opens there.
//!
//! `ATTNSCOPE_PYTHON` names an interpreter that has the library.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::hub_server::{
    self, Hub,
    models::{NAME, WEIGHTS, fixture, sharded, tiny},
};

struct World {
    hub: Hub,
    cache: TempDir,
}

impl World {
    fn new(hub: Hub) -> Self {
        Self { hub, cache: tempfile::tempdir().unwrap() }
    }

    fn with_variables(&self, mut command: Command) -> Command {
        command
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .env("HF_ENDPOINT", self.hub.endpoint())
            .env("HF_HOME", self.cache.path())
            .env("HF_HUB_CACHE", self.cache.path().join("hub"));
        command
    }

    fn script(&self, arguments: &[&str]) -> Command {
        let python =
            env::var("ATTNSCOPE_PYTHON").expect("ATTNSCOPE_PYTHON names a Python with huggingface_hub");
        let mut command = Command::new(python);
        command.arg("tests/reference/hub_interop.py").args(arguments);
        self.with_variables(command)
    }

    /// What the library says.
    fn python(&self, arguments: &[&str]) -> Value {
        let output = self.script(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Ranks the model with this program.
    fn rank(&self, name: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
        command.args(["rank", name, "--length", "5"]);
        let output = self.with_variables(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// A model with two revisions, one of them in a folder of its own.
fn repository() -> hub_server::Repository {
    tiny().commit("refs/pr/1").lfs("sub/odd name.bin", vec![3; 999]).tag("v1.0").main()
}

#[test]
fn what_python_downloaded_opens_without_an_exchange() {
    for revision in ["main", "v1.0", "refs/pr/1"] {
        let world = World::new(Hub::start(vec![repository()]));
        world.python(&["download", NAME, revision]);
        world.hub.forget();
        world.rank(&format!("{NAME}@{revision}"));
        assert!(world.hub.requests().is_empty(), "{:?}", world.hub.requests());
    }
    let second = "model-00002-of-00002.safetensors";
    let shards = sharded().lfs(second, fixture(&format!("llama-gqa/{second}")));
    let world = World::new(Hub::start(vec![shards]));
    world.python(&["download", NAME]);
    world.hub.forget();
    // Python takes everything there is, so that it is known to have no tokenizer only by asking.
    world.rank(NAME);
    assert!(
        world
            .hub
            .requests()
            .iter()
            .all(|seen| seen.method == "HEAD" || seen.path.starts_with("/api/models/"))
    );
    world.hub.forget();
    world.rank(NAME);
    assert!(world.hub.requests().is_empty());
}

#[test]
fn what_was_downloaded_here_serves_python() {
    let world = World::new(Hub::start(vec![repository()]));
    world.rank(NAME);
    world.rank("org/tiny@v1.0");
    world.hub.forget();
    for revision in ["main", "v1.0"] {
        let offline = world.python(&["offline", NAME, revision]);
        let text = offline.to_string();
        for (file, bytes) in
            [(WEIGHTS, fixture("gpt2/model.safetensors")), ("config.json", fixture("gpt2/config.json"))]
        {
            assert!(text.contains(file) && text.contains(&hub_server::sha256(&bytes)), "{text}");
        }
    }
    assert!(world.hub.requests().is_empty());

    let scan = world.python(&["scan"]);
    assert_eq!(scan["warnings"].as_array().unwrap().len(), 0, "{scan}");
    assert!(scan.to_string().contains(NAME), "{scan}");

    // Online it fetches what we left out, and what we fetched not again.
    world.python(&["download", NAME]);
    let again = world.hub.requests().into_iter().filter(|seen| seen.method == "GET");
    let again: Vec<String> = again.map(|seen| format!("{}?{}", seen.path, seen.query)).collect();
    assert!(!again.iter().any(|seen| seen.contains(WEIGHTS) || seen.contains("config.json")), "{again:?}");
}

#[test]
fn python_and_we_respect_one_lock() {
    let world = World::new(Hub::start(vec![tiny()]));
    let etag = hub_server::sha256(&fixture("gpt2/model.safetensors"));
    let locks = world.cache.path().join("hub/.locks/models--org--tiny");
    fs::create_dir_all(&locks).unwrap();
    let lock = locks.join(format!("{etag}.lock"));
    let mut script = world.script(&["lock", lock.to_str().unwrap()]);
    let mut python = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(python.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "held");

    let mut command = Command::new(env!("CARGO_BIN_EXE_attnscope"));
    command.args(["rank", NAME, "--length", "5"]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut ours = world.with_variables(command).spawn().unwrap();
    let mut said = BufReader::new(ours.stderr.take().unwrap()).lines();
    let waits = said.by_ref().map(Result::unwrap).find(|line| line.contains("another process downloads"));
    assert!(waits.is_some(), "it says that it waits");
    assert!(!blob(&world, &etag).exists());

    python.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(python.wait().unwrap().success());
    said.for_each(drop);
    assert!(ours.wait().unwrap().success());
    assert!(blob(&world, &etag).is_file());
}

fn blob(world: &World, etag: &str) -> std::path::PathBuf {
    Path::new(world.cache.path()).join("hub/models--org--tiny/blobs").join(etag)
}
