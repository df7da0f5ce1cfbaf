//! The three operations that training spends its time on, each fused with its gradient.
//!
//! Built from candle's elementary operations, a causal softmax, a rotary embedding and a cross-entropy touch
//! every number a dozen times. Here each is one pass forwards and one pass backwards, on the CPU in f32 (training) and
//! f64 (the gradient checks of the tests). On other devices [`elementary`] stands in.

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, WithDType, bail,
};

use super::{angles::Angles, elementary};

/// Attention of each query over the keys at or before it: `softmax(scale * scores)` along the last dimension.
///
/// `scores` is `[.., T, T]` (query, key); later keys get exactly zero.
pub fn causal_softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    let (queries, keys) = (scores.dim(D::Minus2)?, scores.dim(D::Minus1)?);
    if queries != keys {
        bail!("a causal softmax needs as many queries as keys, not {queries} and {keys}");
    }
    match scores.device().is_cpu() {
        true => scores.contiguous()?.apply_op1(CausalSoftmax { scale }),
        false => elementary::causal_softmax(scores, scale),
    }
}

/// Rotates each pair `(x[i], x[i + n/2])` of the last dimension by the angle of its position.
///
/// `x` is `[.., T, n]`; `angles` has `T` rows of `n / 2` angles in radians. Llama's `rotate_half` layout.
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => x.contiguous()?.apply_op1(Rotate { angles: angles.clone(), back: false }),
        false => elementary::rotate(x, angles),
    }
}

/// `-ln softmax(logits)[target]` of each row, in nats: `logits` `[N, vocab]`, `targets` `[N]` u32, result `[N]`.
pub fn token_losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, _) = logits.dims2()?;
    if targets.dims1()? != rows {
        bail!("{rows} rows of logits but {} targets", targets.dims1()?);
    }
    match logits.device().is_cpu() {
        true => logits.contiguous()?.apply_op2(targets, TokenLosses),
        false => elementary::token_losses(logits, targets),
    }
}

/// The two number types that the operations know.
trait Real: WithDType {
    fn exp(self) -> Self;
    fn wrap(values: Vec<Self>) -> CpuStorage;
}

macro_rules! real {
    ($type:ty, $variant:ident) => {
        impl Real for $type {
            fn exp(self) -> Self {
                <$type>::exp(self)
            }
            fn wrap(values: Vec<Self>) -> CpuStorage {
                CpuStorage::$variant(values)
            }
        }
    };
}
real!(f32, F32);
real!(f64, F64);

/// Runs `$body` with `$T` standing for the type of the storage's numbers.
macro_rules! by_type {
    ($storage:expr, $T:ident => $body:expr) => {
        match $storage {
            CpuStorage::F32(_) => {
                type $T = f32;
                $body
            }
            CpuStorage::F64(_) => {
                type $T = f64;
                $body
            }
            _ => bail!("the fused training operations work in f32 and f64 only"),
        }
    };
}

/// The numbers of a contiguous storage.
fn numbers<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&storage.as_slice::<T>()?[from..to]),
        None => bail!("a fused training operation needs contiguous numbers"),
    }
}

/// The sizes of the last two dimensions.
fn last_two(layout: &Layout) -> Result<(usize, usize)> {
    match layout.dims() {
        [.., rows, columns] => Ok((*rows, *columns)),
        dims => bail!("a fused training operation needs two dimensions, not {dims:?}"),
    }
}

/// The loop that every operation is: each row of `width` numbers of `x` makes one of the result, which `fill` is given
/// full of zeros with the number of the row. The result's rows have `shape`'s last dimension.
fn by_rows<T: Real>(
    x: &[T],
    width: usize,
    shape: &Shape,
    mut fill: impl FnMut(usize, &[T], &mut [T]),
) -> (CpuStorage, Shape) {
    let rows = x.len() / width.max(1);
    let mut out = vec![T::zero(); shape.elem_count()];
    let made = (out.len() / rows.max(1)).max(1);
    for (row, (x, out)) in x.chunks(width.max(1)).zip(out.chunks_mut(made)).enumerate() {
        fill(row, x, out);
    }
    (T::wrap(out), shape.clone())
}

/// Subtracts the largest, exponentiates, writes to `out`; returns the largest and the sum.
fn exponentials<T: Real>(row: &[T], scale: T, out: &mut [T]) -> (T, T) {
    let top = row.iter().fold(row[0], |top, &x| if x > top { x } else { top });
    let mut sum = T::zero();
    for (e, &x) in out.iter_mut().zip(row) {
        *e = ((x - top) * scale).exp();
        sum += *e;
    }
    (top, sum)
}

struct CausalSoftmax {
    scale: f64,
}

impl CustomOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, scores: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, keys) = last_two(layout)?;
        by_type!(scores, T => Ok(by_rows::<T>(numbers(scores, layout)?, keys, layout.shape(), |row, scores, out| {
            let seen = row % keys + 1;
            let (_, sum) = exponentials(&scores[..seen], self.scale as T, out);
            out[..seen].iter_mut().for_each(|p| *p /= sum);
        })))
    }

    fn bwd(&self, _scores: &Tensor, pattern: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        pattern.apply_op2_no_bwd(&grad.contiguous()?, &CausalSoftmaxBack { scale: self.scale }).map(Some)
    }
}

/// From pattern `A` and gradient `G` to the scores' gradient, `scale * A * (G - sum(A * G))` row by row.
struct CausalSoftmaxBack {
    scale: f64,
}

impl CustomOp2 for CausalSoftmaxBack {
    fn name(&self) -> &'static str {
        "causal-softmax-back"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, keys) = last_two(la)?;
        by_type!(a, T => {
            let grad = numbers::<T>(g, lg)?;
            Ok(by_rows::<T>(numbers(a, la)?, keys, la.shape(), |row, pattern, out| {
                let seen = pattern[..=row % keys].iter().zip(&grad[row * keys..]);
                let mean: T = seen.clone().map(|(a, g)| a * g).sum();
                for (o, (a, g)) in out.iter_mut().zip(seen) {
                    *o = self.scale as T * a * (g - mean);
                }
            }))
        })
    }
}

/// A rotation is orthogonal, so its gradient is the rotation backwards.
struct Rotate {
    angles: Angles,
    back: bool,
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (positions, size) = last_two(layout)?;
        let table = self.angles.first(positions, size)?;
        let pairs = size / 2;
        let sign = if self.back { -1. } else { 1. };
        by_type!(x, T => Ok(by_rows::<T>(numbers(x, layout)?, size, layout.shape(), |row, x, out| {
            let angles = &table[row % positions * pairs..][..pairs];
            for (pair, &(cos, sin)) in angles.iter().enumerate() {
                let (cos, sin) = (cos as T, (sign * sin) as T);
                out[pair] = x[pair] * cos - x[pair + pairs] * sin;
                out[pair + pairs] = x[pair + pairs] * cos + x[pair] * sin;
            }
        })))
    }

    fn bwd(&self, _x: &Tensor, _out: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rotate { angles: self.angles.clone(), back: !self.back };
        grad.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}

struct TokenLosses;

impl CustomOp2 for TokenLosses {
    fn name(&self) -> &'static str {
        "token-losses"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        t: &CpuStorage,
        lt: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, vocab) = last_two(lx)?;
        let targets = checked_targets(t, lt, vocab)?;
        by_type!(x, T => {
            let mut spare = vec![0 as T; vocab];
            Ok(by_rows::<T>(numbers(x, lx)?, vocab, &Shape::from(rows), |row, logits, loss| {
                let (top, sum) = exponentials(logits, 1., &mut spare);
                loss[0] = sum.ln() + top - logits[targets[row] as usize];
            }))
        })
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _losses: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = logits.contiguous()?.apply_op3_no_bwd(targets, &grad.contiguous()?, &TokenLossesBack)?;
        Ok((Some(grad), None))
    }
}

/// `grad * (softmax(logits) - one at the target)`, row by row.
struct TokenLossesBack;

impl CustomOp3 for TokenLossesBack {
    fn name(&self) -> &'static str {
        "token-losses-back"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        t: &CpuStorage,
        lt: &Layout,
        g: &CpuStorage,
        lg: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, vocab) = last_two(lx)?;
        let targets = checked_targets(t, lt, vocab)?;
        by_type!(x, T => {
            let grad = numbers::<T>(g, lg)?;
            Ok(by_rows::<T>(numbers(x, lx)?, vocab, lx.shape(), |row, logits, out| {
                let (_, sum) = exponentials(logits, 1., out);
                let share = grad[row] / sum;
                out.iter_mut().for_each(|p| *p *= share);
                out[targets[row] as usize] -= grad[row];
            }))
        })
    }
}

/// The targets, all of which are in the vocabulary.
fn checked_targets<'a>(storage: &'a CpuStorage, layout: &Layout, vocab: usize) -> Result<&'a [u32]> {
    let targets = numbers::<u32>(storage, layout)?;
    match targets.iter().find(|&&target| target as usize >= vocab) {
        Some(target) => bail!("token {target} is outside the vocabulary of {vocab}"),
        None => Ok(targets),
    }
}
