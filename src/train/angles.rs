//! By how much the pairs of a vector are rotated at each position.

use std::sync::Arc;

use candle_core::{Result, bail};

/// Cosine and sine of every rotary angle, `[position][pair]`.
#[derive(Clone)]
pub struct Angles {
    table: Arc<Vec<(f64, f64)>>,
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
        Self { table: Arc::new(table), pairs }
    }

    /// Cosine and sine at the first `positions` positions, row after row of `size / 2` pairs.
    pub fn first(&self, positions: usize, size: usize) -> Result<&[(f64, f64)]> {
        match self.table.get(..positions * self.pairs) {
            Some(table) if size == 2 * self.pairs => Ok(table),
            _ => bail!("the rotary angles do not cover {positions} positions of {size} numbers"),
        }
    }
}
