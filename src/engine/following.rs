//! The run of training that the open model belongs to, followed in the background: its snapshots are measured one a step, and
//! a folder that is still being written is looked at again and again.

use std::time::Duration;

use anyhow::{Error, Result};

use super::{desk::Desk, job::Job, protocol::Request, training};

/// Follows [`Desk::training`].
pub struct Following;

impl Job for Following {
    fn take(&mut self, request: Request, desk: &mut Desk) -> Result<Option<Request>> {
        match request {
            Request::Watch(watch) => desk.training.watch(watch),
            Request::Measure(all) => desk.training.measure_all(all),
            other => return Ok(Some(other)),
        }
        desk.tell_training();
        Ok(None)
    }

    fn is_working(&self, desk: &Desk) -> bool {
        desk.training.is_measuring()
    }

    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        if desk.training.measure(&desk.open, cancelled) {
            desk.tell_training();
        }
        Ok(())
    }

    fn fail(&mut self, desk: &mut Desk, error: &Error) {
        desk.fail(error);
    }

    fn pause(&self, desk: &Desk) -> Option<Duration> {
        desk.training.is_watched().then_some(training::PAUSE)
    }

    fn look_around(&mut self, desk: &mut Desk) {
        if desk.training.is_watched() && desk.training.look() {
            desk.tell_training();
        }
    }
}
