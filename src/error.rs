//! Errors that callers tell apart.

use std::fmt;

/// Somebody stopped the work; not a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether the work was stopped rather than failed.
pub fn is_interrupted(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>()
}
