//! Waiting for what the engine answers.

use std::time::Duration;

use attnscope::engine::{Engine, protocol::Event};

/// No answer takes this long; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The first event that `wanted` takes; others before it are dropped.
pub fn wait<R>(engine: &Engine, wanted: impl Fn(&Event) -> Option<R>) -> R {
    loop {
        let event = engine.events.recv_timeout(PATIENCE).expect("the engine answers");
        if let Some(result) = wanted(&event) {
            return result;
        }
    }
}
