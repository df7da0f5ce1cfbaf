//! `cache`: what the hub's cache holds, and taking models out of it.

use std::fmt::Write;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::open::ask;
use crate::{
    checkpoint::hub::{
        inventory::{self, Inventory, Model, Removal, Revision},
        settings::Settings,
    },
    cli::{CacheArgs, CacheCommand, Common, ListFormat},
    report::table::{self, Align},
    text::{line, size},
};

/// Lists the cache, or removes what is named.
pub fn run(args: &CacheArgs, common: &Common) -> Result<()> {
    let settings = Settings::from_env()?;
    let inventory = inventory::read(&settings)?;
    match &args.command {
        None | Some(CacheCommand::List) => {
            for warning in &inventory.warnings {
                super::note(&format!("broken: {}; removing its model mends that", line(warning)));
            }
            super::print(&match args.format {
                ListFormat::Table => table(&inventory, &settings),
                ListFormat::Json => json(&inventory, &settings)?,
            })
        }
        Some(CacheCommand::Rm { models, unfinished, yes }) => {
            let removal =
                |model| if *unfinished { inventory.unfinished(model) } else { inventory.removal(model) };
            let removals: Vec<Removal<'_>> =
                models.iter().map(|model| removal(model)).collect::<Result<_>>()?;
            remove(&removals, *yes, common.quiet)
        }
    }
}

fn table(inventory: &Inventory, settings: &Settings) -> String {
    let mut text = String::new();
    if inventory.models.is_empty() {
        let _ = writeln!(text, "no models in {}", line(&settings.cache.display().to_string()));
    } else {
        let heading = ["model", "revision", "commit", "files", "size"].map(str::to_owned).to_vec();
        let rows = inventory.models.iter().flat_map(|model| {
            let revisions = model.revisions.iter().map(|revision| row(model, revision));
            revisions.chain((model.unfinished > 0).then(|| unfinished(model)))
        });
        text = table::aligned(std::iter::once(heading).chain(rows), |at| {
            if at < 3 { Align::Left } else { Align::Right }
        });
        let total = inventory.models.iter().map(|model| model.size + model.unfinished).sum();
        let _ = writeln!(text, "{} in {}", size(total), line(&settings.cache.display().to_string()));
    }
    if inventory.others.0 > 0 {
        let _ = writeln!(
            text,
            "beside them {} data sets and spaces, {}",
            inventory.others.0,
            size(inventory.others.1)
        );
    }
    text
}

fn row(model: &Model, revision: &Revision) -> Vec<String> {
    vec![
        line(&model.repository),
        line(&revision.references.join(", ")),
        short(&revision.commit),
        revision.files.to_string(),
        size(revision.size),
    ]
}

fn unfinished(model: &Model) -> Vec<String> {
    vec![line(&model.repository), "(unfinished)".into(), String::new(), String::new(), size(model.unfinished)]
}

fn short(commit: &str) -> String {
    line(commit).chars().take(7).collect()
}

fn json(inventory: &Inventory, settings: &Settings) -> Result<String> {
    let revision = |revision: &Revision| {
        json!({
            "commit": revision.commit,
            "references": revision.references,
            "files": revision.files,
            "size": revision.size,
        })
    };
    let models: Vec<Value> = inventory
        .models
        .iter()
        .map(|model| {
            json!({
                "model": model.repository,
                "size": model.size,
                "unfinished": model.unfinished,
                "revisions": model.revisions.iter().map(revision).collect::<Vec<_>>(),
            })
        })
        .collect();
    let cache = settings.cache.display().to_string();
    Ok(serde_json::to_string(&json!({ "schema_version": 1, "cache": cache, "models": models }))? + "\n")
}

fn remove(removals: &[Removal<'_>], yes: bool, quiet: bool) -> Result<()> {
    let what = removals.iter().map(Removal::describe).collect::<Vec<_>>().join(", ");
    if !yes {
        match ask(&format!("remove {what}?"))? {
            Some(true) => {}
            Some(false) => {
                super::note("nothing was removed");
                return Ok(());
            }
            None => bail!("{what} would be removed: say so with --yes, for nobody can be asked here"),
        }
    }
    for removal in removals {
        removal.carry_out()?;
        if !quiet {
            super::note(&format!("removed {}", line(&removal.describe())));
        }
    }
    Ok(())
}
