//! The program as a script runs it: what goes in, what comes out, and how it ends.

#![allow(clippy::unwrap_used)]

mod bad_families;
mod bad_gguf;
mod bad_input;
mod bad_weights;
mod check;
mod commands;
mod shards;
mod train;
#[path = "../explorer/trained.rs"]
mod trained;
mod verify;
#[cfg(feature = "real-python")]
mod verify_python;
mod watch;
mod what_if;
