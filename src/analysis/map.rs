//! A head's pattern pooled to the cells that fit on a screen.

use anyhow::Result;

use crate::{head::Head, model::trace::Trace};

/// How several attention values become one cell of a map that is smaller than the matrix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// The largest: a stripe one token wide survives.
    #[default]
    Max,
    /// The mean.
    Mean,
}

/// One head's attention pattern, pooled to at most the cells that fit.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternMap {
    /// Tokens on each side of the whole matrix.
    pub tokens: usize,
    /// Tokens on each side of a cell; 1 when nothing is pooled.
    pub pooled: usize,
    /// Cells on each side: `tokens / pooled`, rounded up.
    pub side: usize,
    /// `[query cell, key cell]`, row-major; 0 above the diagonal.
    pub values: Vec<f32>,
}

/// Pools a head's pattern to at most `fits` columns and rows, tile by tile.
pub fn pattern_map(trace: &Trace, head: Head, fits: (usize, usize), pool: Pool) -> Result<PatternMap> {
    let tokens = trace.len();
    let pooled = tokens.div_ceil(fits.0.min(fits.1).max(1)).max(1);
    let side = tokens.div_ceil(pooled);
    let mut values = vec![0.0f32; side * side];
    trace.rows(head, 0..tokens, |rows| {
        for (query, row) in rows.iter() {
            let cells = &mut values[query / pooled * side..][..side];
            for (cell, weights) in cells.iter_mut().zip(row.chunks(pooled)) {
                match pool {
                    Pool::Max => *cell = weights.iter().copied().fold(*cell, f32::max),
                    Pool::Mean => *cell += weights.iter().sum::<f32>(),
                }
            }
        }
    })?;
    if pool == Pool::Mean {
        // Cells at the edges hold fewer entries than the others.
        let length = |cell: usize| pooled.min(tokens - cell * pooled) as f32;
        for query in 0..side {
            for key in 0..side {
                values[query * side + key] /= length(query) * length(key);
            }
        }
    }
    Ok(PatternMap { tokens, pooled, side, values })
}
