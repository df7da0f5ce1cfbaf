//! Errors that callers tell apart.

use std::fmt;

use crate::text::bounded;

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

/// What went wrong, with its causes, at a length that can be read. Of an accelerator whose memory is full, the driver says no more than that: what would
/// fit is told in its place.
pub fn told(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    if text.contains("CUDA_ERROR_OUT_OF_MEMORY") || text.contains("CUBLAS_STATUS_ALLOC_FAILED") {
        return "the GPU's memory is full: give a shorter prompt or a smaller --batch, hold weights with `--dtype bf16`, take a \
                smaller model, or compute with `--device cpu` (`nvidia-smi` shows who else uses it)"
            .into();
    }
    bounded(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gpu_is_told_with_what_would_fit() {
        let full =
            anyhow::anyhow!("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")").context("pass");
        assert!(told(&full).contains("--dtype bf16"));
        assert_eq!(told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
    }
}
