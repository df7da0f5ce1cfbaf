//! What a pass leaves behind: enough to recompute any row of any head, and to go on from any layer.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{
    attention::{self, Attention, Inputs, Place, Rows, Rule, Watch},
    spec::Spec,
};
use crate::head::Head;

/// A tensor that grows along its second-last dimension (tokens), with room to spare so that a step copies one token. A copy
/// shares its memory, and the room in it.
#[derive(Clone)]
pub struct Grow {
    buffer: Option<Tensor>,
    len: usize,
}

impl Grow {
    const fn new() -> Self {
        Self { buffer: None, len: 0 }
    }

    /// Appends the tokens of `part`, `[.., tokens, size]`.
    fn append(&mut self, part: &Tensor) -> Result<()> {
        let axis = part.rank() - 2;
        let more = part.dim(axis)?;
        let buffer = match &self.buffer {
            Some(buffer) if self.len > 0 => buffer,
            // A first prompt is kept as it came, without a copy; the next token makes room.
            _ => {
                self.buffer = Some(part.contiguous()?);
                self.len = more;
                return Ok(());
            }
        };
        let needed = self.len + more;
        let capacity = buffer.dim(axis)?;
        if needed <= capacity {
            buffer.slice_set(&part.contiguous()?, axis, self.len)?;
        } else {
            let mut dims = part.dims().to_vec();
            // Half as much again, so that stepping copies what is there once in a while, not each time.
            dims[axis] = needed.max(capacity + capacity / 2).max(64);
            let larger = Tensor::zeros(dims, part.dtype(), part.device())?;
            larger.slice_set(&buffer.narrow(axis, 0, self.len)?.contiguous()?, axis, 0)?;
            larger.slice_set(&part.contiguous()?, axis, self.len)?;
            self.buffer = Some(larger);
        }
        self.len = needed;
        Ok(())
    }

    /// The tokens so far; valid until the next change.
    pub fn view(&self) -> Result<Tensor> {
        match &self.buffer {
            Some(buffer) => Ok(buffer.narrow(buffer.rank() - 2, 0, self.len)?),
            None => anyhow::bail!("nothing has been run yet"),
        }
    }
}

/// What one layer leaves.
#[derive(Clone)]
pub struct LayerTrace {
    /// Residual stream before the layer, `[tokens, width]`.
    pub residual: Grow,
    /// Queries after rotation, `[heads, tokens, head_size]`.
    pub queries: Grow,
    /// Keys after rotation, `[kv_heads, tokens, head_size]`.
    pub keys: Grow,
    /// Values, `[kv_heads, tokens, value_size]`.
    pub values: Grow,
}

impl LayerTrace {
    /// The trace of nothing yet.
    const fn new() -> Self {
        Self { residual: Grow::new(), queries: Grow::new(), keys: Grow::new(), values: Grow::new() }
    }

    fn parts(&mut self) -> [&mut Grow; 4] {
        [&mut self.residual, &mut self.queries, &mut self.keys, &mut self.values]
    }

    /// Appends the part of a pass.
    pub fn append(
        &mut self,
        residual: &Tensor,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<()> {
        for (grow, part) in self.parts().into_iter().zip([residual, queries, keys, values]) {
            grow.append(part)?;
        }
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        for part in self.parts() {
            part.len = part.len.min(len);
        }
    }
}

/// The trace of a prompt: O(layers x tokens x width), never layers x heads x tokens x tokens.
///
/// A copy shares its memory. Where a run is changed from some layer on, its trace and that of the unchanged run share the layers
/// below, and [`Decoder::follow`](super::decoder::Decoder::follow) keeps the one in step with the other.
#[derive(Clone)]
pub struct Trace {
    spec: Arc<Spec>,
    /// How scores became attention in each layer.
    pub(super) rules: Arc<[Rule]>,
    attention: Arc<dyn Attention>,
    /// Length of the sequence that queries and keys were rotated for.
    pub(super) rotated_for: usize,
    /// The tokens that were run.
    pub ids: Vec<u32>,
    /// One for each layer.
    pub layers: Vec<LayerTrace>,
    /// Residual stream after the last layer, `[tokens, width]`.
    pub last: Grow,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").field("ids", &self.ids).finish_non_exhaustive()
    }
}

impl Trace {
    /// The trace of nothing yet; the rules are those of each layer.
    pub(super) fn new(spec: Arc<Spec>, rules: Arc<[Rule]>, attention: Arc<dyn Attention>) -> Self {
        let layers = (0..spec.layers).map(|_| LayerTrace::new()).collect();
        Self { spec, rules, attention, rotated_for: 0, ids: Vec::new(), layers, last: Grow::new() }
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether nothing has been run.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Forgets every token from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.last.len = self.last.len.min(len);
        for layer in &mut self.layers {
            layer.truncate(len);
        }
    }

    /// Takes the tokens of `base`, and the layers below `layer` from it.
    pub(super) fn share(&mut self, base: &Self, layer: usize) {
        self.ids.clone_from(&base.ids);
        self.rotated_for = base.rotated_for;
        self.layers[..layer].clone_from_slice(&base.layers[..layer]);
    }

    /// Whether its queries and keys are rotated as those of `other`: some rotations depend on the length of the whole.
    pub fn is_rotated_like(&self, other: &Self) -> bool {
        self.spec.rotates_alike(self.rotated_for, other.rotated_for)
    }

    /// The residual stream before a layer, `[tokens, width]`; as many as there are layers is after the last.
    pub fn residual_before(&self, layer: usize) -> Result<Tensor> {
        self.layers.get(layer).map_or(&self.last, |layer| &layer.residual).view()
    }

    /// Appends what comes out of the last layer.
    pub(super) fn finish(&mut self, last: &Tensor) -> Result<()> {
        self.last.append(last)
    }

    /// Queries and keys of a head, each `[tokens, head_size]`.
    fn pattern_inputs(&self, head: Head) -> Result<(Tensor, Tensor)> {
        let layer = &self.layers[head.layer];
        Ok((layer.queries.view()?.get(head.head)?, layer.keys.view()?.get(head.head / self.spec.group())?))
    }

    /// Rows `queries` of a head's pattern, recomputed and shown to `see` in order.
    pub fn rows(&self, head: Head, queries: Range<usize>, see: impl FnMut(&Rows<'_>)) -> Result<()> {
        let (q, k) = self.pattern_inputs(head)?;
        attention::pattern_rows(&q, &k, (&self.rules[head.layer], head.head), queries, see)
    }

    /// Attention of one query over keys `0..=query`.
    pub fn row(&self, head: Head, query: usize) -> Result<Vec<f32>> {
        let mut row = Vec::new();
        self.rows(head, query..query + 1, |rows| row.extend_from_slice(rows.weights))?;
        Ok(row)
    }

    /// Attention of one query of each head of a layer over keys `0..=query`, `[heads]`.
    pub fn rows_of_heads(&self, layer: usize, query: usize) -> Result<Vec<Vec<f32>>> {
        let trace = &self.layers[layer];
        let tokens =
            |grow: &Grow| Ok::<_, anyhow::Error>(grow.view()?.narrow(1, 0, query + 1)?.unsqueeze(0)?);
        let (queries, keys) = (tokens(&trace.queries)?.narrow(2, query, 1)?, tokens(&trace.keys)?);
        let inputs =
            Inputs { queries: &queries, keys: &keys, values: &keys, first: query, rule: &self.rules[layer] };
        let rows = Mutex::new(vec![Vec::new(); self.spec.heads]);
        let watch = |place: Place, row: &Rows<'_>| {
            rows.lock().unwrap_or_else(PoisonError::into_inner)[place.head] = row.weights.to_vec();
        };
        self.attention.attend(layer, &inputs, Some(&watch), false)?;
        Ok(rows.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows every row of every head of a layer.
    pub fn show(&self, layer: usize, watch: &dyn Watch) -> Result<()> {
        let kept = &self.layers[layer];
        let (queries, keys) = (kept.queries.view()?.unsqueeze(0)?, kept.keys.view()?.unsqueeze(0)?);
        let inputs =
            Inputs { queries: &queries, keys: &keys, values: &keys, first: 0, rule: &self.rules[layer] };
        self.attention.attend(layer, &inputs, Some(watch), false)?;
        Ok(())
    }

    /// A head's whole pattern, `[query, key]` row-major.
    pub fn matrix(&self, head: Head) -> Result<Vec<f32>> {
        let tokens = self.len();
        let mut matrix = vec![0.0; tokens * tokens];
        self.rows(head, 0..tokens, |rows| {
            for (query, row) in rows.iter() {
                matrix[query * tokens..][..row.len()].copy_from_slice(row);
            }
        })?;
        Ok(matrix)
    }

    /// What a head's output is at `queries`: weighted sums of values, `[queries, value_size]`.
    pub fn output(&self, head: Head, queries: Range<usize>) -> Result<Vec<f32>> {
        let values = self.layers[head.layer].values.view()?.get(head.head / self.spec.group())?;
        let values = values.to_device(&Device::Cpu)?.contiguous()?;
        let size = self.spec.value_size;
        let mut out = Vec::with_capacity(queries.len() * size);
        super::linear::with_host(&values, |values| {
            self.rows(head, queries, |rows| {
                for (index, (_, row)) in rows.iter().enumerate() {
                    let share = rows.shares.get(index).copied().unwrap_or(1.0);
                    let start = out.len();
                    out.resize(start + size, 0.0);
                    for (weight, value) in row.iter().zip(values.chunks_exact(size)) {
                        for (out, value) in out[start..].iter_mut().zip(value) {
                            *out += share * weight * value;
                        }
                    }
                }
            })
        })??;
        Ok(out)
    }
}
