//! Mixtures of experts: the keys that describe them, and where their tensors are in files that stack them.

use anyhow::{Result, bail};

use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Share, Slot, Source},
        spec::Experts,
    },
};

/// How many experts there are and how many work on a token; whether their shares are `renormalised` the family knows.
pub fn read(config: &Config, renormalised: bool) -> Result<Experts> {
    // transformers knows the number under both names.
    let key = match config.get("num_experts") {
        Some(_) => "num_experts",
        None => "num_local_experts",
    };
    let (count, top) = (config.count(key)?, config.count("num_experts_per_tok")?);
    if top > count {
        bail!(
            "{}: keys `num_experts_per_tok` = {top} and `{key}` = {count}: there are not so many experts",
            config.origin()
        );
    }
    Ok(Experts { count, top, renormalised })
}

/// Whether the experts of a layer are in stacks, as transformers has them in memory since release 5: `gate_up_proj`,
/// `[experts, 2 * inner, width]`, and `down_proj`, `[experts, width, inner]`. Most files have them one by one.
pub fn stacked(weights: &Weights) -> bool {
    weights.iter().any(|tensor| tensor.name.ends_with(".mlp.experts.gate_up_proj"))
}

/// Where in the stacks of its layer an expert's tensor is that is `source` where they are one by one:
/// `layers.0.mlp.experts.3.up_proj.weight`.
pub fn in_stack(slot: Slot, source: Source, inner: usize) -> Source {
    let (Slot::Layer(_, LayerSlot::Expert(expert, place), _), Some((layer, _))) =
        (slot, source.tensor.split_once(".experts."))
    else {
        return source;
    };
    let stack = |name| Source::whole(format!("{layer}.experts.{name}")).entry(expert);
    match place {
        MlpSlot::Gate => stack("gate_up_proj").shared(Share::range(0..inner, 2 * inner)),
        MlpSlot::Up => stack("gate_up_proj").shared(Share::range(inner..2 * inner, 2 * inner)),
        _ => stack("down_proj"),
    }
}
