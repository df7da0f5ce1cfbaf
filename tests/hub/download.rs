//! What a name brings: the files that are needed, once, where Python would put them.

use super::*;

#[test]
fn a_model_is_downloaded_once_and_laid_out_as_python_does() {
    let world = World::new(tiny()).with_token("hf_secret");
    let scribe = Scribe::default();
    let snapshot = world.open_as(NAME, &Wanted::default(), &scribe).unwrap();
    assert_eq!(weights_of(&snapshot), fixture("gpt2/model.safetensors"));

    let commit = fs::read_to_string(world.folder().join("refs/main")).unwrap();
    assert_eq!(snapshot.folder, world.folder().join("snapshots").join(&commit));
    assert_eq!(snapshot.source(), format!("org/tiny@{commit}"));
    let link = fs::read_link(snapshot.folder.join(WEIGHTS)).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(etag()));
    let config = hub_server::git_blob(&fixture("gpt2/config.json"));
    assert!(world.folder().join("blobs").join(config).is_file(), "small files are named by git's hash");

    let note = scribe.notes.borrow().concat();
    assert!(
        note.contains("3 files, 192 kB to download (") && note.contains("182 kB of weights"),
        "the need is said first: {note}"
    );
    let last = scribe.downloads.borrow().last().unwrap().clone();
    assert!(last.files.iter().all(|file| file.state == TransferState::Done));
    assert_eq!(last.done(), last.total());

    world.hub.forget();
    world.open().unwrap();
    assert_eq!(world.hub.requests().len(), 0, "what is in the cache is opened without asking");
}

#[test]
fn only_what_opens_the_model_is_fetched() {
    let world = World::new(tiny());
    let snapshot = world.open().unwrap();
    let mut files: Vec<_> =
        fs::read_dir(&snapshot.folder).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["config.json", WEIGHTS, "tokenizer.json"]);
    let asked = |part: &str| world.hub.requests().iter().any(|seen| seen.path.contains(part));
    assert!(asked("tokenizer.json") && !asked("pytorch_model.bin") && !asked("onnx") && !asked("README"));
}

#[test]
fn the_checkpoint_opens_and_is_named_after_the_model() {
    let world = World::new(tiny());
    // The process' own variables: no other test of this crate reads them, and the programs that
    // tests start are given theirs.
    // SAFETY: see above.
    unsafe {
        std::env::set_var("HF_ENDPOINT", &world.settings.endpoint);
        std::env::set_var("HF_HUB_CACHE", world.cache.path());
    }
    let wanted = Wanted { model: Some(NAME), ..Wanted::default() };
    let checkpoint = Checkpoint::open(&wanted, &Nobody).unwrap();
    assert_eq!(checkpoint.name, "tiny");
    assert!(checkpoint.source.starts_with("org/tiny@") && checkpoint.tokenizer.is_ok());
    assert!(checkpoint.weights.parameters() > 0);

    // A file that is broken in the cache: what to do is in the message.
    let blob = world.folder().join("blobs").join(etag());
    fs::write(&blob, &fixture("gpt2/model.safetensors")[..1000]).unwrap();
    let error = format!("{:#}", Checkpoint::open(&wanted, &Nobody).err().unwrap());
    assert!(error.contains("attnscope cache rm org/tiny"), "{error}");
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let other = fixture("gpt2-inverse/model.safetensors");
    let repository = tiny()
        .commit("step1000")
        .file("config.json", fixture("gpt2-inverse/config.json"))
        .lfs(WEIGHTS, other.clone())
        .tag("v1/first");
    let commit = repository.sha("step1000");
    let world = World::new(repository);
    for revision in [&commit[..7], "step1000", "v1/first", &commit, &commit[..9]] {
        let name = format!("{NAME}@{revision}");
        let snapshot = world.open_as(&name, &Wanted::default(), &Nobody).unwrap();
        assert_eq!(weights_of(&snapshot), other, "{revision}");
        assert!(snapshot.folder.ends_with(&commit));
    }
    assert_eq!(world.bodies().len(), 1, "the same contents come once");
    assert_eq!(fs::read_to_string(world.folder().join("refs/v1/first")).unwrap(), commit);
    assert_whole(&world);

    let error = format!("{:#}", world.open_as("org/tiny@step7", &Wanted::default(), &Nobody).unwrap_err());
    assert!(
        error.contains("no revision `step7`") && error.contains("attnscope revisions org/tiny"),
        "{error}"
    );
}

#[test]
fn a_newer_commit_is_fetched_when_it_is_asked_for() {
    let world = World::new(tiny());
    let commit = fs::read_to_string({
        world.open().unwrap();
        world.folder().join("refs/main")
    });
    // The same model on a hub where it has moved on.
    let newer = tiny().lfs(WEIGHTS, fixture("gpt2-inverse/model.safetensors"));
    let moved = Hub::start(vec![newer]);
    let settings = Settings { endpoint: moved.endpoint(), ..world.settings.clone() };
    let name = Name::parse(NAME).unwrap();
    let scribe = Scribe::default();
    let open =
        |update| hub::open_with(&settings, &Wanted { update, ..Wanted::default() }, &name, &scribe).unwrap();
    assert_eq!(weights_of(&open(false)), fixture("gpt2/model.safetensors"));
    assert_eq!(weights_of(&open(true)), fixture("gpt2-inverse/model.safetensors"));
    assert_eq!(weights_of(&open(false)), fixture("gpt2-inverse/model.safetensors"));
    assert!(scribe.notes.borrow().concat().contains("org/tiny moved from commit"));
    assert!(world.folder().join("snapshots").join(commit.unwrap()).is_dir(), "the older one stays");
}

#[test]
fn a_renamed_model_is_followed() {
    let world = World::new(tiny().named_before("old/tiny"));
    let snapshot = world.open_as("old/tiny", &Wanted::default(), &Nobody).unwrap();
    assert_eq!(weights_of(&snapshot), fixture("gpt2/model.safetensors"));
}

#[test]
fn shards_come_with_their_index() {
    let second = "model-00002-of-00002.safetensors";
    let world = World::new(sharded().lfs(second, fixture("llama-gqa/model-00002-of-00002.safetensors")));
    let snapshot = world.open().unwrap();
    assert!(snapshot.folder.join(second).is_file() && snapshot.file.is_none());
    world.hub.forget();
    world.open().unwrap();
    assert_eq!(world.hub.requests().len(), 0);

    // A shard that is gone comes back, and it alone.
    let blob = fs::canonicalize(snapshot.folder.join(second)).unwrap();
    fs::remove_file(blob).unwrap();
    world.open().unwrap();
    assert_eq!(world.bodies().len(), 1);

    let one = Wanted { file: Some(second), ..Wanted::default() };
    let error = world.open_as("org/tiny@main", &one, &Nobody).unwrap_err().to_string();
    assert!(error.contains("leave --file out"), "{error}");

    let world = World::new(sharded());
    let error = world.error();
    assert!(error.contains(&format!("has no {second}")), "{error}");
}

#[test]
fn a_repository_without_weights_for_us_says_what_it_has() {
    let world =
        World::new(Repository::new(NAME).file("config.json", "{}").lfs("flax_model.msgpack", vec![1; 10]));
    assert!(world.error().ends_with("it has flax_model.msgpack"), "{}", world.error());

    let gguf = fixture("gguf/spm.gguf");
    let world =
        World::new(Repository::new(NAME).lfs("a.Q4_0.gguf", gguf.clone()).lfs("a.Q8_0.gguf", gguf.clone()));
    assert!(world.error().contains("name one with --file: a.Q4_0.gguf, a.Q8_0.gguf"), "{}", world.error());
    let wanted = Wanted { file: Some("a.Q8_0.gguf"), ..Wanted::default() };
    let snapshot = world.open_as(NAME, &wanted, &Nobody).unwrap();
    assert_eq!(snapshot.file.as_deref(), Some("a.Q8_0.gguf"));
    assert_eq!(world.bodies().len(), 1);
}

#[test]
fn a_repository_with_pickles_alone_is_downloaded_and_opens() {
    let pickle = |file: &str| fixture(&format!("pickle/{file}"));
    let described = || Repository::new(NAME).file("config.json", pickle("config.json"));
    let single = described().lfs("pytorch_model.bin", pickle("pytorch_model.bin"));
    let sharded = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
        .into_iter()
        .fold(described(), |repository, shard| repository.lfs(shard, pickle(shard)))
        .file("pytorch_model.bin.index.json", pickle("pytorch_model.bin.index.json"));
    for (repository, file) in [(single, "pytorch_model.bin"), (sharded, "pytorch_model.bin.index.json")] {
        let world = World::new(repository.lfs("training_args.bin", vec![1; 10]));
        let snapshot = world.open().unwrap();
        assert_eq!(snapshot.file.as_deref(), Some(file));
        assert!(!snapshot.folder.join("training_args.bin").exists());
        let wanted = Wanted { model: snapshot.folder.to_str(), file: Some(file), ..Wanted::default() };
        let checkpoint = Checkpoint::open(&wanted, &Nobody).unwrap();
        assert!(checkpoint.weights.contains("transformer.h.1.mlp.c_proj.weight"), "{file}");
    }
}
