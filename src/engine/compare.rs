//! Two snapshots of a run on one prompt: what the stretch of training between them does to the loss on each token.

use anyhow::{Context, Error, Result};

use super::{
    desk::Desk,
    job::Job,
    protocol::{Change, Comparison, Event, Pair, Request},
};
use crate::{
    analysis::loss,
    error::told,
    model::decoder::Control,
    run::{Stamp, stamp},
    text::line,
};

/// Losses of a snapshot on a prompt.
struct Before {
    step: u64,
    /// The snapshot as it was written then.
    stamp: Stamp,
    ids: Vec<u32>,
    losses: Vec<f32>,
}

/// A comparison that is asked for, and the losses of the snapshot that was opened last: it stays the same while one goes
/// through the others.
#[derive(Default)]
pub struct Comparing {
    wanted: Option<Pair>,
    before: Option<Before>,
}

impl Job for Comparing {
    fn take(&mut self, request: Request, _: &mut Desk) -> Result<Option<Request>> {
        let Request::Compare(pair) = request else { return Ok(Some(request)) };
        self.wanted = pair;
        Ok(None)
    }

    fn is_working(&self, _: &Desk) -> bool {
        self.wanted.is_some()
    }

    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(pair) = self.wanted else { return Ok(()) };
        // After a change of the prompt whoever asked asks again.
        if pair.epoch == desk.epoch {
            let comparison = self.compare(pair.before, desk, cancelled)?;
            desk.tell(Event::Compared { pair, result: Ok(comparison.into()) });
        }
        self.wanted = None;
        Ok(())
    }

    fn fail(&mut self, desk: &mut Desk, error: &Error) {
        if let Some(pair) = self.wanted.take() {
            desk.tell(Event::Compared { pair, result: Err(line(&told(error))) });
        }
    }
}

impl Comparing {
    fn compare(&mut self, step: u64, desk: &Desk, cancelled: &dyn Fn() -> bool) -> Result<Comparison> {
        let training = &desk.training;
        let snapshot =
            training.snapshot(step).with_context(|| format!("the run has no step {step} any more"))?;
        let (ids, stamp) = (desk.ids(), stamp(snapshot));
        let control = Control { progress: &|_, _| (), cancelled };
        let known = self.before.take().filter(|it| (it.step, &it.stamp, &*it.ids) == (step, &stamp, ids));
        let known = match known {
            Some(known) => known,
            None => {
                let model = training.open_beside(snapshot, &desk.open, cancelled)?;
                let losses = loss::per_token(&model.decoder, ids, &control)?;
                Before { step, stamp, ids: ids.to_vec(), losses }
            }
        };
        let known = self.before.insert(known);
        let after = loss::per_token(&desk.model.decoder, ids, &control)?;
        let changes =
            known.losses.iter().zip(after).map(|(&before, after)| Change { before, after }).collect();
        Ok(Comparison { before: step, after: training.open_step(), changes })
    }
}
