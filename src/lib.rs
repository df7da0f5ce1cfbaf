//! attnscope: a terminal explorer for transformer attention heads.

pub mod analysis;
pub mod head;
pub mod train;
