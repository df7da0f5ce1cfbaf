//! Mixtures of experts: the keys that describe them, and where their tensors are in files that stack them.

use anyhow::{Result, bail};

use super::common::{self, Names, present};
use crate::{
    checkpoint::weights::Weights,
    model::{
        config::Config,
        slot::{LayerSlot, MlpSlot, Plan, Share, Slot, Source},
        spec::{Experts, Groups, Mlp, Router, Shared, Shares, Spec},
    },
};

/// What configurations call the number of experts, and how many work on a token.
const COUNTS: [&str; 4] = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
const TOPS: [&str; 2] = ["num_experts_per_tok", "moe_k"];

/// How many experts there are and how many work on a token; how they are picked the family knows.
pub fn read(config: &Config, router: Router) -> Result<Experts> {
    let (count, top) = (present(config, COUNTS), present(config, TOPS));
    let experts = Experts { count: config.count(count)?, top: config.count(top)?, router, shared: None };
    if experts.top > experts.count {
        bail!(
            "{}: keys `{top}` = {} and `{count}` = {}: there are not so many experts",
            config.origin(),
            experts.top,
            experts.count
        );
    }
    Ok(experts)
}

/// Those of DeepSeek-V3 and its kin: shares are sigmoids, which each expert's own number corrects for the choice, a group is picked
/// by its two best, and an MLP as wide as `n_shared_experts` of them works beside them.
pub fn corrected(config: &Config, normalised: bool) -> Result<Experts> {
    let router = Router {
        shares: Shares::Sigmoid,
        corrected: true,
        divided: config.flag("norm_topk_prob", normalised)?.then_some(0.0),
        scale: config.number("routed_scaling_factor", 1.0)? as f32,
        ..Router::SOFTMAX
    };
    let experts = grouped(config, read(config, router)?, 2)?;
    let shared = config.count("n_shared_experts")?;
    beside(config, experts, shared)
}

/// The same experts, with what `n_group` and `topk_group` say of them; a group is picked by so many of its `best`.
pub fn grouped(config: &Config, experts: Experts, best: usize) -> Result<Experts> {
    let count = config.optional_length("n_group")?.unwrap_or(1);
    let top = config.optional_length("topk_group")?.unwrap_or(1);
    let size = experts.count.checked_div(count).unwrap_or(0);
    if size * count != experts.count || top > count || top * size < experts.top || size < best {
        bail!(
            "{}: keys `n_group` = {count} and `topk_group` = {top} do not go with {} experts of which {} work on a token",
            config.origin(),
            experts.count,
            experts.top
        );
    }
    let groups = (top < count).then_some(Groups { count, top, best });
    Ok(Experts { router: Router { groups, ..experts.router }, ..experts })
}

/// The same experts beside an MLP as wide as `shared` of them.
pub fn beside(config: &Config, experts: Experts, shared: usize) -> Result<Experts> {
    let inner = config.count("moe_intermediate_size")?;
    config.has_room("shared experts", &[shared, inner])?;
    let shared = (shared > 0).then_some(Shared { inner: shared * inner, gated: false });
    Ok(Experts { shared, ..experts })
}

/// Puts experts as wide as `inner` in the place of the MLP of each layer that `has` them.
pub fn put(spec: &mut Spec, experts: Experts, inner: usize, has: impl Fn(usize) -> bool) {
    for (layer, mlp) in spec.mlp.iter_mut().enumerate() {
        if has(layer) {
            *mlp = Mlp { inner, experts: Some(experts), ..*mlp };
        }
    }
}

/// Puts experts as wide as `moe_intermediate_size` in every layer but the first, of which `first_k_dense_replace` have an MLP.
pub fn put_after_dense(config: &Config, spec: &mut Spec, experts: Experts) -> Result<()> {
    let dense = config.optional_length("first_k_dense_replace")?.unwrap_or(0);
    put(spec, experts, config.count("moe_intermediate_size")?, |layer| layer >= dense);
    Ok(())
}

/// The same in the layers that `mlp_layer_types` calls sparse, or, in configurations without that list, in those that `has` them.
pub fn put_where_listed(
    config: &Config,
    spec: &mut Spec,
    experts: Experts,
    has: impl Fn(usize) -> bool,
) -> Result<()> {
    let listed = common::of_kind(config, "mlp_layer_types", spec.layers, ["dense", "sparse"])?;
    let has = |layer: usize| listed.as_ref().map_or_else(|| has(layer), |listed| listed[layer]);
    put(spec, experts, config.count("moe_intermediate_size")?, has);
    Ok(())
}

/// [`common::named`] of a decoder whose experts may be one by one, as the names have it, or in stacks.
///
/// # Errors
/// As there.
pub fn named(
    config: &Config,
    weights: &Weights,
    spec: Spec,
    names: &'static Names,
    biased: impl Fn(LayerSlot) -> bool + Send + Sync + 'static,
    tied: bool,
) -> Result<Plan> {
    let inner = spec.mlp.iter().find(|mlp| mlp.experts.is_some()).map_or(0, |mlp| mlp.inner);
    let mut plan = common::named(config, weights, spec, names, biased, tied)?;
    let (named, stacks) = (plan.source, stacks(weights));
    plan.source = Box::new(move |slot| {
        let source = named(slot)?;
        Some(match (slot, stacks) {
            (Slot::Layer(_, LayerSlot::RouterCorrection, _), _) => source.bare(),
            (_, Some(stacks)) => in_stack(slot, source, inner, stacks),
            _ => source,
        })
    });
    Ok(plan)
}

/// What the stacks of a layer's experts are called: that of gates and ways in, `[experts, 2 * inner, width]`, and that of ways
/// out, `[experts, width, inner]`.
type Stacks = [&'static str; 2];

/// As transformers has them in memory since release 5.
const IN_MEMORY: Stacks = ["experts.gate_up_proj", "experts.down_proj"];
/// As Granite's files have them.
const GRANITE: Stacks = ["input_linear.weight", "output_linear.weight"];

/// Whether experts are stacked as transformers has them in memory.
pub fn in_memory(weights: &Weights) -> bool {
    stacks(weights) == Some(IN_MEMORY)
}

/// The stacks that experts are in, where they are not one by one, as most files have them.
fn stacks(weights: &Weights) -> Option<Stacks> {
    let is_there = |[name, _]: &Stacks| {
        weights.iter().any(|tensor| {
            tensor
                .name
                .strip_suffix(name)
                .is_some_and(|layer| layer.ends_with("mlp.") || layer.ends_with("_moe."))
        })
    };
    [IN_MEMORY, GRANITE].into_iter().find(is_there)
}

/// Where in the stacks of its layer an expert's tensor is that is `source` where they are one by one:
/// `layers.0.mlp.experts.3.up_proj.weight`.
fn in_stack(slot: Slot, source: Source, inner: usize, [gates, outs]: Stacks) -> Source {
    let (Slot::Layer(_, LayerSlot::Expert(expert, place), _), Some((layer, _))) =
        (slot, source.tensor.split_once(".experts."))
    else {
        return source;
    };
    let stack = |name| Source::whole(format!("{layer}.{name}")).entry(expert);
    match place {
        MlpSlot::Gate => stack(gates).shared(Share::range(0..inner, 2 * inner)),
        MlpSlot::Up => stack(gates).shared(Share::range(inner..2 * inner, 2 * inner)),
        _ => stack(outs),
    }
}
