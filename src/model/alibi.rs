//! ALiBi (Press et al. 2021): each head's scores fall with the distance of the key.

use half::bf16;

/// The slopes of a model with `heads` heads, `[heads]`: `2^(-steepness i / n)` for its first `n`, the power of two at or
/// below `heads`, and those at odd `i` of the series for `2n` for the others. The paper's steepness is 8.
pub fn slopes(heads: usize, steepness: f64) -> Vec<f32> {
    let first = 1 << heads.ilog2();
    let slope = |index: usize, count: usize| (-steepness * index as f64 / count as f64).exp2() as f32;
    let others = (1..).step_by(2).map(|index| slope(index, 2 * first));
    (1..=first).map(|index| slope(index, first)).chain(others).take(heads).collect()
}

/// What is added to a score before the scale where that is computed in bfloat16, as Falcon does: the slope times the
/// position of the key, each of the three rounded.
pub fn rounded(slope: f32, key: usize) -> f32 {
    let round = |number: f32| bf16::from_f32(number).to_f32();
    round(round(slope) * round(key as f32))
}
