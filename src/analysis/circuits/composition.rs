//! Q-, K- and V-composition: how much a head reads of what an earlier head writes (Elhage et al. 2021).

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use super::{
    factors::{Factors, Layer},
    spectrum::double,
    steps,
};
use crate::{
    head::{Head, PerHead},
    model::decoder::{Control, Decoder},
};

/// What of the later head the earlier one composes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Its queries: `||W_QK^T W_OV|| / (||W_QK|| ||W_OV||)`.
    Query,
    /// Its keys: `||W_QK W_OV|| / (||W_QK|| ||W_OV||)`; induction heads are made of it.
    #[default]
    Key,
    /// Its values: `||W_OV' W_OV|| / (||W_OV'|| ||W_OV||)`.
    Value,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Query, Self::Key, Self::Value];

    /// The letter that the papers write.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Query => "Q",
            Self::Key => "K",
            Self::Value => "V",
        }
    }
}

/// Two heads and how much the later one composes with the earlier one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The head that writes.
    pub earlier: Head,
    /// The head that reads.
    pub later: Head,
    /// The score, 0 to 1, the random baseline not yet taken away.
    pub score: f32,
}

/// Pairs of random heads that the baseline is the mean of, unless asked otherwise.
pub const DRAWS: usize = 8;

/// The composition scores of all pairs of heads.
#[derive(Clone, Debug)]
pub struct Composition {
    /// Scores of each kind, of each later head with each earlier one; not a number where that is not in an earlier layer.
    scores: [PerHead<PerHead<f32>>; 3],
    /// What random matrices of the same shapes score, by kind.
    pub baseline: [f32; 3],
}

impl Composition {
    /// Composes every head with every head of every earlier layer.
    ///
    /// With `W_QK = W_Q^T W_K` and `W_OV = W_O W_V` the scores are those of [`Kind`], in Frobenius norms: the corrected
    /// form of the paper's erratum, not the norm of the cyclically turned product. No product of two widths is made: with
    /// `R^T R = A A^T` for `A` of full width, `||A^T X|| = ||R X||`, so that a head is three readers and one writer, each
    /// `head_size x width`, and a score is `||reader writer|| / (||reader|| ||writer||)`.
    ///
    /// The baseline is the mean over `draws` pairs of heads of Gaussian matrices that `seed` gives.
    pub fn of(decoder: &Decoder, seed: u64, draws: usize, control: &Control<'_>) -> Result<Self> {
        let mut composing = Composing::new(decoder, seed, draws)?;
        steps(decoder.spec.layers, control, |later| composing.step(decoder, later))?;
        Ok(composing.finish())
    }

    /// Scores of each kind, of each later head with each earlier one; not a number for what is no pair.
    pub fn new(scores: [PerHead<PerHead<f32>>; 3], baseline: [f32; 3]) -> Self {
        Self { scores, baseline }
    }

    /// A score as it is; `None` unless `earlier` is in an earlier layer.
    pub fn score(&self, kind: Kind, earlier: Head, later: Head) -> Option<f32> {
        self.scores[kind as usize].get(later)?.get(earlier).copied().filter(|score| !score.is_nan())
    }

    /// A score less what random matrices score.
    pub fn above_random(&self, kind: Kind, earlier: Head, later: Head) -> Option<f32> {
        self.score(kind, earlier, later).map(|score| score - self.baseline[kind as usize])
    }

    /// The `top` strongest pairs of a kind, those with `head` alone where one is given.
    pub fn edges(&self, kind: Kind, head: Option<Head>, top: usize) -> Vec<Edge> {
        let edges = self.scores[kind as usize].iter().flat_map(|(later, scores)| {
            scores.iter().map(move |(earlier, &score)| Edge { earlier, later, score })
        });
        let wanted = |edge: &Edge| head.is_none_or(|head| [edge.earlier, edge.later].contains(&head));
        let mut edges: Vec<Edge> = edges.filter(|edge| !edge.score.is_nan() && wanted(edge)).collect();
        edges.sort_by(|a, b| b.score.total_cmp(&a.score));
        edges.truncate(top);
        edges
    }
}

/// A [`Composition`] that is being computed, in each step the heads of one more layer with all before it.
pub struct Composing {
    layers: usize,
    heads: usize,
    /// Of each kind, what each head of the layers so far scores with all heads.
    scores: [Vec<PerHead<f32>>; 3],
    baseline: [f32; 3],
    /// What the heads of each layer so far write with.
    writers: Vec<Stack>,
}

impl Composing {
    /// The random baseline, and no pair yet.
    pub fn new(decoder: &Decoder, seed: u64, draws: usize) -> Result<Self> {
        let spec = &decoder.spec;
        Ok(Self {
            layers: spec.layers,
            heads: spec.heads,
            scores: Default::default(),
            baseline: baseline([spec.head_size, spec.width], seed, draws)?,
            writers: Vec::with_capacity(spec.layers),
        })
    }

    /// Composes the heads of layer `later`, the one after that of the step before.
    pub fn step(&mut self, decoder: &Decoder, later: usize) -> Result<()> {
        let (layers, heads) = (self.layers, self.heads);
        let layer = Layer::of(decoder, later)?;
        let reduced = (0..heads).map(|head| Reduced::of(&layer.head(head)?)).collect::<Result<Vec<_>>>()?;
        for (kind, scores) in self.scores.iter_mut().enumerate() {
            let readers = Stack::of(reduced.iter().map(|head| &head.readers[kind]))?;
            let earlier = self.writers.iter().map(|writers| readers.meet(writers));
            let met = earlier.collect::<Result<Vec<_>>>()?;
            let scores_of = |reader: usize| {
                PerHead::from_fn(layers, heads, |earlier| {
                    met.get(earlier.layer).map_or(f32::NAN, |scores| scores[reader * heads + earlier.head])
                })
            };
            scores.extend((0..heads).map(scores_of));
        }
        self.writers.push(Stack::of(reduced.iter().map(|head| &head.writer))?);
        Ok(())
    }

    /// The scores, once every layer has been composed.
    pub fn finish(self) -> Composition {
        Composition::new(self.scores.map(|scores| PerHead::new(self.heads, scores)), self.baseline)
    }
}

/// A head reduced to what composition is computed from.
struct Reduced {
    /// What it reads with, by [`Kind`], `[head_size, width]`; as large as its circuit, `||reader|| = ||W_QK||` or
    /// `||W_OV||`.
    readers: [Tensor; 3],
    /// What it writes with, `[head_size, width]`, turned; as large as `W_OV`.
    writer: Tensor,
}

impl Reduced {
    fn of(head: &Factors) -> Result<Self> {
        let writes = head.output.t()?.contiguous()?;
        Ok(Self {
            readers: [
                root(&head.key)?.matmul(&head.query)?,
                root(&head.query)?.matmul(&head.key)?,
                root(&writes)?.matmul(&head.value)?,
            ],
            writer: root(&head.value)?.matmul(&writes)?,
        })
    }
}

/// `R`, upper triangular, with `R^T R = A A^T` for `A`, `[head_size, width]`: `||A^T X|| = ||R X||` for every `X`.
fn root(matrix: &Tensor) -> Result<Tensor> {
    let side = matrix.dim(0)?;
    let matrix = double(matrix)?;
    let gram = matrix.matmul(&matrix.t()?)?.flatten_all()?.to_vec1::<f64>()?;
    let root = cholesky(gram, side).into_iter().map(|number| number as f32).collect();
    Ok(Tensor::from_vec(root, (side, side), &Device::Cpu)?)
}

/// The Cholesky factor of a symmetric matrix that has no negative eigenvalue, upper triangular and row-major; a direction
/// in which the matrix is zero, but for rounding, gets a row of zeros.
fn cholesky(mut matrix: Vec<f64>, side: usize) -> Vec<f64> {
    let largest = (0..side).map(|at| matrix[at * side + at]).fold(0.0, f64::max);
    for row in 0..side {
        let pivot = matrix[row * side + row];
        let scale = if pivot > 1e-13 * largest { 1.0 / pivot.sqrt() } else { 0.0 };
        matrix[row * side..][..row].fill(0.0);
        matrix[row * side + row..(row + 1) * side].iter_mut().for_each(|number| *number *= scale);
        let (done, rest) = matrix.split_at_mut((row + 1) * side);
        let done = &done[row * side..];
        for (below, numbers) in rest.chunks_exact_mut(side).enumerate() {
            let factor = done[row + 1 + below];
            for (number, above) in numbers.iter_mut().zip(done).skip(row + 1 + below) {
                *number -= factor * above;
            }
        }
    }
    matrix
}

/// Matrices of several heads below one another, with their Frobenius norms.
struct Stack {
    rows: Tensor,
    norms: Vec<f64>,
}

impl Stack {
    fn of<'a>(matrices: impl Iterator<Item = &'a Tensor>) -> Result<Self> {
        let matrices: Vec<&Tensor> = matrices.collect();
        let norm = |matrix: &&Tensor| -> Result<f64> {
            Ok(matrix.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
        };
        let norms = matrices.iter().map(norm).collect::<Result<_>>()?;
        Ok(Self { rows: Tensor::cat(&matrices, 0)?, norms })
    }

    /// `||reader writer|| / (||reader|| ||writer||)` of every pair, `[reader, writer]`.
    fn meet(&self, writers: &Self) -> Result<Vec<f32>> {
        let product = self.rows.matmul(&writers.rows.t()?)?;
        let columns = product.dim(1)?;
        let size = columns / writers.norms.len();
        let product = product.flatten_all()?.to_vec1::<f32>()?;
        let mut scores = Vec::with_capacity(self.norms.len() * writers.norms.len());
        for (rows, reader) in product.chunks_exact(size * columns).zip(&self.norms) {
            let mut squares = vec![0.0f64; writers.norms.len()];
            for row in rows.chunks_exact(columns) {
                for (square, block) in squares.iter_mut().zip(row.chunks_exact(size)) {
                    *square += f64::from(block.iter().map(|number| number * number).sum::<f32>());
                }
            }
            let pairs = squares.iter().zip(&writers.norms);
            scores.extend(pairs.map(|(square, writer)| (square.sqrt() / (reader * writer)) as f32));
        }
        Ok(scores)
    }
}

/// The mean score of heads made of Gaussian matrices, `[head_size, width]` each, by kind; about `1 / sqrt(width)`.
pub fn baseline(shape: [usize; 2], seed: u64, draws: usize) -> Result<[f32; 3]> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut sums = [0.0; 3];
    for _ in 0..draws {
        let earlier = Reduced::of(&random_head(shape, &mut random)?)?;
        let later = Reduced::of(&random_head(shape, &mut random)?)?;
        let writer = Stack::of([&earlier.writer].into_iter())?;
        for (sum, reader) in sums.iter_mut().zip(&later.readers) {
            *sum += Stack::of([reader].into_iter())?.meet(&writer)?[0];
        }
    }
    Ok(sums.map(|sum| sum / draws as f32))
}

fn random_head([size, width]: [usize; 2], random: &mut ChaCha8Rng) -> Result<Factors> {
    let mut matrix = |shape: (usize, usize)| {
        let numbers = (0..size * width).map(|_| gaussian(random) as f32).collect();
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    };
    Ok(Factors {
        query: matrix((size, width))?,
        key: matrix((size, width))?,
        value: matrix((size, width))?,
        output: matrix((width, size))?,
    })
}

/// A number of the normal distribution (Box and Muller 1958).
fn gaussian(random: &mut ChaCha8Rng) -> f64 {
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_gives_its_square_back_also_without_full_rank() {
        // Rows 0 and 2 are the same.
        let rows = [[1.0, 2.0, 0.5], [0.0, 1.0, -1.0], [1.0, 2.0, 0.5]];
        let gram: Vec<f64> =
            (0..9).map(|at| (0..3).map(|k| rows[at / 3][k] * rows[at % 3][k]).sum()).collect();
        let root = cholesky(gram.clone(), 3);
        for (at, expected) in gram.iter().enumerate() {
            let square: f64 = (0..3).map(|k| root[k * 3 + at / 3] * root[k * 3 + at % 3]).sum();
            assert!((square - expected).abs() < 1e-12, "{root:?}");
        }
    }

    #[test]
    fn random_heads_score_one_over_the_root_of_the_width() {
        for kind in baseline([16, 64], 0, 8).unwrap() {
            assert!((kind - 0.125).abs() < 0.01, "{kind}");
        }
        assert_eq!(baseline([4, 16], 3, 2).unwrap(), baseline([4, 16], 3, 2).unwrap());
    }
}
