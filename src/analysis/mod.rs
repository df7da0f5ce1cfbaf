//! Quantities computed from a model and its traces; each is one function with its formula and source.

pub mod agreement;
pub mod attribute;
pub mod benchmark;
pub mod check;
pub mod circuits;
pub mod doubt;
pub mod explain;
pub mod lens;
pub mod loss;
pub mod map;
pub mod patch;
pub mod rank;
pub mod score;
pub mod timeline;
