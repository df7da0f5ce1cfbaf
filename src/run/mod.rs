//! Runs of training: which snapshots there are, what was logged, what is measured, and a folder that is still written to.

mod folder;
mod follow;
mod log;
mod measured;
mod named;

pub use self::{
    folder::{Stamp, TrainingRun, stamp},
    follow::{Followed, Scope},
    log::{Entry, HeadEntry, Log},
    measured::{Measured, Source},
    named::snapshots,
};
