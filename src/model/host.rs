//! The inner loops on the processor: products with stored weights, softmax, activations.
//!
//! Weights are read where they lie (mapped, in their own type) and widened a few rows at a time into a buffer that
//! stays in the cache, so that a bf16 or quantised model costs its own size in memory and nothing is converted twice.

use std::cell::RefCell;

use anyhow::{Context, Result};
use candle_core::DType;
use gemm::Parallelism;
use rayon::prelude::*;

use super::{
    slot::{Layout, Share},
    spec::Activation,
};
use crate::checkpoint::weights::{StoredTensor, WeightType};

/// Outputs of a task: multiples of the product kernel's widest tile, at most what stays in the cache when widened.
const TILE: usize = 64;
const MOST_OUTPUTS: usize = 5 * TILE;

/// A matrix of stored weights, or some of its outputs.
#[derive(Clone)]
pub struct Matrix {
    tensor: StoredTensor,
    layout: Layout,
    share: Share,
    outputs: usize,
    inputs: usize,
}

/// Weights as a product sees them, `[inputs, outputs]`, with the steps between inputs and outputs.
type Seen<'a> = (&'a [f32], usize, usize);

impl Matrix {
    /// The `outputs` of a two-sided tensor that `share` says.
    pub fn new(tensor: StoredTensor, layout: Layout, share: Share, outputs: usize) -> Self {
        let inputs = match layout {
            Layout::OutIn => tensor.shape[1],
            Layout::InOut => tensor.shape[0],
        };
        Self { tensor, layout, share, outputs, inputs }
    }

    /// `[outputs, inputs]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// The type that it is stored in.
    pub fn kind(&self) -> WeightType {
        self.tensor.kind
    }

    /// The type and the bytes of `[outputs, inputs]`, where they lie one after another in a type that an accelerator
    /// computes in.
    pub fn plain(&self) -> Option<(DType, &[u8])> {
        let dtype = match self.tensor.kind {
            WeightType::F32 => DType::F32,
            WeightType::BF16 => DType::BF16,
            WeightType::F16 => DType::F16,
            _ => return None,
        };
        let first = self.share.stored(0);
        let together = self.outputs > 0 && self.share.stored(self.outputs - 1) + 1 - first == self.outputs;
        if self.layout != Layout::OutIn
            || !together
            || self.tensor.has_scales()
            || cfg!(target_endian = "big")
        {
            return None;
        }
        let row = self.inputs * dtype.size_in_bytes();
        Some((dtype, &self.tensor.bytes()[first * row..][..self.outputs * row]))
    }

    /// The same in memory, rounded to one of the plain types that `--dtype` names.
    pub fn rounded(&self, kind: WeightType) -> Result<Self> {
        let bytes =
            kind.narrow(&self.to_f32()).with_context(|| format!("weights are not rounded to {kind:?}"))?;
        let tensor = StoredTensor::owned(self.tensor.name.clone(), kind, self.shape().to_vec(), bytes)?;
        Ok(Self::new(tensor, Layout::OutIn, Share::range(0..self.outputs, self.outputs), self.outputs))
    }

    /// The same numbers read with outputs and inputs exchanged, where the tensor is square and all of it is this matrix.
    pub fn transposed(&self) -> Option<Self> {
        let is_whole = self.share == Share::range(0..self.outputs, self.outputs);
        let is_plain = self.plain().is_some() || self.layout == Layout::InOut;
        let layout = match self.layout {
            Layout::OutIn => Layout::InOut,
            Layout::InOut => Layout::OutIn,
        };
        (self.outputs == self.inputs && is_whole && is_plain && !self.tensor.has_scales())
            .then(|| Self { layout, ..self.clone() })
    }

    /// Numbers in a row of the stored tensor.
    fn row(&self) -> usize {
        self.tensor.shape[1]
    }

    /// Writes the weights of output `index` to `out`, `[inputs]`.
    pub fn output(&self, index: usize, out: &mut [f32]) {
        let index = self.share.stored(index);
        match self.layout {
            Layout::OutIn => self.tensor.widen_from(index * self.row(), out),
            Layout::InOut => {
                for (input, out) in out.iter_mut().enumerate() {
                    self.tensor.widen_from(input * self.row() + index, std::slice::from_mut(out));
                }
            }
        }
    }

    /// Every output, `[outputs, inputs]`.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.outputs * self.inputs];
        all.par_chunks_mut(self.inputs.max(1)).enumerate().for_each(|(index, out)| self.output(index, out));
        all
    }

    /// `x W^T`: `[rows, inputs]` to `[rows, outputs]`.
    pub fn product(&self, x: &[f32], rows: usize) -> Vec<f32> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        assert_eq!(x.len(), rows * inputs, "a product's input has the wrong size");
        let mut out = vec![0.0f32; rows * outputs];
        let target = Target(out.as_mut_ptr());
        // Every task packs `x` anew for the kernel, so there are no more of them than threads to share the work.
        let step = outputs.div_ceil(rayon::current_num_threads()).next_multiple_of(TILE).min(MOST_OUTPUTS);
        (0..outputs.div_ceil(step)).into_par_iter().for_each(|task| {
            let first = task * step;
            let count = step.min(outputs - first);
            self.with_outputs(first, count, |(weights, input_step, output_step)| {
                let target = &target;
                // SAFETY: the steps stay within `x`, `weights` and `out`, whose sizes are given above; no other task
                // writes these columns of `out`.
                unsafe {
                    product(
                        [rows, inputs, count],
                        (x.as_ptr(), inputs, 1),
                        (weights.as_ptr(), input_step, output_step),
                        (target.0.add(first), outputs),
                        1.0,
                    );
                }
            });
        });
        out
    }

    /// Runs `work` on the weights of `count` outputs from `first` on: where they lie, or widened.
    fn with_outputs(&self, first: usize, count: usize, work: impl FnOnce(Seen<'_>)) {
        let inputs = self.inputs;
        let stored = self.share.stored(first);
        // From the first of these outputs to the last, what lies between included.
        let span = self.share.stored(first + count - 1) + 1 - stored;
        let together = span == count;
        match (self.layout, self.tensor.as_f32()) {
            (Layout::OutIn, Some(all)) if together => work((&all[stored * inputs..], 1, inputs)),
            (Layout::InOut, Some(all)) if together => work((&all[stored..], self.row(), 1)),
            (Layout::OutIn, _) => with_scratch(count * inputs, |scratch| {
                if together {
                    self.tensor.widen_from(stored * inputs, scratch);
                } else {
                    for (index, row) in scratch.chunks_exact_mut(inputs).enumerate() {
                        self.output(first + index, row);
                    }
                }
                work((scratch, 1, inputs));
            }),
            (Layout::InOut, _) => with_scratch(inputs * (count + span), |scratch| {
                let (kept, wide) = scratch.split_at_mut(inputs * count);
                for (input, row) in kept.chunks_exact_mut(count).enumerate() {
                    let start = input * self.row() + stored;
                    if together {
                        self.tensor.widen_from(start, row);
                    } else {
                        self.tensor.widen_from(start, &mut wide[..span]);
                        for (index, out) in row.iter_mut().enumerate() {
                            *out = wide[self.share.stored(first + index) - stored];
                        }
                    }
                }
                work((kept, count, 1));
            }),
        }
    }
}

/// A pointer that tasks share, each writing numbers of its own.
pub struct Target(pub *mut f32);

// SAFETY: the tasks that share it write disjoint numbers.
unsafe impl Sync for Target {}

/// `out = factor * a b` for `a: [rows, inner]`, `b: [inner, columns]`; sides are `[rows, inner, columns]`.
///
/// `a` and `b` come with the steps between their rows and columns, `out` with the step between rows.
///
/// # Safety
/// Every number that sides and steps reach is valid for reading, or for `out` for writing by this call alone.
pub unsafe fn product(
    [rows, inner, columns]: [usize; 3],
    (a, a_row, a_column): (*const f32, usize, usize),
    (b, b_row, b_column): (*const f32, usize, usize),
    (out, out_row): (*mut f32, usize),
    factor: f32,
) {
    // SAFETY: as the caller promises.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out,
            1,
            out_row as isize,
            false,
            a,
            a_column as isize,
            a_row as isize,
            b,
            b_column as isize,
            b_row as isize,
            0.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Runs `work` with a buffer of `size` numbers that this thread keeps for the next call.
pub fn with_scratch<R>(size: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local!(static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) });
    // Taken out, not borrowed: `work` may run another task on this thread, which then gets a buffer of its own.
    let mut buffer = SCRATCH.take();
    if buffer.len() < size {
        buffer.resize(size, 0.0);
    }
    let result = work(&mut buffer[..size]);
    SCRATCH.replace(buffer);
    result
}

/// `e^x` for `x <= 0` and a little above, within 2 units in the last place; below -87 it is 0.
///
/// Range reduction by ln 2 and a polynomial, written so that the compiler turns loops over it into vector code.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.0, 88.0);
    let power = clamped * std::f32::consts::LOG2_E + ROUND - ROUND;
    let rest = clamped - power * LN2_HIGH - power * LN2_LOW;
    let square = rest * rest;
    let mut series = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        series = series * rest + coefficient;
    }
    let fraction = series * square + rest + 1.0;
    let scale = f32::from_bits(((power as i32 + 127) as u32) << 23);
    if x < -87.0 { 0.0 } else { fraction * scale }
}

/// Lanes that reductions run in parallel, so that the compiler may use vectors of any width.
const LANES: usize = 16;

#[inline(always)]
fn reduce(numbers: &[f32], start: f32, combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; LANES];
    let (chunks, rest) = numbers.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &number) in lanes.iter_mut().zip(chunk) {
            *lane = combine(*lane, number);
        }
    }
    rest.iter().chain(&lanes).fold(start, |total, &number| combine(total, number))
}

/// The largest number of each row of `columns`.
pub fn row_maxima(numbers: &[f32], columns: usize) -> Vec<f32> {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let larger = |a: f32, b: f32| if b > a { b } else { a };
            numbers.chunks_exact(columns).map(|row| reduce(row, f32::NEG_INFINITY, larger)).collect()
        },
    )
}

/// Softmax in place; with `sink`, the score of something that is not among `scores`, they sum to less than one.
pub fn softmax(scores: &mut [f32], sink: Option<f32>) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let largest = reduce(scores, sink.unwrap_or(f32::NEG_INFINITY), |a, b| if b > a { b } else { a });
            for score in scores.iter_mut() {
                *score = exp(*score - largest);
            }
            let beside = sink.map_or(0.0, |sink| exp(sink - largest));
            let factor = 1.0 / (reduce(scores, 0.0, |a, b| a + b) + beside);
            for score in scores.iter_mut() {
                *score *= factor;
            }
        },
    );
}

/// What a softmax would leave to `scores` beside another score `sink`.
pub fn share_beside(scores: &[f32], sink: f32) -> f32 {
    let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = scores.iter().map(|score| exp(score - largest)).sum();
    sigmoid(largest + total.ln() - sink)
}

/// Caps numbers softly in place, so that they stay below `cap`: `cap * tanh(x / cap)`.
pub fn softcap(numbers: &mut [f32], cap: f32) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            // tanh u = 2 sigmoid(2 u) - 1.
            map(numbers, |x| cap * (2.0 * sigmoid(2.0 * x / cap) - 1.0));
        },
    );
}

/// `activation(x)` in place on `[rows, columns]`, times `factor`, number by number, where there is one.
pub fn activate(activation: Activation, columns: usize, x: &mut [f32], factor: Option<&[f32]>) {
    const PIECE: usize = 1 << 14;
    // Whole rows, for an activation may look at all of one.
    let step = columns * (PIECE / columns.max(1)).max(1);
    x.par_chunks_mut(step.max(1)).enumerate().for_each(|(index, piece)| {
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                match activation {
                    Activation::Silu => map(piece, |x| x * sigmoid(x)),
                    // tanh-GELU is x sigmoid(2 u), for tanh u = 2 sigmoid(2 u) - 1.
                    Activation::GeluTanh => map(piece, |x| {
                        let u = 0.797_884_6 * (x + 0.044_715 * x * x * x);
                        x * sigmoid(2.0 * u)
                    }),
                    Activation::Gelu => {
                        map(piece, |x| {
                            0.5 * x
                                * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
                        });
                    }
                    Activation::GeluSigmoid => map(piece, |x| x * sigmoid(1.702 * x)),
                    Activation::Relu => map(piece, |x| if x > 0.0 { x } else { 0.0 }),
                    Activation::ReluSquared => map(piece, |x| if x > 0.0 { x * x } else { 0.0 }),
                    Activation::Xielu { positive, negative, linear, edge } => map(piece, |x| {
                        let curved = match x > 0.0 {
                            true => positive * x * x,
                            false => negative * (x.min(edge).exp_m1() - x),
                        };
                        curved + linear * x
                    }),
                    Activation::Solu => {
                        for row in piece.chunks_exact_mut(columns) {
                            let before = row.to_vec();
                            softmax(row, None);
                            row.iter_mut().zip(before).for_each(|(share, x)| *share *= x);
                        }
                    }
                    Activation::ClippedGate { limit } => map(piece, |x| {
                        let x = if x > limit { limit } else { x };
                        x * sigmoid(1.702 * x)
                    }),
                }
                if let Some(factor) = factor {
                    let start = index * step;
                    let factor = piece.iter_mut().zip(&factor[start..]);
                    match activation {
                        Activation::ClippedGate { limit } => {
                            factor.for_each(|(x, factor)| *x *= factor.clamp(-limit, limit) + 1.0);
                        }
                        _ => factor.for_each(|(x, factor)| *x *= factor),
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn map(numbers: &mut [f32], function: impl Fn(f32) -> f32) {
    for number in numbers {
        *number = function(*number);
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    // Of the two forms, the one whose exponent is not positive.
    let small = exp(-x.abs());
    let below = small / (1.0 + small);
    if x < 0.0 { below } else { 1.0 - below }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_a_few_units_of_the_exact_one() {
        for step in -88_000..=1_000 {
            let x = step as f32 / 1_000.0;
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(x < -87.0 || error < 3e-7, "exp({x}) is off by {error}");
        }
        assert_eq!(exp(-1e30), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn softmax_is_what_its_formula_says_with_a_sink_and_without() {
        let before: Vec<f32> = (0..40).map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0).collect();
        for sink in [None, Some(3.0), Some(20.0)] {
            let mut scores = before.clone();
            softmax(&mut scores, sink);
            let beside = sink.map_or(0.0, |sink| f64::from(sink).exp());
            let total: f64 = before.iter().map(|&s| f64::from(s).exp()).sum::<f64>() + beside;
            for (&before, &after) in before.iter().zip(&scores) {
                assert!((f64::from(after) - f64::from(before).exp() / total).abs() < 1e-6, "{sink:?}");
            }
        }
    }

    #[test]
    fn capped_numbers_stay_below_the_cap() {
        let before: Vec<f32> = (-60..60).map(|i| i as f32).collect();
        let mut after = before.clone();
        softcap(&mut after, 20.0);
        for (x, y) in before.into_iter().zip(after) {
            assert!((f64::from(y) - 20.0 * (f64::from(x) / 20.0).tanh()).abs() < 5e-6, "{x} became {y}");
        }
    }

    #[test]
    fn products_agree_for_every_type_and_layout() {
        let (inputs, outputs, rows) = (40, 130, 3);
        let numbers: Vec<f32> = (0..inputs * outputs).map(|i| ((i * 31 % 64) as f32 - 32.0) / 16.0).collect();
        let x: Vec<f32> = (0..rows * inputs).map(|i| ((i * 17 % 23) as f32 - 11.0) / 8.0).collect();
        for kind in [WeightType::F32, WeightType::BF16, WeightType::F16] {
            for (layout, shape) in [(Layout::OutIn, [outputs, inputs]), (Layout::InOut, [inputs, outputs])] {
                let bytes = kind.narrow(&numbers).unwrap();
                let tensor = StoredTensor::owned("w".into(), kind, shape.to_vec(), bytes).unwrap();
                let parts = [
                    (Share::range(5..outputs - 7, outputs), outputs - 12),
                    // Every second output; and 4 of every 10 from the fourth on.
                    (Share { start: 1, block: 1, stride: 2, total: outputs }, outputs / 2),
                    (Share { start: 3, block: 4, stride: 10, total: outputs }, outputs / 10 * 4),
                ];
                for (share, count) in parts {
                    let matrix = Matrix::new(tensor.clone(), layout, share.clone(), count);
                    let (result, all) = (matrix.product(&x, rows), matrix.to_f32());
                    for row in 0..rows {
                        for column in 0..count {
                            let output = share.stored(column);
                            let weight = |input: usize| match layout {
                                Layout::OutIn => numbers[output * inputs + input],
                                Layout::InOut => numbers[input * outputs + output],
                            };
                            let expected: f32 =
                                (0..inputs).map(|input| x[row * inputs + input] * weight(input)).sum();
                            let got = result[row * count + column];
                            assert!(
                                (got - expected).abs() < 1e-3,
                                "{kind:?} {layout:?}: {got} for {expected}"
                            );
                            assert_eq!(all[column * inputs + 1], weight(1));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn activations_match_their_definitions() {
        let x: Vec<f32> = (-60..60).map(|i| i as f32 / 6.0).collect();
        for (activation, exact) in [
            (Activation::Silu, (|x: f64| x / (1.0 + (-x).exp())) as fn(f64) -> f64),
            (Activation::GeluTanh, |x| {
                0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh())
            }),
            (Activation::GeluSigmoid, |x| x / (1.0 + (-1.702 * x).exp())),
            (Activation::Relu, |x| x.max(0.0)),
            (Activation::ReluSquared, |x| x.max(0.0).powi(2)),
        ] {
            let mut y = x.clone();
            activate(activation, 8, &mut y, Some(&vec![2.0; x.len()]));
            for (&x, &y) in x.iter().zip(&y) {
                assert!((f64::from(y) - 2.0 * exact(f64::from(x))).abs() < 1e-5, "{activation:?}({x}) = {y}");
            }
        }
    }
}
