//! The weights of a model as its files have them, to look a number up in.

use std::{collections::BTreeSet, fmt};

use super::{
    decoder::finite::Step,
    slot::{LayerSlot, Layout, MlpSlot, Part, Slot, Source, SourceOf},
    spec::{Positions, Spec},
};
use crate::{
    checkpoint::weights::{StoredTensor, Weights},
    text::excerpt,
};

/// Weights, and the slots that they fill.
pub struct Stored {
    /// The tensor of a slot.
    pub source: SourceOf,
    /// The tensors.
    pub weights: Weights,
}

/// A number that cannot be computed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Odd {
    /// The tensor.
    pub tensor: String,
    /// The number.
    pub number: f32,
    /// Where in the tensor it is.
    pub place: Vec<usize>,
}

impl fmt::Display for Odd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` holds {} at {:?}", excerpt(&self.tensor), self.number, self.place)
    }
}

impl Stored {
    /// The first number beyond `most` or none at all among the weights of a step that a prompt uses.
    pub fn odd(&self, spec: &Spec, step: Step, ids: &[u32], most: f32) -> Option<Odd> {
        let rows = |slot| match (slot, &spec.positions) {
            (Slot::Embedding, _) => Some(ids.iter().map(|&id| id as usize).collect()),
            (Slot::Positions, &Positions::Learned { offset, .. }) => {
                Some((offset..offset + ids.len()).collect())
            }
            _ => None,
        };
        slots(spec, step).into_iter().find_map(|slot| {
            let source = (self.source)(slot)?;
            let used: Option<BTreeSet<usize>> = rows(slot).filter(|_| step == Step::Embedding);
            self.tensors(&source).find_map(|tensor| first_odd(&tensor, source.layout, used.as_ref(), most))
        })
    }

    /// The tensors that are computed with, once each; buffers and what belongs to another model are none.
    pub fn used(&self, spec: &Spec) -> Vec<&StoredTensor> {
        let of_layer = |layer| {
            [
                Step::AttentionNorm(layer),
                Step::Queries(layer),
                Step::Keys(layer),
                Step::Values(layer),
                Step::Attention(layer),
                Step::Output(layer),
                Step::MlpNorm(layer),
                Step::Mlp(layer),
            ]
        };
        let steps = [Step::Embedding].into_iter().chain((0..spec.layers).flat_map(of_layer));
        let slots = steps.chain([Step::LastNorm, Step::Unembedding]).flat_map(|step| slots(spec, step));
        let sources = slots.filter_map(|slot| (self.source)(slot));
        let names: BTreeSet<String> =
            sources.flat_map(|source| [source.tensor].into_iter().chain(source.more)).collect();
        names.iter().filter_map(|name| self.weights.get(name).ok()).collect()
    }

    /// The embedding, `[vocabulary, width]`, where it is stored so.
    pub fn table(&self) -> Option<&StoredTensor> {
        let source = (self.source)(Slot::Embedding)?;
        let is_plain = source.layout == Layout::OutIn && source.more.is_empty() && source.entry.is_none();
        self.weights.get(&source.tensor).ok().filter(|tensor| is_plain && tensor.shape.len() == 2)
    }

    fn tensors<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = StoredTensor> + 'a {
        [&source.tensor].into_iter().chain(&source.more).filter_map(|name| {
            let tensor = self.weights.get(name).ok()?;
            source.entry.map_or_else(|| Some(tensor.clone()), |entry| tensor.part(entry).ok())
        })
    }
}

const QUERIES: [LayerSlot; 4] =
    [LayerSlot::QueryLatent, LayerSlot::QueryLatentNorm, LayerSlot::Query, LayerSlot::QueryNorm];
const KEYS: [LayerSlot; 6] = [
    LayerSlot::KeyLatent,
    LayerSlot::KeyLatentNorm,
    LayerSlot::RotatedKey,
    LayerSlot::Key,
    LayerSlot::KeyNorm,
    LayerSlot::KeySmear,
];
const VALUES: [LayerSlot; 3] = [LayerSlot::KeyLatent, LayerSlot::KeyLatentNorm, LayerSlot::Value];

/// The slots whose weights a step computes with, in their order.
fn slots(spec: &Spec, step: Step) -> Vec<Slot> {
    let parts = [Part::Weight, Part::Bias];
    let of_layer = |layer: usize, places: &[LayerSlot]| -> Vec<Slot> {
        let slots = places.iter().flat_map(|&place| parts.map(|part| Slot::Layer(layer, place, part)));
        slots.collect()
    };
    let mlp_places = [MlpSlot::Gate, MlpSlot::Up, MlpSlot::Curve, MlpSlot::InnerNorm, MlpSlot::Down];
    match step {
        Step::Embedding => {
            let [gain, bias] = parts.map(Slot::EmbeddingNorm);
            vec![Slot::Embedding, Slot::ProjectionIn, gain, bias, Slot::Positions]
        }
        Step::AttentionNorm(layer) => of_layer(layer, &[LayerSlot::AttentionNorm]),
        Step::Queries(layer) => of_layer(layer, &QUERIES),
        Step::Keys(layer) => of_layer(layer, &KEYS),
        Step::Values(layer) => of_layer(layer, &VALUES),
        Step::Attention(layer) => of_layer(layer, &[LayerSlot::Sinks]),
        Step::Output(layer) => {
            of_layer(layer, &[LayerSlot::OutputNorm, LayerSlot::Output, LayerSlot::AttentionPostNorm])
        }
        Step::MlpNorm(layer) => of_layer(layer, &[LayerSlot::MlpNorm]),
        Step::Mlp(layer) => {
            let experts = spec.mlp.get(layer).and_then(|mlp| mlp.experts).map_or(0, |experts| experts.count);
            let mut places = vec![LayerSlot::Router, LayerSlot::RouterCorrection, LayerSlot::SharedGate];
            places.extend(mlp_places.map(LayerSlot::Mlp));
            places.extend(mlp_places.map(LayerSlot::Shared));
            places.extend(
                (0..experts).flat_map(|expert| mlp_places.map(|place| LayerSlot::Expert(expert, place))),
            );
            places.push(LayerSlot::MlpPostNorm);
            of_layer(layer, &places)
        }
        Step::LastNorm => parts.map(Slot::FinalNorm).to_vec(),
        Step::Unembedding => {
            let head = parts.map(Slot::Unembedding);
            [Slot::ProjectionOut].into_iter().chain(head).chain([Slot::Embedding]).collect()
        }
    }
}

/// The first number of a tensor that is none, or beyond `most`; only of tokens that are `used`, where it is a table of them.
fn first_odd(
    tensor: &StoredTensor,
    layout: Layout,
    used: Option<&BTreeSet<usize>>,
    most: f32,
) -> Option<Odd> {
    let columns = tensor.shape.last().copied().unwrap_or(1).max(1);
    let mut row = vec![0.0; columns];
    // Vectors are not rounded to another type.
    let most = if tensor.shape.len() > 1 { most } else { f32::MAX };
    for index in 0..tensor.count() / columns {
        if layout == Layout::OutIn && used.is_some_and(|used| !used.contains(&index)) {
            continue;
        }
        tensor.widen_from(index * columns, &mut row);
        let is_used =
            |&column: &usize| layout == Layout::OutIn || used.is_none_or(|used| used.contains(&column));
        let is_odd = |&column: &usize| row[column].is_nan() || row[column].abs() > most;
        if let Some(column) = (0..columns).filter(is_used).find(is_odd) {
            let place = place(index * columns + column, &tensor.shape);
            return Some(Odd { tensor: tensor.name.clone(), number: row[column], place });
        }
    }
    None
}

/// The indices of number `index` of a tensor of that shape.
fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = Vec::with_capacity(shape.len());
    for &side in shape.iter().rev() {
        place.push(index % side);
        index /= side;
    }
    place.reverse();
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::weights::WeightType;

    #[test]
    fn the_first_number_that_is_none_is_told_with_its_place() {
        let mut numbers = vec![0.5f32; 24];
        (numbers[9], numbers[14]) = (f32::INFINITY, f32::NAN);
        let tensor = |shape: &[usize]| {
            let bytes = WeightType::F32.narrow(&numbers).unwrap();
            StoredTensor::owned("w".into(), WeightType::F32, shape.to_vec(), bytes).unwrap()
        };
        let used = |rows: &[usize]| Some(rows.iter().copied().collect::<BTreeSet<usize>>());
        let first = |shape: &[usize], layout, rows: Option<BTreeSet<usize>>| {
            let odd = first_odd(&tensor(shape), layout, rows.as_ref(), f32::MAX);
            odd.map(|odd| odd.to_string())
        };
        let all = first(&[2, 3, 4], Layout::OutIn, None);
        assert_eq!(all.as_deref(), Some("`w` holds inf at [0, 2, 1]"));
        assert_eq!(
            first(&[6, 4], Layout::OutIn, used(&[0, 3, 5])).as_deref(),
            Some("`w` holds NaN at [3, 2]")
        );
        assert_eq!(first(&[6, 4], Layout::InOut, used(&[2])).as_deref(), Some("`w` holds NaN at [3, 2]"));
        assert_eq!(first(&[6, 4], Layout::OutIn, used(&[0, 1, 4])), None);
        assert_eq!(first(&[24], Layout::OutIn, None).as_deref(), Some("`w` holds inf at [9]"));
    }
}
