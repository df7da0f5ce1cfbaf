//! What the Training screen shows and where its cursor is.

/// The state of the Training screen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Training {}
