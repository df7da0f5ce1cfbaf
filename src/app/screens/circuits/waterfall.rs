//! Term importance as steps from one loss to another.

use crate::engine::protocol::circuits::Terms;

/// A step: terms that are added, and the losses before and after, in nats.
pub(crate) struct Step {
    pub name: String,
    pub before: f64,
    pub after: f64,
    /// Whether it is a level that is reached, not a change.
    pub level: bool,
}

/// From a guess by order to the model's loss; then the single heads of each layer, beside the direct path alone and beside
/// those of all other layers.
pub(crate) fn steps(terms: &Terms) -> Vec<Step> {
    let level = |name: &str, after| Step { name: name.into(), before: 0.0, after, level: true };
    let change = |name, before, after| Step { name, before, after, level: false };
    let mut steps = vec![level("a guess", terms.uniform)];
    let mut before = terms.uniform;
    for (order, &loss) in terms.losses.iter().enumerate() {
        let name = match order {
            0 => "direct path".to_owned(),
            1 => "single heads".to_owned(),
            order => format!("chains of {order}"),
        };
        steps.push(change(name, before, loss));
        before = loss;
    }
    steps.push(level("the model", before));
    if let [direct, singles, ..] = terms.losses[..] {
        for (layer, (&alone, &without)) in terms.alone.iter().zip(&terms.without).enumerate() {
            steps.push(change(format!("layer {layer} alone"), direct, alone));
            steps.push(change(format!("layer {layer} marginal"), without, singles));
        }
    }
    steps
}
