//! The two ends of the residual stream: from token ids into it, and from it to logits; and what heads write to it.

use anyhow::{Result, bail};
use candle_core::{DType, Device, Tensor};

use super::{Decoder, indices, scaled};
use crate::model::{
    linear::Linear,
    spec::{Positions, ReadBy},
};

impl Decoder {
    /// Embeds `sequences` sequences of equal length that begin at position `start`: `[sequences, tokens, width]`.
    pub(super) fn embed(&self, ids: &[u32], sequences: usize, start: usize) -> Result<Tensor> {
        let tokens = ids.len() / sequences;
        let x = self.embedded(ids)?.reshape((sequences, tokens, self.spec.width))?;
        Ok(match self.position_rows(start, tokens)? {
            Some(positions) => x.broadcast_add(&positions)?,
            None => x,
        })
    }

    /// The residual stream that tokens begin with, but for their positions: `[ids, width]`.
    pub fn embedded(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.embedding.rows(ids, &self.device)?;
        let rows = match &self.projection_in {
            Some(projection) => projection.product(&rows)?,
            None => rows,
        };
        let rows = scaled(rows, self.spec.embedding.scale)?;
        match &self.embedding_norm {
            Some(norm) => norm.apply(&rows),
            None => Ok(rows),
        }
    }

    /// The vectors of positions `start..start + tokens` that the residual stream begins with, `[tokens, width]`;
    /// `None` where there are none in it.
    pub fn position_rows(&self, start: usize, tokens: usize) -> Result<Option<Tensor>> {
        match (&self.positions, &self.spec.positions) {
            (
                Some(positions),
                &(Positions::Learned { offset, read_by: ReadBy::Everything }
                | Positions::Sinusoidal { offset, .. }),
            ) => positions.rows(&indices(offset + start, tokens), &self.device).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether there are logits.
    pub fn has_unembedding(&self) -> bool {
        self.spec.logits.missing.is_none()
    }

    /// Logits, `[rows, vocabulary]`, of the residual stream after the last layer, `[rows, width]`.
    ///
    /// # Errors
    /// Also where the model has no unembedding: [`Self::has_unembedding`].
    pub fn logits(&self, last: &Tensor) -> Result<Tensor> {
        self.unembed(&self.norm.apply(last)?)
    }

    /// Logits, `[rows, vocabulary]`, of the residual stream after the last normalisation, `[rows, width]`.
    pub fn unembed(&self, normed: &Tensor) -> Result<Tensor> {
        let logits = self.unembedding()?.forward(&self.outward(normed)?)?;
        self.capped(scaled(logits, self.spec.logits.scale)?)
    }

    /// The logits of `ids` alone, `[ids]`, of the residual stream after the last layer at one token, `[1, width]`.
    pub fn logits_of(&self, last: &Tensor, ids: &[u32]) -> Result<Vec<f32>> {
        let logits = self.norm.apply(last)?.matmul(&self.unembedding_rows(ids)?.t()?)?;
        let bias = Tensor::new(self.unembedding_bias(ids)?, &self.device)?;
        let logits = self.capped(logits.broadcast_add(&bias)?)?;
        Ok(logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?)
    }

    fn capped(&self, logits: Tensor) -> Result<Tensor> {
        Ok(match self.spec.logits.cap {
            Some(cap) => (scaled(logits, 1.0 / cap)?.tanh()? * f64::from(cap))?,
            None => logits,
        })
    }

    /// The residual stream in the width of the embedding, `[rows, embedding width]`.
    fn outward(&self, normed: &Tensor) -> Result<Tensor> {
        match &self.projection_out {
            Some(projection) => projection.product(normed),
            None => Ok(normed.clone()),
        }
    }

    /// What heads write to the residual stream at some tokens, `[rows, width]`, when their outputs side by side are
    /// `part`, `[rows, heads * head_size]`, and those of all heads are `whole`; without the projection's bias, which
    /// belongs to no head. A normalisation of what attention writes divides as it does for the whole.
    pub fn write(&self, layer: usize, part: &Tensor, whole: &Tensor) -> Result<Tensor> {
        let weights = &self.layers[layer];
        let (part, whole) = match &weights.output_norm {
            Some(norm) => (norm.of_part(part, whole)?, norm.apply(whole)?),
            None => (part.clone(), whole.clone()),
        };
        let written = weights.output.product(&part)?;
        let written = match &weights.post_norm {
            Some(norm) if self.spec.norm.place.is_after() => {
                norm.of_part(&written, &weights.output.forward(&whole)?)?
            }
            _ => written,
        };
        scaled(written, self.spec.residual_scale)
    }

    /// Logits that `part` of the residual stream makes by itself, `[1, vocabulary]`, where the whole is `last`
    /// `[1, width]`: the last normalisation is taken with the whole's mean square (or variance), and logits are not bent.
    pub fn direct_logits(&self, part: &Tensor, last: &Tensor) -> Result<Tensor> {
        let logits = self.unembedding()?.product(&self.outward(&self.norm.of_part(part, last)?)?)?;
        scaled(logits, self.spec.logits.scale)
    }

    /// The stored matrix at the end of [`Self::unembed`].
    ///
    /// # Errors
    /// When the model has none.
    fn unembedding(&self) -> Result<&Linear> {
        match &self.spec.logits.missing {
            Some(head) => bail!(
                "the model has no output head (no `{head}`), so it tells no next tokens; patterns and scores of heads can be seen"
            ),
            None => Ok(self.unembedding.as_ref().unwrap_or(&self.embedding)),
        }
    }

    /// Whether the unembedding is another matrix than the embedding.
    pub fn has_own_unembedding(&self) -> bool {
        self.unembedding.is_some()
    }

    /// Numbers of a row of the unembedding.
    pub fn unembedding_width(&self) -> usize {
        self.unembedding.as_ref().unwrap_or(&self.embedding).inputs()
    }

    /// Takes the embedding for the unembedding.
    pub fn tie(&mut self) {
        self.unembedding = None;
    }

    /// What the unembedding adds to the logits of `ids`, `[ids]`; 0 where it has no bias.
    pub fn unembedding_bias(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let Some(bias) = self.unembedding()?.bias() else { return Ok(vec![0.0; ids.len()]) };
        let ids = Tensor::new(ids, bias.device())?;
        let bias = scaled(bias.to_dtype(DType::F32)?.index_select(&ids, 0)?, self.spec.logits.scale)?;
        Ok(bias.to_device(&Device::Cpu)?.to_vec1()?)
    }

    /// The directions in the normalised residual stream that make the logits of `ids`, `[ids, width]`.
    pub fn unembedding_rows(&self, ids: &[u32]) -> Result<Tensor> {
        let rows = self.unembedding()?.rows(ids, &self.device)?;
        let rows = match &self.projection_out {
            Some(projection) => {
                let outputs: Vec<u32> = (0..projection.outputs() as u32).collect();
                rows.matmul(&projection.rows(&outputs, &self.device)?)?
            }
            None => rows,
        };
        scaled(rows, self.spec.logits.scale)
    }
}
