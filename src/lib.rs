//! attnscope: a terminal explorer for transformer attention heads.

pub mod analysis;
pub mod app;
pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod head;
pub mod memory;
pub mod model;
pub mod text;
pub mod train;
pub mod ui;
