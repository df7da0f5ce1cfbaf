//! The three operations that training spends its time on, each fused with its gradient.
//!
//! Built from candle's elementary operations, a causal softmax, a rotary embedding and a cross-entropy touch
//! every number a dozen times. Here each is one pass forwards and one pass backwards. All three work on the CPU in
//! f32 (training) and f64 (the gradient checks of the tests).

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor, WithDType, bail,
};

/// Attention of each query over the keys at or before it: `softmax(scale * scores)` along the last dimension.
///
/// `scores` is `[.., T, T]` (query, key); later keys get exactly zero.
pub fn causal_softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    let (queries, keys) = (scores.dim(D::Minus2)?, scores.dim(D::Minus1)?);
    if queries != keys {
        bail!("a causal softmax needs as many queries as keys, not {queries} and {keys}");
    }
    scores.contiguous()?.apply_op1(CausalSoftmax { scale })
}

/// Rotates each pair `(x[i], x[i + n/2])` of the last dimension by the angle of its position.
///
/// `x` is `[.., T, n]`; `angles` has `T` rows of `n / 2` angles in radians. Llama's `rotate_half` layout.
pub fn rotate(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Rotate { angles: angles.clone(), back: false })
}

/// `-ln softmax(logits)[target]` of each row, in nats: `logits` `[N, vocab]`, `targets` `[N]` u32, result `[N]`.
pub fn token_losses(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, _) = logits.dims2()?;
    if targets.dims1()? != rows {
        bail!("{rows} rows of logits but {} targets", targets.dims1()?);
    }
    logits.contiguous()?.apply_op2(targets, TokenLosses)
}

/// Cosine and sine of every rotary angle, `[position][pair]`.
#[derive(Clone)]
pub struct Angles {
    table: std::sync::Arc<Vec<(f64, f64)>>,
    pairs: usize,
}

impl Angles {
    /// Angle `position * theta^(-2 pair / size)`, for vectors of `size` numbers.
    pub fn new(positions: usize, size: usize, theta: f64) -> Self {
        let pairs = size / 2;
        let angle =
            |position: usize, pair: usize| position as f64 / theta.powf(2. * pair as f64 / size as f64);
        let table = (0..positions)
            .flat_map(|position| (0..pairs).map(move |pair| angle(position, pair)))
            .map(|angle| (angle.cos(), angle.sin()))
            .collect();
        Self { table: std::sync::Arc::new(table), pairs }
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
        by_type!(scores, T => {
            let scores = numbers::<T>(scores, layout)?;
            let mut pattern = vec![0 as T; scores.len()];
            let squares = pattern.chunks_mut(keys * keys).zip(scores.chunks(keys * keys));
            squares.for_each(|(pattern, scores)| {
                for (query, (pattern, scores)) in pattern.chunks_mut(keys).zip(scores.chunks(keys)).enumerate() {
                    let (_, sum) = exponentials(&scores[..=query], self.scale as T, pattern);
                    pattern[..=query].iter_mut().for_each(|p| *p /= sum);
                }
            });
            Ok((T::wrap(pattern), layout.shape().clone()))
        })
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
            let (pattern, grad) = (numbers::<T>(a, la)?, numbers::<T>(g, lg)?);
            let mut out = vec![0 as T; pattern.len()];
            let squares = out.chunks_mut(keys * keys).zip(pattern.chunks(keys * keys));
            squares.zip(grad.chunks(keys * keys)).for_each(|((out, pattern), grad)| {
                let rows = out.chunks_mut(keys).zip(pattern.chunks(keys)).zip(grad.chunks(keys));
                for (query, ((out, pattern), grad)) in rows.enumerate() {
                    let seen = pattern[..=query].iter().zip(grad);
                    let mean: T = seen.clone().map(|(a, g)| a * g).sum();
                    for (o, (a, g)) in out.iter_mut().zip(seen) {
                        *o = self.scale as T * a * (g - mean);
                    }
                }
            });
            Ok((T::wrap(out), la.shape().clone()))
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
        let Angles { table, pairs } = &self.angles;
        if size != 2 * pairs || positions * pairs > table.len() {
            bail!("the rotary angles do not cover {positions} positions of {size} numbers");
        }
        let sign = if self.back { -1. } else { 1. };
        by_type!(x, T => {
            let x = numbers::<T>(x, layout)?;
            let mut out = vec![0 as T; x.len()];
            let sequences = out.chunks_mut(positions * size).zip(x.chunks(positions * size));
            sequences.for_each(|(out, x)| {
                let rows = out.chunks_mut(size).zip(x.chunks(size)).zip(table.chunks(*pairs));
                for ((out, x), angles) in rows {
                    for (pair, &(cos, sin)) in angles.iter().enumerate() {
                        let (cos, sin) = (cos as T, (sign * sin) as T);
                        out[pair] = x[pair] * cos - x[pair + pairs] * sin;
                        out[pair + pairs] = x[pair + pairs] * cos + x[pair] * sin;
                    }
                }
            });
            Ok((T::wrap(out), layout.shape().clone()))
        })
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
        let targets = numbers::<u32>(t, lt)?;
        check_targets(targets, vocab)?;
        by_type!(x, T => {
            let logits = numbers::<T>(x, lx)?;
            let loss = |(row, &target): (&[T], &u32)| {
                let mut spare = vec![0 as T; vocab];
                let (top, sum) = exponentials(row, 1., &mut spare);
                sum.ln() + top - row[target as usize]
            };
            let losses = logits.chunks(vocab).zip(targets).map(loss).collect();
            Ok((T::wrap(losses), Shape::from(rows)))
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
        let targets = numbers::<u32>(t, lt)?;
        check_targets(targets, vocab)?;
        by_type!(x, T => {
            let (logits, grad) = (numbers::<T>(x, lx)?, numbers::<T>(g, lg)?);
            let mut out = vec![0 as T; logits.len()];
            let rows = out.chunks_mut(vocab).zip(logits.chunks(vocab)).zip(targets).zip(grad);
            rows.for_each(|(((out, logits), &target), &grad)| {
                let (_, sum) = exponentials(logits, 1., out);
                let share = grad / sum;
                out.iter_mut().for_each(|p| *p *= share);
                out[target as usize] -= grad;
            });
            Ok((T::wrap(out), lx.shape().clone()))
        })
    }
}

fn check_targets(targets: &[u32], vocab: usize) -> Result<()> {
    match targets.iter().find(|&&target| target as usize >= vocab) {
        Some(target) => bail!("token {target} is outside the vocabulary of {vocab}"),
        None => Ok(()),
    }
}
