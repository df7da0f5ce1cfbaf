//! Quantities computed from a model and its traces; each is one function with its formula and source.

pub mod score;
