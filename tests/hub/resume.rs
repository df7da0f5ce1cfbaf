//! Downloads that were stopped, cut or spoilt: they go on where their bytes ended.

use super::*;

#[test]
fn a_connection_that_is_cut_goes_on_where_it_ended() {
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Cut { after: 70_000 }, 1);
    assert_whole(&world);
    let ranges: Vec<_> = world.bodies().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=70000-".to_owned())]);
}

#[test]
fn a_long_file_may_break_often_as_long_as_it_gets_on() {
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Cut { after: 10_000 }, 15);
    assert_whole(&world);
    assert_eq!(world.bodies().len(), 16);
}

#[test]
fn a_download_that_never_gets_on_ends_with_a_line() {
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Cut { after: 0 }, 1000);
    let error = world.error();
    assert!(error.contains("cannot be reached") && error.contains("is kept"), "{error}");
    assert!(world.bodies().len() < 10);
}

#[test]
fn a_server_that_keeps_to_no_ranges_sends_everything_again() {
    let world = World::new(tiny());
    world.hub.fault(On::cdn("").get(), Fault::Cut { after: 70_000 }, 1);
    world.hub.fault(On::cdn("").get(), Fault::NoRanges, 1);
    assert_whole(&world);
}

#[test]
fn weights_that_the_hub_serves_itself_resume_too() {
    let world = World::new(tiny().direct_lfs());
    world.hub.fault(On::hub(WEIGHTS).get(), Fault::Cut { after: 70_000 }, 1);
    assert_whole(&world);
    assert!(world.hub.requests().iter().any(|seen| seen.header("range") == Some("bytes=70000-")));
}

#[test]
fn a_server_that_falls_silent_is_given_up_and_asked_again() {
    let mut world = World::new(tiny());
    world.settings.patience = Duration::from_millis(500);
    world.hub.fault(On::cdn("").get(), Fault::Stall { after: 50_000 }, 1);
    assert_whole(&world);
    assert_eq!(world.bodies().last().unwrap().header("range"), Some("bytes=50000-"));
}

#[test]
fn stopping_keeps_what_is_here_and_the_next_start_goes_on() {
    let world = World::new(tiny());
    let gate = world.hub.hold(On::cdn("").get(), 100_000);
    let scribe = Scribe { stop_at: Some(90_000), ..Scribe::default() };
    let error = world.open_as(NAME, &Wanted::default(), &scribe).unwrap_err();
    assert!(is_interrupted(&error), "{error:#}");
    drop(gate);
    let part = world.part().unwrap();
    assert!(part.len() >= 60_000 && part.len() <= 100_000, "{}", part.len());
    assert_eq!(part, fixture("gpt2/model.safetensors")[..part.len()]);

    world.hub.forget();
    let scribe = Scribe::default();
    let snapshot = world.open_as(NAME, &Wanted::default(), &scribe).unwrap();
    assert_eq!(weights_of(&snapshot), fixture("gpt2/model.safetensors"));
    let range = format!("bytes={}-", part.len());
    assert_eq!(world.bodies().iter().map(|seen| seen.header("range").unwrap()).collect::<Vec<_>>(), [range]);
    assert!(world.part().is_none());
}

#[test]
fn a_part_that_is_not_the_beginning_of_the_file_is_thrown_away() {
    for part in [vec![1_u8; 50_000], vec![1; 500_000], fixture("gpt2/model.safetensors")] {
        let world = World::new(tiny());
        fs::create_dir_all(world.folder().join("blobs")).unwrap();
        fs::write(world.folder().join("blobs").join(etag()).with_extension("incomplete"), &part).unwrap();
        assert_whole(&world);
    }
}

#[test]
fn a_permission_of_the_storage_that_ran_out_is_asked_for_again() {
    let world = World::new(tiny());
    let expired = Fault::Status { code: 403, headers: Vec::new(), body: "expired".into() };
    world.hub.fault(On::cdn("").get(), Fault::Cut { after: 70_000 }, 1);
    world.hub.fault(On::cdn("").get(), expired, 1);
    assert_whole(&world);
}
