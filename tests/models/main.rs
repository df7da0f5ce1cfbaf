//! Models and what is computed of them, against the references.

#![allow(clippy::unwrap_used)]

mod traced;

mod adapter;
mod bigram;
mod circuits;
mod configurations;
mod edits;
mod experts;
mod families;
mod finite;
mod heads;
mod induction;
mod parts;
mod pickle;
mod quantised;
#[cfg(feature = "real-python")]
mod reads_python;
mod reference;
mod shipped;
#[cfg(feature = "real-model")]
mod smollm2;
mod ties;
mod tokenizer;
mod trainer;
#[cfg(feature = "real-python")]
mod what_if;
mod wrapped;
