//! Factors that quantised numbers are stored without: one for each tile of a matrix.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::StoredTensor;

/// What the numbers of a stored matrix, or of each in a stack of them, are multiplied by.
#[derive(Clone)]
pub struct Scales {
    /// A factor for each tile, `[..., tiles down, tiles across]`.
    factors: Arc<StoredTensor>,
    /// Rows and columns of a tile; those at the lower and right edges may be smaller.
    tile: [usize; 2],
}

impl Scales {
    /// The factors of tiles of `tile` rows and columns.
    ///
    /// # Errors
    /// When they are not as many as a tensor of `shape` has tiles.
    pub fn new(factors: StoredTensor, tile: [usize; 2], shape: &[usize]) -> Result<Self> {
        let fits = match shape {
            [.., rows, columns] if !tile.contains(&0) => {
                let tiles = [rows.div_ceil(tile[0]), columns.div_ceil(tile[1])];
                factors.shape == [&shape[..shape.len() - 2], &tiles].concat() && factors.kind.block_len() == 1
            }
            _ => false,
        };
        if !fits {
            bail!(
                "scales `{}` of shape {:?} do not go with a tensor of shape {shape:?} in tiles of {tile:?}",
                factors.name.escape_debug(),
                factors.shape
            );
        }
        Ok(Self { factors: Arc::new(factors), tile })
    }

    /// Bytes of the factors as stored.
    pub fn bytes(&self) -> usize {
        self.factors.bytes().len()
    }

    /// The factors of matrix `index` of a stack of three or more dimensions.
    pub fn part(&self, index: usize) -> Result<Self> {
        if self.factors.shape.len() < 3 {
            bail!("`{}` scales a single matrix, which has no parts", self.factors.name.escape_debug());
        }
        Ok(Self { factors: Arc::new(self.factors.part(index)?), tile: self.tile })
    }

    /// Multiplies `numbers`, which are those from number `start` on of matrices of `rows` and `columns`.
    pub fn apply(&self, [rows, columns]: [usize; 2], start: usize, mut numbers: &mut [f32]) {
        let [.., down, across] = self.factors.shape[..] else { return };
        let [high, wide] = self.tile;
        let (mut row, mut column) = (start / columns, start % columns);
        let mut factors = vec![0.0; across];
        while !numbers.is_empty() {
            let (line, rest) = numbers.split_at_mut(numbers.len().min(columns - column));
            let (first, last) = (column / wide, (column + line.len() - 1) / wide);
            let factors = &mut factors[..=last - first];
            let above = row / rows * down + row % rows / high;
            self.factors.widen_from(above * across + first, factors);
            let mut left = line;
            for factor in factors {
                let (tile, right) = left.split_at_mut(left.len().min(wide - column % wide));
                tile.iter_mut().for_each(|number| *number *= *factor);
                column += tile.len();
                left = right;
            }
            (numbers, row, column) = (rest, row + 1, 0);
        }
    }
}
