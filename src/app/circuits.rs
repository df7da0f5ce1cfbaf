//! What the Circuits screen shows and where its cursor is.

/// The state of the Circuits screen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Circuits {}
