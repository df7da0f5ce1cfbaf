//! Two snapshots of a run on one prompt: what the stretch of training between them does to the loss on each token.

use anyhow::{Context, Result};

use super::{
    guarded,
    open::OpenRequest,
    protocol::{Change, Comparison, Event, Pair},
    session::Session,
    training::Training,
};
use crate::{
    analysis::loss,
    checkpoint::run::{Stamp, stamp},
    error::{is_interrupted, told},
    model::decoder::Control,
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

impl Comparing {
    /// Compares from now on, or no longer.
    pub fn ask(&mut self, pair: Option<Pair>) {
        self.wanted = pair;
    }

    /// Whether there is something to do.
    pub fn is_working(&self) -> bool {
        self.wanted.is_some()
    }

    /// Compares and tells; when it is cancelled, it begins again later.
    pub fn step(
        &mut self,
        session: &Session,
        training: &Training,
        open: &OpenRequest,
        cancelled: &dyn Fn() -> bool,
    ) {
        let Some(pair) = self.wanted else { return };
        // After a change of the prompt whoever asked asks again.
        if pair.epoch == session.epoch {
            let result = match guarded(|| self.compare(pair.before, session, training, open, cancelled)) {
                Err(error) if is_interrupted(&error) => return,
                result => result.map(Into::into).map_err(|error| line(&told(&error))),
            };
            session.tell(Event::Compared { pair, result });
        }
        self.wanted = None;
    }

    fn compare(
        &mut self,
        step: u64,
        session: &Session,
        training: &Training,
        open: &OpenRequest,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Comparison> {
        let snapshot =
            training.snapshot(step).with_context(|| format!("the run has no step {step} any more"))?;
        let (ids, stamp) = (session.ids(), stamp(snapshot));
        let control = Control { progress: &|_, _| (), cancelled };
        let known = self.before.take().filter(|it| (it.step, &it.stamp, &*it.ids) == (step, &stamp, ids));
        let known = match known {
            Some(known) => known,
            None => {
                let model = training.open_beside(snapshot, open, cancelled)?;
                let losses = loss::per_token(&model.decoder, ids, &control)?;
                Before { step, stamp, ids: ids.to_vec(), losses }
            }
        };
        let known = self.before.insert(known);
        let after = loss::per_token(&session.model.decoder, ids, &control)?;
        let changes =
            known.losses.iter().zip(after).map(|(&before, after)| Change { before, after }).collect();
        Ok(Comparison { before: step, after: training.open_step(), changes })
    }
}
