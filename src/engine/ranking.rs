//! A ranking in the background: one sequence at a time, so that whoever steps through the prompt never waits for it.

use anyhow::Result;

use super::{
    protocol::{Event, RankSettings},
    session::Session,
};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank::{self, Tally},
        score::Score,
    },
    model::decoder::Control,
};

/// A ranking that is under way.
pub struct Ranking {
    benchmark: Benchmark,
    /// Sequences still to measure, the next one last.
    left: Vec<(Kind, usize)>,
    total: usize,
    tally: Tally,
}

impl Ranking {
    /// Begins a ranking, and tells that it has begun.
    pub fn new(session: &Session, settings: RankSettings) -> Result<Self> {
        let model = &session.model;
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
            tally: Tally::new(model.info.layers * model.info.heads),
            benchmark,
        };
        ranking.tell(session);
        Ok(ranking)
    }

    /// Whether every sequence was measured.
    pub fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// Measures the next sequence; when it is cancelled, it is measured again later.
    pub fn step(&mut self, session: &Session, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let Some(next) = self.left.last() else { return Ok(()) };
        let control = Control { progress: &|_, _| (), cancelled };
        let part = rank::measure(&session.model.decoder, &self.benchmark, &[*next], &control)?;
        self.tally.merge(part);
        self.left.pop();
        self.tell(session);
        Ok(())
    }

    fn tell(&self, session: &Session) {
        session.tell(Event::Ranking {
            settings: self.benchmark.settings(),
            done: self.total - self.left.len(),
            total: self.total,
            scores: self.tally.scores().into(),
            doubts: self.tally.doubts(&Score::ALL).into(),
        });
    }
}
