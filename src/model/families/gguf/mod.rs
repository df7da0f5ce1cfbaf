//! Models in GGUF files. Their metadata is translated into the keys that `config.json` would have; from these the family's
//! page makes the plan, and then the tensors have the names of the format, which are the same for every family.
//!
//! Quirks are what the converters do to weights: Llama and some after it have query and key rows stored so that neighbours,
//! not halves, are rotated together, which leaves the patterns as they are; fused queries, keys and values go one after
//! another, whatever the order of the family; every matrix is `[outputs, inputs]`; gains that are stored less one elsewhere
//! are whole; the experts of a layer are one stack. Llama 3.1's factors are the tensor `rope_freqs.weight`, LongRoPE's are
//! `rope_factors_short.weight` and `rope_factors_long.weight`.

mod architectures;
mod keys;
mod tensors;

pub use self::keys::{name_in_file, scalar};

use anyhow::{Result, bail};
use serde_json::{Map, Value};

pub use self::architectures::*;
use super::Family;
use crate::{
    checkpoint::{gguf::Metadata, weights::Weights},
    model::{
        config::Config,
        rotary::{Frequencies, Pairing},
        slot::{LayerSlot, Plan},
        spec::{Positions, Spec},
    },
};

/// What rotary frequencies are divided by, `[size / 2]`.
const FACTORS: &str = "rope_freqs.weight";
/// The same for each side of the old context.
const SHORT_FACTORS: &str = "rope_factors_short.weight";
const LONG_FACTORS: &str = "rope_factors_long.weight";

/// How the files of an architecture tell what the `config.json` of its family tells.
pub struct Architecture {
    /// `general.architecture`, with which its keys begin.
    pub name: &'static str,
    /// The key, without the architecture, that the files of this family have and those of others of this name have not.
    only_with: Option<&'static str>,
    /// Keys, without the architecture, and what the family's configuration calls them, where that is not the usual name.
    keys: &'static [(&'static str, &'static str)],
    /// Keys of the family's configuration that are true where the first layer has a tensor.
    flags: &'static [(&'static str, &'static str)],
    /// Names of places of a layer that are not the usual ones.
    places: &'static [(LayerSlot, &'static str)],
    /// Whether query and key rows are stored so that neighbours are rotated together.
    permuted: bool,
    /// What else is to be said in the family's configuration.
    adjust: fn(&File<'_>, &mut Map<String, Value>),
}

/// The head of a file, and which tensors there are.
struct File<'a> {
    architecture: &'a Architecture,
    metadata: &'a Metadata,
    weights: &'a Weights,
    /// Its path.
    origin: &'a str,
}

impl Architecture {
    /// Whether the file has what tells this family from others of the same architecture; `None` where nothing does.
    pub fn is_meant(&self, metadata: &Metadata) -> Option<bool> {
        let key = format!("{}.{}", self.name, self.only_with?);
        Some(metadata.get(&key).is_some_and(|value| keys::scalar(value).is_some_and(|value| value != 0)))
    }
}

/// The plan of the model in a file of `architecture`, which belongs to `family`; messages call the file `origin`.
///
/// # Errors
/// When a key is missing or has a value that is not handled.
pub fn plan(
    family: &Family,
    architecture: &'static Architecture,
    metadata: &Metadata,
    weights: &Weights,
    origin: &str,
) -> Result<Plan> {
    let file = File { architecture, metadata, weights, origin };
    let config = Config::new(keys::translated(&file)?, origin).within(weights.parameters());
    let page = (family.hub)(&config, weights)?;
    let mut spec = page.spec;
    keys::check(&file, &spec)?;
    spec.norm.gain_offset = 0.0;
    rotate(&file, &mut spec)?;
    let later = file.count("nextn_predict_layers").unwrap_or(0).min(weights.iter().count() as u64) as usize;
    let beside = (spec.layers..spec.layers + later).map(|layer| format!("blk.{layer}.")).collect();
    let names = tensors::Names::of(&file, &spec, page.source);
    let mut plan = Plan::new(spec, move |slot| names.source(slot));
    plan.unused = &[FACTORS, SHORT_FACTORS, LONG_FACTORS];
    plan.beside = beside;
    Ok(plan)
}

/// Rotations as the file's weights want them.
fn rotate(file: &File<'_>, spec: &mut Spec) -> Result<()> {
    let Positions::Rotary { tables, .. } = &mut spec.positions else { return Ok(()) };
    let factors = match file.weights.contains(FACTORS) {
        true => Some(file.weights.get(FACTORS)?.to_f32()),
        false => None,
    };
    for table in tables {
        if file.architecture.permuted {
            table.pairing = Pairing::Neighbours;
        }
        match (&mut table.frequencies, &factors) {
            (_, None) => {}
            (Frequencies::Fixed(angles), Some(factors)) if angles.len() == factors.len() => {
                angles.iter_mut().zip(factors).for_each(|(angle, factor)| *angle /= factor);
            }
            (_, Some(factors)) => bail!(
                "{}: tensor `{FACTORS}` has {} factors, which do not fit rotations of {} numbers",
                file.origin,
                factors.len(),
                table.size
            ),
        }
    }
    Ok(())
}
