//! The house stands: no room imports from a floor above, no files of a room import in a circle, and other crates are named
//! only where they belong.

#![allow(clippy::unwrap_used)]

mod plan;
mod selftest;
mod syntax;

use std::{collections::BTreeMap, fs, path::Path};

use plan::Plan;

/// The rooms, from the ground up.
const FLOORS: &[&[&str]] = &[
    &["checkpoint", "error", "head", "mapped", "memory", "output", "text"],
    &["model"],
    &["analysis"],
    &["run"],
    &["engine"],
    &["app", "train"],
    &["report", "term", "ui"],
    &["cli", "commands", "main"],
];

/// Names of other crates, and clocks, with the rooms that may know them.
const KNOWN: &[(&[&str], &[&str])] = &[
    (
        &["candle_core", "candle_nn"],
        &["checkpoint", "model", "analysis", "run", "engine", "train", "commands"],
    ),
    (&["hf_hub", "reqwest", "tokio"], &["checkpoint"]),
    (&["ratatui"], &["report", "term", "ui", "commands"]),
    (&["crossterm"], &["term"]),
    (&["clap"], &["train", "term", "cli", "commands"]),
    (&["Instant", "SystemTime"], &["checkpoint", "run", "train", "engine", "term", "commands"]),
];

/// The files of `folder` by their names in it.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

fn house() -> Plan {
    Plan::of(&files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")))
}

/// Nothing was found; what was is told line by line.
#[track_caller]
fn none(found: Vec<String>) {
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_room_imports_from_a_floor_above() {
    none(house().climbs(FLOORS));
}

#[test]
fn no_files_import_in_a_circle() {
    none(house().circles());
}

#[test]
fn other_crates_are_named_where_they_belong() {
    none(house().strangers(KNOWN));
}
