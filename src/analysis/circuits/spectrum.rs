//! Eigenvalues of a head's circuits, through its `head_size x head_size` core: `AB` and `BA` share all eigenvalues but
//! zeros.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use nalgebra::{DMatrix, DVector, Schur};
use rayon::prelude::*;

use super::factors::{self, Embedding, Factors, Layer};
use crate::model::decoder::{Control, Decoder};

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
        let differ = which == Embedding::Effective && decoder.spec.mlp.is_some() && decoder.spec.layers > 1;
        Ok(Self {
            first: Meeting::of(decoder, Embedding::Raw, control)?,
            later: if differ { Some(Meeting::of(decoder, which, control)?) } else { None },
        })
    }

    /// The ends of circuits through heads of `layer`.
    pub fn at(&self, layer: usize) -> &Meeting {
        self.later.as_ref().filter(|_| layer > 0).unwrap_or(&self.first)
    }
}

impl Meeting {
    /// Tiles are multiplied in f32 and summed in f64.
    fn of(decoder: &Decoder, which: Embedding, control: &Control<'_>) -> Result<Self> {
        let (width, vocabulary) = (decoder.spec.width, decoder.spec.vocabulary);
        let zeros = |rows| Tensor::zeros((rows, width), DType::F64, &Device::Cpu);
        let (mut cross, mut gram) = (zeros(width)?, zeros(width)?);
        let (mut embeddings, mut unembeddings) = (zeros(1)?, zeros(1)?);
        for tile in factors::tiles(vocabulary) {
            control.check()?;
            (control.progress)(tile.end, vocabulary);
            let e = factors::embedding(decoder, which, tile.clone())?;
            let u = factors::unembedding(decoder, tile)?;
            let turned = e.t()?;
            cross = (cross + turned.matmul(&u)?.to_dtype(DType::F64)?)?;
            gram = (gram + turned.matmul(&e)?.to_dtype(DType::F64)?)?;
            embeddings = (embeddings + e.sum_keepdim(0)?.to_dtype(DType::F64)?)?;
            unembeddings = (unembeddings + u.sum_keepdim(0)?.to_dtype(DType::F64)?)?;
        }
        let means = (embeddings.t()? / vocabulary as f64)?.contiguous()?;
        Ok(Self {
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

/// [`ov_spectrum`] of every head, `[layer * heads + head]`: their positivity is the copying score.
pub fn ov_spectra(decoder: &Decoder, ends: &Ends, control: &Control<'_>) -> Result<Vec<Spectrum>> {
    let (layers, heads) = (decoder.spec.layers, decoder.spec.heads);
    let mut spectra = Vec::with_capacity(layers * heads);
    for index in 0..layers {
        control.check()?;
        (control.progress)(index, layers);
        let layer = Layer::of(decoder, index)?;
        let of_layer: Result<Vec<Spectrum>> =
            (0..heads).into_par_iter().map(|head| ov_spectrum(&layer.head(head)?, ends.at(index))).collect();
        spectra.extend(of_layer?);
    }
    Ok(spectra)
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
