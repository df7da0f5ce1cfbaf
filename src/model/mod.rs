//! One decoder for every family, and the trace that a pass of it leaves.

pub mod activation;
pub mod alibi;
pub mod attention;
pub mod config;
pub mod decoder;
pub mod edit;
pub mod families;
#[cfg(feature = "cuda")]
mod gpu;
pub mod host;
pub mod linear;
pub mod load;
pub mod mlp;
pub mod norm;
pub mod place;
pub mod reads;
pub mod rotary;
mod router;
pub mod slot;
pub mod spec;
pub mod stored;
pub mod trace;
