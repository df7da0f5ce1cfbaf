//! A check of the model in the background, one step after the other.

use anyhow::{Error, Result};

use super::{
    check::{Checking, Plan},
    desk::Desk,
    job::Job,
    protocol::{CheckView, Event, Request},
};

/// The check that is under way, if one is.
#[derive(Default)]
pub struct Checks(Option<Checking>);

impl Job for Checks {
    fn take(&mut self, request: Request, desk: &mut Desk) -> Result<Option<Request>> {
        match request {
            Request::Check(only) => {
                let checking = Checking::new(&desk.model, Plan { only, ..Plan::all() }, None);
                tell(self.0.insert(checking), desk, false);
            }
            Request::StopChecking => {
                if let Some(checking) = self.0.take() {
                    tell(&checking, desk, true);
                }
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn is_working(&self, _: &Desk) -> bool {
        self.0.is_some()
    }

    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        if let Some(checking) = &mut self.0 {
            checking.step(&desk.model, cancelled)?;
            tell(checking, desk, false);
        }
        self.0.take_if(|checking| checking.progress().is_none());
        Ok(())
    }

    fn fail(&mut self, desk: &mut Desk, error: &Error) {
        if let Some(checking) = self.0.take() {
            tell(&checking, desk, true);
        }
        desk.fail(error);
    }

    fn reopened(&mut self) {
        self.0 = None;
    }
}

fn tell(checking: &Checking, desk: &Desk, stopped: bool) {
    let view = CheckView { found: checking.found().into(), doing: checking.progress(), stopped };
    desk.tell(Event::Check(view.into()));
}
