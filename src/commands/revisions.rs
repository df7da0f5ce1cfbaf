//! `revisions`: the branches and tags of a model on the hub, training steps in their order.

use anyhow::Result;
use serde_json::{Value, json};

use super::open::Headless;
use crate::{
    checkpoint::hub::{
        name::Name,
        revisions::{self, Revision},
    },
    cli::{Common, ListFormat, RevisionsArgs},
    report::table::{self, Align},
    text::line,
};

/// Lists them.
pub fn run(args: &RevisionsArgs, common: &Common) -> Result<()> {
    let watcher = Headless::new(common);
    let (name, revisions) = revisions::list(&args.model, &watcher)?;
    watcher.clear();
    super::print(&match args.format {
        ListFormat::Table => table(&revisions),
        ListFormat::Json => json(&name, &revisions)?,
    })
}

fn table(revisions: &[Revision]) -> String {
    let heading = ["revision", "kind", "step", "commit"].map(str::to_owned).to_vec();
    let rows = revisions.iter().map(|revision| {
        vec![
            line(&revision.name),
            kind(revision).to_owned(),
            revision.step.map_or_else(String::new, |step| step.to_string()),
            line(&revision.commit).chars().take(7).collect(),
            if revision.cached { "in the cache".to_owned() } else { String::new() },
        ]
    });
    table::aligned(
        std::iter::once(heading).chain(rows),
        |at| if at == 2 { Align::Right } else { Align::Left },
    )
}

fn kind(revision: &Revision) -> &'static str {
    if revision.tag { "tag" } else { "branch" }
}

fn json(name: &Name, revisions: &[Revision]) -> Result<String> {
    let revision = |revision: &Revision| {
        json!({
            "name": revision.name,
            "kind": kind(revision),
            "step": revision.step,
            "commit": revision.commit,
            "cached": revision.cached,
        })
    };
    let revisions: Vec<Value> = revisions.iter().map(revision).collect();
    let value = json!({ "schema_version": 1, "model": name.repository, "revisions": revisions });
    Ok(serde_json::to_string(&value)? + "\n")
}
