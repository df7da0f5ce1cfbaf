//! The revisions of a model, those of a training run in the order of its steps.

use anyhow::{Context, Result};

use super::{cache::Shelf, exchange::Reference, fetch::references, name::Name, settings::Settings};
use crate::checkpoint::{
    progress::Watcher,
    snapshot::{prefix, step},
};

/// A branch or a tag of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its name, to be given after `@`; not cleaned.
    pub name: String,
    /// Whether it is a tag.
    pub tag: bool,
    /// The commit it means.
    pub commit: String,
    /// The training step it was taken at, where its name says so.
    pub step: Option<u64>,
    /// Whether files of that commit are in the cache.
    pub cached: bool,
}

/// The branches and tags of the model that `text` names, training steps last and in order.
pub fn list(text: &str, watcher: &dyn Watcher) -> Result<(Name, Vec<Revision>)> {
    let name = Name::parse(text)
        .filter(Name::has_owner)
        .with_context(|| format!("{text} is no name of a model on the hub: name org/model"))?;
    let settings = Settings::from_env()?;
    if let Some(variable) = settings.offline {
        anyhow::bail!(
            "only the hub knows the revisions of {text}, and {variable} forbids the network: unset it"
        );
    }
    let shelf = Shelf::new(&settings.cache, &name.repository);
    let all = references(&settings, &name, watcher)?.into_iter();
    let mut revisions: Vec<Revision> = all
        .map(|Reference { name, tag, commit }| Revision {
            step: step(&name),
            cached: super::name::is_commit(&commit) && !shelf.files(&commit).is_empty(),
            name,
            tag,
            commit,
        })
        .collect();
    sort(&mut revisions);
    Ok((name, revisions))
}

/// Main first, other names by alphabet, then the steps of each run in order.
fn sort(revisions: &mut [Revision]) {
    revisions.sort_by_cached_key(|revision| {
        let run = revision.step.map(|_| prefix(&revision.name).to_owned());
        (run, revision.step, revision.name != super::name::MAIN, revision.name.clone())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_comes_first_and_steps_in_their_order() {
        let names = ["step1000", "v2", "stage2-step5", "step64", "main", "stage1-step10", "step512", "a"];
        let revision = |name: &&str| Revision {
            name: (*name).to_owned(),
            tag: false,
            commit: String::new(),
            step: step(name),
            cached: false,
        };
        let mut revisions: Vec<Revision> = names.iter().map(revision).collect();
        sort(&mut revisions);
        let sorted: Vec<&str> = revisions.iter().map(|revision| revision.name.as_str()).collect();
        assert_eq!(
            sorted,
            ["main", "a", "v2", "stage1-step10", "stage2-step5", "step64", "step512", "step1000"]
        );
    }
}
