//! Everything that can go wrong on the way, each with a line that says what to do.

use super::*;

#[test]
fn a_hub_that_never_answers_is_not_waited_for() {
    let mut world = World::new(tiny());
    world.settings.patience = Duration::from_millis(100);
    world.hub.fault(On::hub("/api/").get(), Fault::Stall { after: 0 }, 1000);
    assert!(world.error().contains("nothing came from the hub"), "{}", world.error());
}

#[test]
fn wrong_bytes_are_noticed() {
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Flip, 1);
    assert_whole(&world);
    assert_eq!(world.bodies().len(), 2);

    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Flip, 1000);
    let error = world.error();
    assert!(error.contains(WEIGHTS) && error.contains("hash"), "{error}");
    assert!(world.part().is_none() && !world.folder().join("blobs").join(etag()).exists());

    // A small file, which git's own hash names.
    let world = World::new(tiny());
    world.hub.fault(On::hub("config.json").get(), Fault::Flip, 1000);
    assert!(world.error().contains("config.json"), "{}", world.error());
}

#[test]
fn wrong_lengths_are_noticed() {
    let world = World::new(tiny());
    world.hub.fault(On::hub(WEIGHTS).head(), Fault::Length { say: 12 }, 1000);
    let error = world.error();
    assert!(error.contains("181744 bytes are listed and 12 announced"), "{error}");

    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Length { say: 1000 }, 1);
    assert_whole(&world);

    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Length { say: 900_000 }, 1);
    assert_whole(&world);
}

#[test]
fn trouble_of_the_hub_is_waited_out_and_then_told() {
    let status = |code| Fault::Status { code, headers: Vec::new(), body: String::new() };
    let world = World::new(tiny());
    world.hub.fault(On::hub("/api/models/"), status(503), 2);
    world.hub.fault(On::hub("resolve").head(), status(500), 2);
    world.hub.fault(On::cdn("").get(), status(502), 2);
    let scribe = Scribe::default();
    world.open_as(NAME, &Wanted::default(), &scribe).unwrap();

    let world = World::new(tiny());
    world.hub.fault(On::hub("/api/"), status(503), 1000);
    let error = world.error();
    assert!(error.contains("status 503") && error.contains("try again later"), "{error}");
    assert_eq!(world.hub.requests().len(), 6);
}

#[test]
fn the_hub_may_ask_to_wait() {
    let limit = |seconds: &str| Fault::Status {
        code: 429,
        headers: vec![("Retry-After", seconds.to_owned())],
        body: String::new(),
    };
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), limit("1"), 1);
    let scribe = Scribe::default();
    world.open_as(NAME, &Wanted::default(), &scribe).unwrap();
    let said = scribe.downloads.borrow().iter().any(|download| {
        download.note.as_deref().is_some_and(|note| note.contains("the hub asks to wait 1 s"))
    });
    assert!(said, "the wait is said");

    let world = World::new(tiny());
    world.hub.fault(On::hub("/api/"), limit("86400"), 1000);
    let error = world.error();
    assert!(error.contains("86400 s") || error.contains("no more requests"), "{error}");
    assert_eq!(world.hub.requests().len(), 1);
}

#[test]
fn a_gated_model_says_where_its_terms_are() {
    let world = World::new(tiny().gated());
    let error = world.error();
    assert!(error.contains(&format!("accept its terms at {}/org/tiny", world.settings.endpoint)), "{error}");
    assert!(error.contains("HF_TOKEN") && error.contains("hf auth login"), "{error}");

    let world = World::new(tiny().gated()).with_token("hf_somebody");
    let error = world.error();
    assert!(error.contains("has no access yet") && error.contains("/org/tiny"), "{error}");
    assert!(!error.contains("hf_somebody"));

    World::new(tiny().gated()).with_token("hf_accepted").open().unwrap();
}

#[test]
fn missing_private_and_wrong_tokens_are_told_apart() {
    let world = World::new(Repository::new("org/other"));
    let error = world.error();
    assert!(error.contains("org/tiny") && error.contains("no such public model"), "{error}");

    let world = World::new(Repository::new("org/other")).with_token("hf_somebody");
    assert!(world.error().contains("that this token may see"), "{}", world.error());

    World::new(tiny().private("hf_mine")).with_token("hf_mine").open().unwrap();
    let world = World::new(tiny().private("hf_mine"));
    assert!(world.error().contains("no such public model"), "{}", world.error());

    let world = World::new(tiny()).with_token("hf_expired");
    let error = world.error();
    assert!(error.contains("token from HF_TOKEN") && error.contains("expired"), "{error}");
    assert!(!error.contains("hf_expired"));
}

#[test]
fn a_login_page_is_no_hub() {
    let world = World::new(tiny());
    world.hub.fault(On::hub("/api/"), Fault::Page, 1000);
    assert!(world.error().contains("proxy or a login page"), "{}", world.error());

    let world = World::new(tiny());
    world.hub.fault(On::hub("resolve").head(), Fault::Page, 1000);
    assert!(world.error().contains("text/html"), "{}", world.error());

    // In place of a body: its bytes are not taken for the file's.
    let world = World::new(tiny());
    world.hub.fault(On::hub("config.json").get(), Fault::Page, 1);
    assert_whole(&world);
}

#[test]
fn without_a_network_the_cache_opens_and_says_so() {
    let mut world = World::new(without_tokenizer());
    world.open().unwrap();
    // As if Python had fetched the model without ever asking for a tokenizer.
    fs::remove_dir_all(world.folder().join(".no_exist")).unwrap();
    let endpoint = std::mem::replace(&mut world.settings.endpoint, "http://127.0.0.1:9".into());
    let scribe = Scribe::default();
    world.open_as(NAME, &Wanted::default(), &scribe).unwrap();
    let notes = scribe.notes.borrow().concat();
    assert!(notes.starts_with("offline: org/tiny is opened from the cache"), "{notes}");

    let error = format!("{:#}", world.open_as("org/other", &Wanted::default(), &Nobody).unwrap_err());
    assert!(error.contains("127.0.0.1:9 cannot be reached") && error.contains("refused"), "{error}");
    world.settings.endpoint = endpoint;
    world.open().unwrap();
}

#[test]
fn the_offline_variable_forbids_every_exchange() {
    let mut world = World::new(tiny());
    world.settings.offline = Some("HF_HUB_OFFLINE");
    let error = world.error();
    assert!(error.contains("not in the cache") && error.contains("HF_HUB_OFFLINE"), "{error}");
    world.settings.offline = None;
    world.open().unwrap();
    world.hub.forget();
    world.settings.offline = Some("HF_HUB_OFFLINE");
    let scribe = Scribe::default();
    world.open_as(NAME, &Wanted::default(), &scribe).unwrap();
    assert!(scribe.notes.borrow().concat().starts_with("offline (HF_HUB_OFFLINE is set)"));
    let update = Wanted { update: true, ..Wanted::default() };
    let error = world.open_as(NAME, &update, &Nobody).unwrap_err().to_string();
    assert!(error.contains("--update") && error.contains("HF_HUB_OFFLINE"), "{error}");
    assert_eq!(world.hub.requests().len(), 0);
}

#[test]
fn more_than_is_free_is_asked_about_first() {
    let short = Wanted { memory: Some(1000), ..Wanted::default() };
    let world = World::new(tiny());
    let error = format!("{:#}", world.open_as(NAME, &short, &Nobody).unwrap_err());
    assert!(
        error.contains("182 kB of weights (1.0 kB of memory free)") && error.contains("smaller"),
        "{error}"
    );
    assert_eq!(world.bodies().len(), 0);

    let no = Scribe { answer: Some(false), ..Scribe::default() };
    assert!(world.open_as(NAME, &short, &no).is_err());
    assert!(no.questions.borrow()[0].contains("download it all the same?"));
    let yes = Scribe { answer: Some(true), ..Scribe::default() };
    world.open_as(NAME, &short, &yes).unwrap();

    // A file larger than any disk.
    let world = World::new(tiny());
    let size = 1_u64 << 60;
    let tree = format!(
        r#"[{{"type":"file","oid":"0","size":{size},"path":"model.safetensors"}},{{"type":"file","oid":"0","size":817,"path":"config.json"}}]"#
    );
    world.hub.fault(On::hub("/tree/"), Fault::Status { code: 200, headers: Vec::new(), body: tree }, 1);
    world.hub.fault(On::hub(WEIGHTS).head(), Fault::Length { say: size }, 1);
    let error = world.error();
    assert!(error.contains("of disk free") && error.contains("HF_HUB_CACHE"), "{error}");
}

#[test]
fn a_full_disk_is_told_with_what_is_missing() {
    let world = World::new(tiny());
    fs::create_dir_all(world.folder().join("blobs")).unwrap();
    symlink("/dev/full", world.folder().join("blobs").join(etag()).with_extension("incomplete")).unwrap();
    let error = world.error();
    assert!(error.contains("is full") && error.contains("still to come"), "{error}");
}

#[test]
fn a_cache_that_is_something_else_is_told() {
    let world = World::new(tiny());
    fs::write(world.folder(), "no folder").unwrap();
    let error = world.error();
    assert!(error.contains("cache cannot be used") && error.contains("models--org--tiny"), "{error}");

    // A reference that nobody of us wrote is not believed, contents that are gone come again.
    let world = World::new(tiny());
    fs::create_dir_all(world.folder().join("refs")).unwrap();
    fs::write(world.folder().join("refs/main"), "../../..").unwrap();
    assert_whole(&world);
    fs::remove_dir_all(world.folder().join("blobs")).unwrap();
    assert_whole(&world);
}

#[test]
fn a_model_in_a_cache_that_cannot_be_written_is_up_to_date_all_the_same() {
    let world = World::new(tiny());
    world.open().unwrap();
    // Where nobody may write not even a lock can be made; root may, so that a file stands in for the folder.
    fs::remove_dir_all(world.cache.path().join(".locks")).unwrap();
    fs::write(world.cache.path().join(".locks"), "").unwrap();
    let update = Wanted { update: true, ..Wanted::default() };
    let scribe = Scribe::default();
    world.open_as(NAME, &update, &scribe).unwrap();
    assert!(scribe.notes.borrow().concat().contains("is up to date at commit"));

    fs::remove_dir_all(world.folder()).unwrap();
    let error = world.error();
    assert!(error.contains(".locks/models--org--tiny: "), "the folder in the way is named: {error}");
}

#[test]
fn an_update_that_fails_says_that_the_cache_still_opens() {
    let mut world = World::new(tiny());
    world.open().unwrap();
    world.settings.endpoint = "http://127.0.0.1:9".into();
    let update = Wanted { update: true, ..Wanted::default() };
    let error = world.open_as(NAME, &update, &Nobody).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("without --update"), "{error}");
    world.open().unwrap();
}
