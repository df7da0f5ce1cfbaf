//! Work in the background, a step at a time, so that whoever steps through the prompt never waits for it: one queue, in
//! which what a screen waits for goes first.

use std::time::Duration;

use anyhow::{Error, Result};

use super::{desk::Desk, guarded, protocol::Request};
use crate::error::is_interrupted;

/// A kind of work in the background.
pub trait Job {
    /// Takes a request that is about this work, and gives back any other.
    fn take(&mut self, request: Request, desk: &mut Desk) -> Result<Option<Request>>;

    /// Whether there is a step to take.
    fn is_working(&self, desk: &Desk) -> bool;

    /// Takes the next step and tells what came of it; one that is cancelled is taken again later.
    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()>;

    /// Gives up what a step has failed in, and tells so.
    fn fail(&mut self, desk: &mut Desk, error: &Error);

    /// Another model is open.
    fn reopened(&mut self) {}

    /// After how long without anything to do it wants to look around.
    fn pause(&self, _: &Desk) -> Option<Duration> {
        None
    }

    /// Looks around after such a pause.
    fn look_around(&mut self, _: &mut Desk) {}
}

/// Every kind of work, the most urgent first.
pub struct Queue(Vec<Box<dyn Job>>);

impl Queue {
    /// A queue of these.
    pub fn new(jobs: Vec<Box<dyn Job>>) -> Self {
        Self(jobs)
    }

    /// Gives a request to the work that it is about.
    pub fn take(&mut self, request: Request, desk: &mut Desk) -> Result<()> {
        let mut left = Some(request);
        for job in &mut self.0 {
            let Some(request) = left else { break };
            left = job.take(request, desk)?;
        }
        Ok(())
    }

    /// Whether there is a step to take.
    pub fn is_working(&self, desk: &Desk) -> bool {
        self.0.iter().any(|job| job.is_working(desk))
    }

    /// Takes a step of the most urgent work.
    pub fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) {
        let Some(job) = self.0.iter_mut().find(|job| job.is_working(desk)) else { return };
        if let Err(error) = guarded(|| job.step(desk, cancelled))
            && !is_interrupted(&error)
        {
            job.fail(desk, &error);
        }
    }

    /// Another model is open.
    pub fn reopened(&mut self) {
        self.0.iter_mut().for_each(|job| job.reopened());
    }

    /// After how long without anything to do some work wants to look around.
    pub fn pause(&self, desk: &Desk) -> Option<Duration> {
        self.0.iter().filter_map(|job| job.pause(desk)).min()
    }

    /// Looks around after such a pause.
    pub fn look_around(&mut self, desk: &mut Desk) {
        self.0.iter_mut().for_each(|job| job.look_around(desk));
    }
}
