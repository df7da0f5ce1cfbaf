//! Eigenvalues of a head's circuits, through its `head_size x head_size` core: `AB` and `BA` share all eigenvalues but
//! zeros.

use std::ops::Range;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector, Schur};
use rayon::prelude::*;

use super::{
    factors::{self, Embedding, Factors, Layer},
    steps,
};
use crate::{
    head::{Head, PerHead},
    model::decoder::{Control, Decoder},
};

/// An eigenvalue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eigenvalue {
    /// Real part.
    pub re: f64,
    /// Imaginary part.
    pub im: f64,
}

/// The eigenvalues of a circuit that can differ from zero, `[head_size]`, the largest in absolute value first.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum(pub Vec<Eigenvalue>);

impl Spectrum {
    /// `Re(sum of eigenvalues) / sum of their absolute values`, -1 to 1: of an OV circuit the copying score (Elhage et al.
    /// 2021, "Detecting copying"), of a QK circuit how much tokens look for themselves. A random matrix has about 0; what
    /// has no eigenvalue but 0 is not a number.
    pub fn positivity(&self) -> f64 {
        self.trace() / self.0.iter().map(|value| value.re.hypot(value.im)).sum::<f64>()
    }

    /// The sum of the eigenvalues, which is the sum of the circuit's diagonal.
    pub fn trace(&self) -> f64 {
        self.0.iter().map(|value| value.re).sum()
    }
}

/// What the embedding and the unembedding share, summed over the vocabulary, `[width, width]` each.
///
/// Both are centred over the vocabulary: a number that is the same for all next tokens changes no probability, and one
/// that is the same for all keys no attention.
pub struct Meeting {
    /// `W_E (1 - mean) W_U`.
    pub unembedding: Tensor,
    /// `W_E (1 - mean) W_E^T`.
    pub embedding: Tensor,
}

/// The two ends of every circuit: the embedding that heads of a layer read, and the unembedding.
pub struct Ends {
    /// For the first layer, which reads the embedding as it is.
    first: Meeting,
    /// For later layers, where they differ.
    later: Option<Meeting>,
}

impl Ends {
    /// Sums over the vocabulary, once for all heads.
    pub fn of(decoder: &Decoder, which: Embedding, control: &Control<'_>) -> Result<Self> {
        let mut sums = EndsSum::new(decoder, which)?;
        steps(sums.steps(), control, |at| sums.step(decoder, at))?;
        sums.finish()
    }

    /// The ends of circuits through heads of `layer`.
    pub fn at(&self, layer: usize) -> &Meeting {
        self.later.as_ref().filter(|_| layer > 0).unwrap_or(&self.first)
    }
}

/// [`Ends`] that are being summed, a tile of the vocabulary in each step.
pub struct EndsSum {
    /// The first layer's, then that of later layers where it differs.
    meetings: Vec<MeetingSum>,
    tiles: Vec<Range<usize>>,
}

impl EndsSum {
    /// Nothing summed yet.
    pub fn new(decoder: &Decoder, which: Embedding) -> Result<Self> {
        let differ = which == Embedding::Effective && !decoder.spec.mlp.is_empty() && decoder.spec.layers > 1;
        let kinds = [Some(Embedding::Raw), differ.then_some(which)];
        let meetings = kinds.into_iter().flatten().map(|which| MeetingSum::new(decoder, which));
        Ok(Self {
            meetings: meetings.collect::<Result<_>>()?,
            tiles: factors::tiles(decoder.spec.vocabulary).collect(),
        })
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.meetings.len() * self.tiles.len()
    }

    /// Takes step `at`.
    pub fn step(&mut self, decoder: &Decoder, at: usize) -> Result<()> {
        let tile = self.tiles[at % self.tiles.len()].clone();
        self.meetings[at / self.tiles.len()].add(decoder, tile)
    }

    /// The sums, once every step has been taken.
    pub fn finish(self) -> Result<Ends> {
        let vocabulary = self.tiles.last().map_or(0, |tile| tile.end);
        let mut meetings = self.meetings.into_iter().map(|meeting| meeting.finish(vocabulary));
        let first = meetings.next().context("circuits begin with an embedding")??;
        Ok(Ends { first, later: meetings.next().transpose()? })
    }
}

/// A [`Meeting`] that is being summed: tiles are multiplied in f32 and summed in f64.
struct MeetingSum {
    which: Embedding,
    /// `W_E W_U` and `W_E W_E^T`, `[width, width]`.
    products: [Tensor; 2],
    /// Of the embedding and the unembedding, `[1, width]`.
    sums: [Tensor; 2],
}

impl MeetingSum {
    fn new(decoder: &Decoder, which: Embedding) -> Result<Self> {
        let width = decoder.spec.width;
        let zeros = |rows| Tensor::zeros((rows, width), DType::F64, &Device::Cpu);
        Ok(Self { which, products: [zeros(width)?, zeros(width)?], sums: [zeros(1)?, zeros(1)?] })
    }

    fn add(&mut self, decoder: &Decoder, tile: Range<usize>) -> Result<()> {
        let e = factors::embedding(decoder, self.which, tile.clone())?;
        let u = factors::unembedding(decoder, tile)?;
        let turned = e.t()?;
        for (index, side) in [&u, &e].into_iter().enumerate() {
            let product = turned.matmul(side)?.to_dtype(DType::F64)?;
            self.products[index] = (&self.products[index] + product)?;
        }
        for (index, side) in [&e, &u].into_iter().enumerate() {
            self.sums[index] = (&self.sums[index] + side.sum_keepdim(0)?.to_dtype(DType::F64)?)?;
        }
        Ok(())
    }

    fn finish(self, vocabulary: usize) -> Result<Meeting> {
        let ([cross, gram], [embeddings, unembeddings]) = (self.products, self.sums);
        let means = (embeddings.t()? / vocabulary as f64)?.contiguous()?;
        Ok(Meeting {
            unembedding: (cross - means.matmul(&unembeddings)?)?,
            embedding: (gram - means.matmul(&embeddings)?)?,
        })
    }
}

/// A matrix in f64.
pub(super) fn double(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.to_dtype(DType::F64)?.contiguous()?)
}

/// Eigenvalues of the expanded OV circuit `W_U W_O W_V W_E`, `[vocabulary, vocabulary]`, which are those of
/// `W_V W_E W_U W_O` (Elhage et al. 2021).
pub fn ov_spectrum(head: &Factors, ends: &Meeting) -> Result<Spectrum> {
    eigenvalues(&double(&head.value)?.matmul(&ends.unembedding)?.matmul(&double(&head.output)?)?)
}

/// [`ov_spectrum`] of every head: their positivity is the copying score.
pub fn ov_spectra(decoder: &Decoder, ends: &Ends, control: &Control<'_>) -> Result<PerHead<Spectrum>> {
    let mut spectra = Vec::with_capacity(decoder.spec.layers * decoder.spec.heads);
    steps(decoder.spec.layers, control, |layer| {
        spectra.extend(ov_layer(decoder, ends, layer)?);
        Ok(())
    })?;
    Ok(PerHead::new(decoder.spec.heads, spectra))
}

/// [`ov_spectrum`] of every head of a layer.
pub fn ov_layer(decoder: &Decoder, ends: &Ends, index: usize) -> Result<Vec<Spectrum>> {
    let layer = Layer::of(decoder, index)?;
    let heads = (0..decoder.spec.heads).into_par_iter();
    heads.map(|head| ov_spectrum(&layer.head(head)?, ends.at(index))).collect()
}

/// The order of heads by positivity, most first; those without one come last.
pub fn order(spectra: &PerHead<Spectrum>) -> Vec<Head> {
    let value = |head: &Head| {
        let score = spectra[*head].positivity();
        if score.is_nan() { f64::NEG_INFINITY } else { score }
    };
    let mut order: Vec<Head> = spectra.iter().map(|(head, _)| head).collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)));
    order
}

/// Eigenvalues of the QK circuit of `later` through `earlier`, `W_E^T W_QK W_OV W_E`, `[query token, key token]`: the term
/// of the path expansion by which a token attends to the one that `earlier` has copied something from. They are those of
/// `W_K W_OV W_E W_E^T W_Q^T`; their positivity says that a token looks for its own copy (Elhage et al. 2021).
pub fn qk_spectrum(later: &Factors, earlier: &Factors, ends: &Meeting) -> Result<Spectrum> {
    let keys = double(&later.key)?.matmul(&double(&earlier.output)?)?;
    let queries = double(&earlier.value)?.matmul(&ends.embedding)?.matmul(&double(&later.query)?.t()?)?;
    eigenvalues(&keys.matmul(&queries)?)
}

/// The eigenvalues of a square f64 matrix.
///
/// # Errors
/// When it holds what is no number.
fn eigenvalues(matrix: &Tensor) -> Result<Spectrum> {
    let side = matrix.dim(0)?;
    let matrix = DMatrix::from_row_slice(side, side, &matrix.flatten_all()?.to_vec1::<f64>()?);
    let schur = schur(matrix.clone())
        // The iteration can stand still on a matrix whose eigenvalues are equally large; seen from another basis it moves.
        .or_else(|| schur(reflected(&matrix)))
        .context(
            "the eigenvalues of a head's circuit cannot be computed: its weights hold what is no number",
        )?;
    let values = schur.complex_eigenvalues();
    let mut values: Vec<Eigenvalue> =
        values.iter().map(|value| Eigenvalue { re: value.re, im: value.im }).collect();
    values.sort_by(|a, b| b.re.hypot(b.im).total_cmp(&a.re.hypot(a.im)).then(b.im.total_cmp(&a.im)));
    Ok(Spectrum(values))
}

fn schur(matrix: DMatrix<f64>) -> Option<Schur<f64, nalgebra::Dyn>> {
    let steps = 60 * matrix.nrows();
    Schur::try_new(matrix, f64::EPSILON, steps)
}

/// `H M H` for a reflection `H` that mixes every direction.
fn reflected(matrix: &DMatrix<f64>) -> DMatrix<f64> {
    let side = matrix.nrows();
    let axis = DVector::from_fn(side, |row, _| 1.0 + ((row + 1) as f64).sqrt().fract());
    let reflection = DMatrix::identity(side, side) - &axis * axis.transpose() * (2.0 / axis.norm_squared());
    &reflection * matrix * &reflection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spectrum(side: usize, entry: impl Fn(usize, usize) -> f64) -> Result<Spectrum> {
        let entry = &entry;
        let numbers: Vec<f64> =
            (0..side).flat_map(|row| (0..side).map(move |column| entry(row, column))).collect();
        eigenvalues(&Tensor::from_vec(numbers, (side, side), &Device::Cpu)?)
    }

    #[test]
    fn known_eigenvalues_are_found() {
        let values = spectrum(2, |row, column| [[3.0, -4.0], [4.0, 3.0]][row][column]).unwrap();
        assert!(
            values
                .0
                .iter()
                .all(|value| (value.re - 3.0).abs() < 1e-12 && (value.im.abs() - 4.0).abs() < 1e-12)
        );
        assert!((values.positivity() - 0.6).abs() < 1e-12);
        assert!(spectrum(4, |_, _| 0.0).unwrap().positivity().is_nan());
        assert!(spectrum(4, |_, _| f64::NAN).is_err());
    }

    #[test]
    fn equally_large_eigenvalues_are_found_too() {
        for side in 2..40 {
            let cycle =
                spectrum(side, |row, column| f64::from(u8::from(column == (row + 1) % side))).unwrap();
            assert!(cycle.0.iter().all(|value| (value.re.hypot(value.im) - 1.0).abs() < 1e-9), "{side}");
            assert!(cycle.trace().abs() < 1e-9, "{side}");
        }
    }
}
