//! attnscope: a terminal explorer for transformer attention heads.

pub mod analysis;
pub mod engine;
pub mod head;
pub mod memory;
pub mod train;
