//! The corner plot: heads that look for copies of their own token (QK) and copy what they find (OV) are induction heads.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{
    factors::{Factors, Layer},
    spectrum::{self, Ends},
    steps,
};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank::Tally,
        score::Score,
    },
    head::{Head, PerHead},
    model::decoder::{Control, Decoder},
};

/// A head in the plot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The head, of the second layer or a later one.
    pub head: Head,
    /// The strongest previous-token head of an earlier layer, through which `matching` goes.
    pub through: Head,
    /// Positivity of the QK circuit through that head, [`spectrum::qk_spectrum`], -1 to 1.
    pub matching: f64,
    /// Positivity of the OV circuit, [`spectrum::ov_spectrum`], -1 to 1.
    pub copying: f64,
    /// Trace of the QK circuit through all earlier heads, each weighed with its previous-token score, over the number of
    /// tokens (Olsson et al. 2022, "Trace of QK eigenvalues"): `sum_e p_e tr(W_K W_OV^e W_E W_E^T W_Q^T) / vocabulary`.
    pub trace: f64,
}

/// Every head of the layers after the first (Elhage et al. 2021, "Two-layer attention-only transformers").
///
/// `previous` is the previous-token score of every head. Both sides of the QK circuits begin with
/// what later layers read for an embedding.
pub fn corner(
    decoder: &Decoder,
    ends: &Ends,
    previous: &PerHead<f32>,
    control: &Control<'_>,
) -> Result<Vec<Point>> {
    let mut plot = Plotting::new(decoder)?;
    steps(decoder.spec.layers, control, |layer| plot.step(decoder, ends, previous, layer))?;
    Ok(plot.points)
}

/// The sequences that previous-token scores are measured on.
pub fn draws(benchmark: &Benchmark) -> Vec<(Kind, usize)> {
    (0..benchmark.settings().batch).map(|draw| (Kind::Repeat, draw)).collect()
}

/// The previous-token score of every head.
pub fn previous(tally: &Tally) -> PerHead<f32> {
    tally.scores().map(|scores| scores.get(Score::Previous))
}

/// Puts points in order, the nearest to the corner where both positivities are 1 first; what is no number comes last.
pub fn sort(points: &mut [Point]) {
    let key = |point: &Point| {
        let sum = point.matching + point.copying;
        if sum.is_nan() { f64::NEG_INFINITY } else { sum }
    };
    points.sort_by(|a, b| key(b).total_cmp(&key(a)));
}

/// A corner plot that is being made, a layer in each step.
pub struct Plotting {
    /// `sum_e p_e W_OV^e W_E W_E^T` over the heads of the layers so far.
    moved: Tensor,
    /// The strongest previous-token head so far.
    strongest: Option<(f32, Head, Factors)>,
    /// The heads so far.
    pub points: Vec<Point>,
}

impl Plotting {
    /// No head yet.
    pub fn new(decoder: &Decoder) -> Result<Self> {
        let width = decoder.spec.width;
        let moved = Tensor::zeros((width, width), DType::F32, &Device::Cpu)?;
        Ok(Self { moved, strongest: None, points: Vec::new() })
    }

    /// Adds the heads of layer `index`, the one after that of the step before.
    pub fn step(
        &mut self,
        decoder: &Decoder,
        ends: &Ends,
        previous: &PerHead<f32>,
        index: usize,
    ) -> Result<()> {
        let spec = &decoder.spec;
        let meeting = ends.at(1);
        let layer = Layer::of(decoder, index)?;
        if let Some((_, through, earlier)) = &self.strongest {
            let point = |head| -> Result<Point> {
                let factors = layer.head(head)?;
                let trace = factors.key.matmul(&self.moved)?.mul(&factors.query)?.to_dtype(DType::F64)?;
                Ok(Point {
                    head: Head::new(index, head),
                    through: *through,
                    matching: spectrum::qk_spectrum(&factors, earlier, meeting)?.positivity(),
                    copying: spectrum::ov_spectrum(&factors, ends.at(index))?.positivity(),
                    trace: trace.sum_all()?.to_scalar::<f64>()? / spec.vocabulary as f64,
                })
            };
            self.points.extend((0..spec.heads).into_par_iter().map(point).collect::<Result<Vec<_>>>()?);
        }
        let gram = meeting.embedding.to_dtype(DType::F32)?;
        for head in 0..spec.heads {
            let score = previous[Head::new(index, head)];
            let factors = layer.head(head)?;
            let written = (&factors.output * f64::from(score))?;
            self.moved = (&self.moved + written.matmul(&factors.value.matmul(&gram)?)?)?;
            if self.strongest.as_ref().is_none_or(|(most, ..)| score > *most) {
                self.strongest = Some((score, Head::new(index, head), factors));
            }
        }
        Ok(())
    }
}
