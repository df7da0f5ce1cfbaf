//! attnscope: a terminal explorer for transformer attention heads.
//!
//! The rooms, from the ground up; each imports only from those above it in this list.

pub mod error;
pub mod head;
pub mod mapped;
pub mod memory;
pub mod output;
pub mod text;

pub mod checkpoint;
pub mod model;

pub mod analysis;
pub mod run;

pub mod engine;
pub mod train;

pub mod app;

pub mod report;
pub mod term;
pub mod ui;

pub mod cli;
pub mod commands;
