//! A ranking in the background, one sequence a step.

use anyhow::{Error, Result};

use super::{
    desk::Desk,
    job::Job,
    protocol::{Event, RankSettings, Request},
};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank::{self, Tally},
        score::Score,
    },
    model::decoder::Control,
};

/// The ranking that is under way, if one is.
#[derive(Default)]
pub struct Rankings(Option<Ranking>);

impl Job for Rankings {
    fn take(&mut self, request: Request, desk: &mut Desk) -> Result<Option<Request>> {
        match request {
            Request::Rank(settings) => self.0 = Some(Ranking::new(desk, settings)?),
            Request::StopRanking => {
                self.0 = None;
                desk.tell(Event::RankingStopped);
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn is_working(&self, _: &Desk) -> bool {
        self.0.is_some()
    }

    fn step(&mut self, desk: &mut Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        if let Some(ranking) = &mut self.0 {
            ranking.step(desk, cancelled)?;
        }
        self.0.take_if(|ranking| ranking.left.is_empty());
        Ok(())
    }

    fn fail(&mut self, desk: &mut Desk, error: &Error) {
        self.0 = None;
        desk.fail(error);
    }

    fn reopened(&mut self) {
        self.0 = None;
    }
}

struct Ranking {
    benchmark: Benchmark,
    /// Sequences still to measure, the next one last.
    left: Vec<(Kind, usize)>,
    total: usize,
    tally: Tally,
}

impl Ranking {
    /// Begins, and tells so.
    fn new(desk: &Desk, settings: RankSettings) -> Result<Self> {
        let model = &desk.model;
        let benchmark = model.benchmark(settings)?;
        let kinds = [Kind::Repeat, Kind::Control, Kind::Prefix, Kind::Stripe];
        let mut left: Vec<(Kind, usize)> = kinds
            .into_iter()
            .flat_map(|kind| (0..benchmark.draws(kind)).map(move |draw| (kind, draw)))
            .collect();
        left.reverse();
        let ranking = Self {
            total: left.len(),
            left,
            tally: Tally::new(model.info.layers, model.info.heads),
            benchmark,
        };
        ranking.tell(desk);
        Ok(ranking)
    }

    /// Measures the next sequence; when it is cancelled, it is measured again later.
    fn step(&mut self, desk: &Desk, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(next) = self.left.last() else { return Ok(()) };
        let control = Control { progress: &|_, _| (), cancelled };
        let part = rank::measure(&desk.model.decoder, &self.benchmark, &[*next], &control)?;
        self.tally.merge(part);
        self.left.pop();
        self.tell(desk);
        Ok(())
    }

    fn tell(&self, desk: &Desk) {
        desk.tell(Event::Ranking {
            settings: self.benchmark.settings(),
            done: self.total - self.left.len(),
            total: self.total,
            scores: self.tally.scores(),
            doubts: self.tally.doubts(&Score::ALL),
        });
    }
}
