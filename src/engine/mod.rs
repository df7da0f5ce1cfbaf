//! The worker that owns the model: requests in, events out, long work cancelled when it is no longer wanted.

pub mod protocol;
