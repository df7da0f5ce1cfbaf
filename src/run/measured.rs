//! What is known of a model at a step of its training, and how it is measured.

use anyhow::Result;

use crate::{
    analysis::{
        benchmark::Benchmark,
        loss::{self, Icl, Repeat},
        rank,
        score::{HeadScores, Score},
    },
    head::PerHead,
    model::decoder::{Control, Decoder},
};

/// Where scores and the gain of a repeat come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// They were measured here.
    Here,
    /// They were logged while the model was trained.
    #[default]
    Log,
}

/// What is known of a training step. Losses are in nats per token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Training steps done.
    pub step: u64,
    /// Where scores and gain come from.
    pub source: Source,
    /// Tokens in the block that is repeated.
    pub length: Option<usize>,
    /// Scores of every head; empty where they are not known.
    pub scores: PerHead<HeadScores>,
    /// The standard errors of these; empty where they are not known.
    pub errors: PerHead<HeadScores>,
    /// Mean losses on both copies of the block; a log has only their difference.
    pub repeat: Option<Repeat>,
    /// Mean loss on the first copy of the block minus that on the second.
    pub gain: Option<f32>,
    /// Mean loss on text kept from training, which only training knows.
    pub held_out: Option<f32>,
    /// In-context learning on that text.
    pub icl: Option<Icl>,
}

impl Measured {
    /// Measures the model as it was after `step`: every head's scores on the sequences that [`rank::draws`] says, and what a
    /// repeat gains on as many of them as the benchmark's batch has.
    pub fn measure(
        step: u64,
        decoder: &Decoder,
        benchmark: &Benchmark,
        by: Score,
        control: &Control<'_>,
    ) -> Result<Self> {
        let settings = benchmark.settings();
        let tally = rank::scores(decoder, benchmark, by, control)?;
        let repeat = loss::repeat(decoder, benchmark, settings.batch, control)?;
        Ok(Self {
            step,
            source: Source::Here,
            length: Some(settings.length),
            scores: tally.scores(),
            errors: tally.errors(),
            repeat: Some(repeat),
            gain: Some(repeat.gain()),
            held_out: None,
            icl: None,
        })
    }

    /// Takes over what only the log knows of the step.
    pub fn add_logged(&mut self, logged: &Self) {
        self.held_out = self.held_out.or(logged.held_out);
        self.icl = self.icl.or(logged.icl);
    }
}
