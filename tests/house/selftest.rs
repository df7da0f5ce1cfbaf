//! The checker finds what is wrong with a small house, however it is written, and nothing else.

use std::collections::BTreeMap;

use crate::plan::Plan;

const FLOORS: &[&[&str]] = &[&["ground"], &["attic"], &["main"]];

fn plan(files: &[(&str, &str)]) -> Plan {
    let usual = [
        ("lib.rs", "pub mod attic; pub mod ground;"),
        ("main.rs", "use attnscope::attic;"),
        ("attic.rs", ""),
        ("ground/mod.rs", "mod pump; pub(crate) mod well; pub struct Floor;"),
        ("ground/pump.rs", ""),
        ("ground/well.rs", ""),
    ];
    let files: BTreeMap<_, _> =
        usual.iter().chain(files).map(|&(name, text)| (name.into(), text.into())).collect();
    Plan::of(&files)
}

#[test]
fn a_sound_house_is_left_alone() {
    let plan = plan(&[
        ("attic.rs", "use crate::ground::{self, Floor, well::Rope as Line}; use std::fmt::Write;"),
        ("ground/pump.rs", "use super::{Floor, well}; fn pump<'a>(_: &'a str) { well::deep() }"),
        (
            "ground/well.rs",
            r##"
            //! Like crate::attic, and the crate::ground::pump.
            /* use super::pump; */
            const TEXT: &str = "\"use super::pump;"; const RAW: &str = r#"" use super::pump;"#; const QUOTE: char = '"';
            use super::Floor;
            #[cfg(test)]
            #[allow(unused)]
            use super::{pump, super::attic};
            #[cfg(test)]
            mod tests { use super::super::pump; fn f() { crate::attic::f() } }
        "##,
        ),
    ]);
    assert_eq!(plan.climbs(FLOORS), [""; 0]);
    assert_eq!(plan.circles(), [""; 0]);
    assert_eq!(plan.strangers(&[(&["fmt"], &["attic"]), (&["tests", "QUOTE"], &["ground"])]), [""; 0]);
}

#[test]
fn an_import_from_a_floor_above_is_found_wherever_it_is_written() {
    for text in [
        "use crate::attic;",
        "pub(super) use crate::{ground::Floor, attic::{Beam, Rafter}};",
        "use super::super::attic::*;",
        "fn f() { let c = '\\''; crate::attic::f::<u8>(c); }",
        "#[cfg(unix)] mod unused { } impl super::super::attic::Beam for u8 {}",
        "use crate::Shortcut;",
    ] {
        let lib = ("lib.rs", "mod attic; mod ground; use attic::Beam as Shortcut;");
        let found = plan(&[lib, ("ground/well.rs", text)]).climbs(FLOORS);
        assert_eq!(found, ["ground/well.rs imports from attic, a floor above"], "{text}");
    }
    let found = plan(&[("ground/mod.rs", "use attnscope::attic; use crate::main;")]).climbs(FLOORS);
    assert_eq!(found.len(), 2, "{found:?}");
    let again = ("ground/well.rs", "use crate::attic::Beam; use crate::attic::Rafter;");
    assert_eq!(plan(&[again]).climbs(FLOORS).len(), 1);
    assert_eq!(plan(&[again]).climbs(&FLOORS[1..]), ["ground is on no floor"]);
}

#[test]
fn a_circle_is_found_at_any_depth_and_through_a_name_of_the_folder() {
    let both = "src/ground: pump -> well, well -> pump";
    for (pump, well) in [
        ("use super::well::Rope;", "use crate::ground::pump::Handle;"),
        ("fn f() { super::well::f() }", "use super::{Floor, pump::{self, Handle}};"),
        // What the folder's own file has from one of its files.
        ("use super::Rope;", "use super::pump;"),
    ] {
        let folder = ("ground/mod.rs", "mod pump; mod well; pub use self::well::Rope; pub struct Floor;");
        let found = plan(&[folder, ("ground/pump.rs", pump), ("ground/well.rs", well)]).circles();
        assert_eq!(found, [both], "{pump} {well}");
    }

    // Of three, two of them folders, one file each of which is in it; and of rooms.
    let found = plan(&[
        ("ground/mod.rs", "mod pump; mod tank; mod well;"),
        ("ground/pump.rs", "mod handle;"),
        ("ground/pump/handle.rs", "use crate::ground::well;"),
        ("ground/well.rs", "use super::tank;"),
        ("ground/tank/mod.rs", "mod tap;"),
        ("ground/tank/tap.rs", "use super::super::pump; use crate::attic;"),
        ("attic.rs", "use crate::ground;"),
    ]);
    let expected =
        ["src: attic -> ground, ground -> attic", "src/ground: pump -> well, tank -> pump, well -> tank"];
    assert_eq!(found.circles(), expected);
}

#[test]
fn a_crate_that_does_not_belong_is_found() {
    let plan =
        plan(&[("attic.rs", "fn f(_: &candle::Tensor) {}"), ("ground/well.rs", "use candle::Tensor;")]);
    assert_eq!(plan.strangers(&[(&["candle"], &["ground"])]), ["attic.rs names candle"]);
}
