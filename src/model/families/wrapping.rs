//! What training stacks put before the names of a model's tensors: `module.`, `pretrained_model.`, `base_model.model.` and
//! whatever else a module is called that the model was part of when it was saved.
//!
//! No list of them is needed: the family knows how it calls the queries of its first layer, and what stands before that name
//! in the file, so that the family's other names follow it too, is none of the model's.

use std::{borrow::Cow, cmp::Reverse};

use anyhow::{Result, bail};

use super::Reading;
use crate::{
    checkpoint::weights::Weights,
    model::slot::{LayerSlot, Part, Plan, Slot},
    text::{excerpt, list},
};

/// A model as its family names it.
pub struct Unwrapped<'w> {
    /// What was read of it.
    pub reading: Reading,
    /// Its tensors, under the family's names.
    pub weights: Cow<'w, Weights>,
    /// What is to be said of tensors that are no part of it.
    pub remark: Option<String>,
}

/// Reads the model in `weights` whatever its names begin with; `read` does so where they begin as the family has it, and
/// `origin` names it in errors.
///
/// # Errors
/// Those of `read`, and when the weights are those of several models.
pub fn unwrap<'w>(
    weights: Cow<'w, Weights>,
    origin: &str,
    read: &dyn Fn(&Weights) -> Result<Reading>,
) -> Result<Unwrapped<'w>> {
    let reading = read(&weights)?;
    let roots = roots(&reading.plan, &weights, read);
    let Some(root) = roots.first().filter(|root| !root.is_empty() || roots.len() > 1) else {
        return Ok(Unwrapped { reading, weights, remark: None });
    };
    let is_of = |name: &str, root: &String| !root.is_empty() && name.starts_with(root.as_str());
    let own = match (root.as_str(), &roots[1..]) {
        ("", others) => weights.filtered(|name| {
            let is_others = others.iter().any(|other| is_of(name, other));
            (!is_others).then_some(name)
        }),
        (root, []) => weights.filtered(|name| name.strip_prefix(root)),
        _ => bail!(
            "{origin}: the weights are those of {} models, whose tensors begin with {}: keep those of one of them in a file",
            roots.len(),
            list(roots.iter().map(|root| format!("`{}`", excerpt(root))), 4).unwrap_or_default()
        ),
    };
    let is_left_out = |name: &&str| name.strip_prefix(root.as_str()).is_none_or(|name| !own.contains(name));
    let left_out = weights.iter().map(|tensor| tensor.name.as_str()).filter(is_left_out);
    let remark = list(left_out.map(|name| format!("`{}`", excerpt(name))), 3).map(|names| {
        let model = match root.as_str() {
            "" => "whose names have nothing before them".to_owned(),
            root => format!("whose names begin with `{}`", excerpt(root)),
        };
        format!("the model is the one {model}; what is beside it is left out: {names}")
    });
    Ok(Unwrapped { reading: read(&own)?, weights: Cow::Owned(own), remark })
}

/// What stands before the names of each model in `weights`: first nothing, where one has the family's own names, then what
/// most tensors are under. Of models that are the same in memory, one is told.
fn roots(plan: &Plan, weights: &Weights, read: &dyn Fn(&Weights) -> Result<Reading>) -> Vec<String> {
    let Some(anchor) = anchor(plan) else { return Vec::new() };
    let end = end(&anchor);
    let mut roots: Vec<(String, *const u8)> = Vec::new();
    for tensor in weights.iter() {
        let Some(before) = tensor.name.strip_suffix(end) else { continue };
        let starts = before.match_indices('.').map(|(dot, _)| dot + 1);
        let mut starts = [0].into_iter().chain(starts).filter(|_| before.is_empty() || before.ends_with('.'));
        let root = starts.find(|&start| {
            let (root, name) = tensor.name.split_at(start);
            match root {
                "" => name == anchor && is_whole(plan, weights),
                root => {
                    let inner = weights.filtered(|name| name.strip_prefix(root));
                    read(&inner).is_ok_and(|Reading { plan, .. }| {
                        is_whole(&plan, &inner) && self::anchor(&plan).is_some_and(|anchor| anchor == name)
                    })
                }
            }
        });
        roots.extend(root.map(|start| (tensor.name[..start].to_owned(), tensor.bytes().as_ptr())));
    }
    let size = |root: &str| weights.iter().filter(|tensor| tensor.name.starts_with(root)).count();
    roots.sort_by_cached_key(|(root, _)| Reverse((root.is_empty(), size(root))));
    let mut told = Vec::new();
    roots.retain(|&(_, place)| {
        !told.contains(&place) && {
            told.push(place);
            true
        }
    });
    roots.into_iter().map(|(root, _)| root).collect()
}

/// The tensor that a plan is known by: the queries of the first layer or, without layers, the embedding.
fn anchor(plan: &Plan) -> Option<String> {
    let slot = match plan.spec.layers {
        0 => Slot::Embedding,
        _ => Slot::Layer(0, LayerSlot::Query, Part::Weight),
    };
    (plan.source)(slot).map(|source| source.tensor)
}

/// How the name of an anchor ends whatever the family's own names begin with, which some files leave out: from the layer's
/// number on, or with the module.
fn end(anchor: &str) -> &str {
    let start = match anchor.find(".0.") {
        Some(dot) => dot + 1,
        None => anchor.rmatch_indices('.').nth(1).map_or(0, |(dot, _)| dot + 1),
    };
    &anchor[start..]
}

/// Whether the weights of a plan have one of its ends; what reads images has layers of the same names, and none.
fn is_whole(plan: &Plan, weights: &Weights) -> bool {
    let ends = [Slot::Embedding, Slot::Unembedding(Part::Weight)];
    let mut sources = ends.into_iter().filter_map(|slot| (plan.source)(slot));
    sources.any(|source| weights.contains(&source.tensor))
        || plan.unused.iter().any(|name| weights.contains(name))
}
