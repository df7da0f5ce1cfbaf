//! Moves through a list or along a line; what is moved is the room's affair.

/// A move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    Left,
    Right,
    Up,
    Down,
    PageUp,
    PageDown,
    First,
    Last,
}

impl Motion {
    /// Where it leads from place `at` of a list that ends with `last`, `page` places to a page.
    pub fn lead(self, at: usize, last: usize, page: usize) -> usize {
        let to = match self {
            Self::Left | Self::Up => at.saturating_sub(1),
            Self::Right | Self::Down => at + 1,
            Self::PageUp => at.saturating_sub(page),
            Self::PageDown => at + page,
            Self::First => 0,
            Self::Last => last,
        };
        to.min(last)
    }

    /// Whether it goes back rather than on.
    pub fn is_back(self) -> bool {
        matches!(self, Self::Left | Self::Up | Self::PageUp | Self::First)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_move_leaves_the_list() {
        use Motion as M;
        let lead = |motion: M| [0, 3, 9].map(|at| motion.lead(at, 9, 4));
        assert_eq!([M::Up, M::Left].map(lead), [[0, 2, 8]; 2]);
        assert_eq!([M::Down, M::Right].map(lead), [[1, 4, 9]; 2]);
        assert_eq!([M::PageUp, M::PageDown].map(lead), [[0, 0, 5], [4, 7, 9]]);
        assert_eq!([M::First, M::Last].map(lead), [[0; 3], [9; 3]]);
        assert_eq!(M::Last.lead(0, 0, 4), 0);
    }
}
