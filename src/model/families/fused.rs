//! Queries, keys and values that share a tensor, and gates and ways in that do: which of its outputs are whose.

use crate::model::{
    slot::{LayerSlot, MlpSlot, Share, Slot, Source},
    spec::Shape,
};

/// Outputs `[heads + 2 kv_heads, head_size]`: all queries, then all keys, then all values.
pub fn by_kind(slot: Slot, source: Source, shape: &Shape) -> Source {
    let (queries, keys) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
    let total = queries + 2 * keys;
    match place(slot) {
        Some(LayerSlot::Query) => source.shared(Share::range(0..queries, total)),
        Some(LayerSlot::Key) => source.shared(Share::range(queries..queries + keys, total)),
        Some(LayerSlot::Value) => source.shared(Share::range(queries + keys..total, total)),
        _ => source,
    }
}

/// Outputs `[kv_heads, group + 2, head_size]`: the queries that share a key and a value, then these.
pub fn by_group(slot: Slot, source: Source, shape: &Shape) -> Source {
    let (size, group) = (shape.head_size, shape.heads / shape.kv_heads);
    let stride = (group + 2) * size;
    let share = |start, block| Share { start, block, stride, total: shape.kv_heads * stride };
    match place(slot) {
        Some(LayerSlot::Query) => source.shared(share(0, group * size)),
        Some(LayerSlot::Key) => source.shared(share(group * size, size)),
        Some(LayerSlot::Value) => source.shared(share((group + 1) * size, size)),
        _ => source,
    }
}

/// Outputs `[2, inner]` of an MLP: the gate, then the way in.
pub fn gate_first(slot: Slot, source: Source, inner: usize) -> Source {
    match place(slot) {
        Some(LayerSlot::Mlp(MlpSlot::Gate) | LayerSlot::Shared(MlpSlot::Gate)) => {
            source.shared(Share::range(0..inner, 2 * inner))
        }
        Some(LayerSlot::Mlp(MlpSlot::Up) | LayerSlot::Shared(MlpSlot::Up)) => {
            source.shared(Share::range(inner..2 * inner, 2 * inner))
        }
        _ => source,
    }
}

fn place(slot: Slot) -> Option<LayerSlot> {
    match slot {
        Slot::Layer(_, place, _) => Some(place),
        _ => None,
    }
}
