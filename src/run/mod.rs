//! Runs of training: which snapshots there are, what was logged, what is measured or checked, and a folder that is still written
//! to.

mod checked;
mod folder;
mod follow;
mod history;
mod log;
mod looked;
mod measured;
mod named;
mod shard;
mod watched;

pub use self::{
    checked::{Checked, Found, NUMBERS, SCHEMA_VERSION},
    folder::{Stamp, TrainingRun, stamp},
    follow::{Followed, Scope},
    history::History,
    log::{Entry, HeadEntry, Log},
    measured::{Measured, Source},
    named::{named, snapshots},
    shard::Shard,
    watched::{Next, Seen, Watched},
};
