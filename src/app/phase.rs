//! How far work of the engine is.

/// So many steps of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not begun.
    #[default]
    None,
    /// So many of so many; none of none until it is known.
    Running(usize, usize),
    /// Stopped after so many of so many.
    Stopped(usize, usize),
    /// All of it.
    Done,
}

impl Phase {
    /// Whether the engine is at it.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running(..))
    }
}
