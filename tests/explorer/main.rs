//! The explorer: its state, its engine, its screens, and the program on a terminal.

#![allow(clippy::unwrap_used)]

mod common;
mod live;
#[path = "../terminal/mod.rs"]
mod terminal;
mod trained;
mod waiting;

mod app_circuits;
mod app_health;
mod app_keys;
mod app_loading;
mod app_open;
mod app_training;
mod engine;
mod engine_check;
mod engine_circuits;
mod measured;
mod pty;
mod readme;
mod run;
mod tour;
mod views;
