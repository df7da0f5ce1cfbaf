//! What the weights of a model say without a prompt: the circuits of Elhage et al. 2021, and the term importance that
//! one prompt gives.
//!
//! Nothing here makes a matrix of vocabulary x vocabulary: what is summed over the vocabulary is summed once for all
//! heads ([`spectrum::Ends`]) and meets a head in its `head_size x head_size` core; lists of tokens are made in tiles.
//! Long work is a value that takes one step after the other, so that whoever waits can have the machine between two.

pub mod bigram;
pub mod composition;
pub mod corner;
pub mod corpus;
pub mod factors;
pub mod position;
pub mod spectrum;
pub mod terms;
pub mod trigram;

use anyhow::Result;

use crate::model::{
    decoder::{Control, Decoder},
    spec::Positions,
};

/// Takes steps `0..total` of some work, as long as it is wanted.
pub fn steps(total: usize, control: &Control<'_>, mut step: impl FnMut(usize) -> Result<()>) -> Result<()> {
    for at in 0..total {
        control.check()?;
        (control.progress)(at, total);
        step(at)?;
    }
    Ok(())
}

/// What this model has and its attention circuits, made of weights alone, leave out; in words.
pub fn left_out(decoder: &Decoder) -> Vec<&'static str> {
    let spec = &decoder.spec;
    let biased = decoder.layers.iter().any(|layer| {
        [&layer.query, &layer.key, &layer.value, &layer.output].iter().any(|linear| linear.has_bias())
    });
    let position = match spec.positions {
        Positions::Learned { .. } => "learned positions",
        Positions::Sinusoidal { .. } => "vectors of positions",
        Positions::Rotary { .. } => "rotation by position",
        Positions::Alibi { .. } => "the slope of scores by distance",
    };
    let rest = [
        (biased, "biases"),
        (spec.attention.query_key_norm.is_some(), "the normalisation of queries and keys"),
        (spec.attention.latent.is_some(), "the size of what queries, keys and values are made of"),
        (spec.attention.temperature.is_some(), "the growth of queries with position"),
        (spec.attention.output_norm.is_some(), "the normalisation of what heads put out"),
        (spec.attention.smeared_keys, "the smearing of keys"),
        (!spec.mlp.is_empty(), "later MLPs"),
    ];
    [position].into_iter().chain(rest.into_iter().filter(|part| part.0).map(|part| part.1)).collect()
}

/// A token with a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: u32,
    /// The number, whose meaning the function says that made it.
    pub value: f32,
}

/// The `top` largest numbers of a list over the vocabulary, largest first.
pub fn largest(values: &[f32], top: usize) -> Vec<Entry> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let descending = |a: &usize, b: &usize| values[*b].total_cmp(&values[*a]);
    if top < order.len() {
        order.select_nth_unstable_by(top, descending);
        order.truncate(top);
    }
    order.sort_unstable_by(|a, b| descending(a, b).then(a.cmp(b)));
    order.into_iter().map(|index| Entry { id: index as u32, value: values[index] }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let ids =
            |top| largest(&[0.5, -1.0, 2.0, 0.75], top).iter().map(|entry| entry.id).collect::<Vec<_>>();
        assert_eq!(ids(2), [2, 3]);
        assert_eq!(ids(9), [2, 3, 0, 1]);
        assert!(ids(0).is_empty());
    }
}
