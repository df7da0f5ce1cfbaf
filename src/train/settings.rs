//! What to train and how.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{config::Config, data::Mix};

/// Steps over which the learning rate rises.
const WARM_UP: usize = 200;

/// What to train and how. It is stored with a run under the names of the flags, so that a run goes on only as it began.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Layers; none leaves the bigram table.
    pub layers: usize,
    /// Heads per layer.
    pub heads: usize,
    /// Numbers in the residual stream.
    pub width: usize,
    /// Numbers in the hidden layer of each layer's MLP, as a multiple of the width; none without MLPs.
    pub mlp: Option<f64>,
    /// Whether keys are mixed with the key before.
    pub smeared_keys: bool,
    /// Tokens in the vocabulary.
    pub vocab: usize,
    /// Tokens the model reads at once.
    pub context: usize,
    /// Sequences per step.
    pub batch: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps at the start with blocks of random tokens and no plain text. Text mixed in before induction has formed keeps
    /// it from forming, and when it forms differs by hundreds of steps between seeds: look at the reports, and go on
    /// from a snapshot ([`Settings::from`]) when it has not.
    pub repeat_steps: usize,
    /// Share of sequences with blocks of random tokens after that.
    pub block_share: f64,
    /// Share of the text sequences in which a span of the text comes again.
    pub repeat_share: f64,
    /// Share of what is left of them in which made-up people are mentioned. None is stored as nothing, so that runs begun
    /// before there was such a share go on.
    #[serde(skip_serializing_if = "is_zero")]
    pub mention_share: f64,
    /// Highest learning rate, reached after the warm-up; a cosine takes it to a tenth at the last step.
    #[serde(rename = "lr")]
    pub learning_rate: f64,
    /// Everything random follows from this.
    pub seed: u64,
    /// A snapshot to go on from, with its weights and tokenizer; the optimiser and the steps start anew.
    pub from: Option<PathBuf>,
    /// A snapshot and a measurement after every so many steps, besides the first and the last.
    pub snapshot_every: usize,
    /// Where further snapshots are.
    pub snapshots: Spacing,
    /// The state to go on from is stored after every so many steps. It changes nothing in what comes out.
    #[serde(skip)]
    pub save_every: usize,
}

/// How snapshots are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Spacing {
    /// At 0, N, 2N, ... and the last step
    Even,
    /// At 0, 1, 2, 4, 8, ... until N as well
    Log,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            layers: 2,
            heads: 8,
            width: 128,
            mlp: None,
            smeared_keys: false,
            vocab: 2048,
            context: 128,
            batch: 32,
            steps: 4300,
            repeat_steps: 2600,
            block_share: 0.2,
            repeat_share: 0.,
            mention_share: 0.,
            learning_rate: 2e-3,
            seed: 0,
            from: None,
            snapshot_every: 250,
            snapshots: Spacing::Even,
            save_every: 50,
        }
    }
}

impl Settings {
    /// Refuses numbers that cannot work, and returns the model's configuration.
    pub fn check(&self) -> Result<Config> {
        ensure!(self.steps > 0, "--steps 0 trains nothing");
        ensure!(self.batch > 0, "--batch 0 shows the model nothing");
        ensure!(self.snapshot_every > 0, "--snapshot-every 0 would never save: give a number of steps");
        ensure!(self.save_every > 0, "--save-every 0 would never save: give a number of steps");
        ensure!(self.learning_rate > 0. && self.learning_rate < 1., "--lr must lie between 0 and 1");
        for (name, share) in [
            ("--block-share", self.block_share),
            ("--repeat-share", self.repeat_share),
            ("--mention-share", self.mention_share),
        ] {
            ensure!((0. ..=1.).contains(&share), "{name} {share} is no share: give a number from 0 to 1");
        }
        let mut config = Config::new(self.vocab, self.width, self.layers, self.heads, self.context)?;
        if self.smeared_keys {
            config = config.with_smeared_keys()?;
        }
        match self.mlp {
            Some(multiple) => config.with_mlp(multiple),
            None => Ok(config),
        }
    }

    /// The learning rate of a step, counted from zero.
    pub fn rate(&self, step: usize) -> f64 {
        let rising = ((step + 1) as f64 / WARM_UP as f64).min(1.);
        let past = step.saturating_sub(WARM_UP) as f64 / self.steps.saturating_sub(WARM_UP).max(1) as f64;
        let falling = 0.1 + 0.9 * 0.5 * (1. + (std::f64::consts::PI * past).cos());
        self.learning_rate * rising * falling
    }

    /// What the sequences of a step are.
    pub fn mix(&self, step: usize) -> Mix {
        match step < self.repeat_steps {
            true => Mix { blocks: 1., spans: 0., mentions: 0. },
            false => Mix { blocks: self.block_share, spans: self.repeat_share, mentions: self.mention_share },
        }
    }

    /// Whether a snapshot belongs after so many steps.
    pub fn is_snapshot(&self, step: usize) -> bool {
        let early = self.snapshots == Spacing::Log && step < self.snapshot_every && step.is_power_of_two();
        step.is_multiple_of(self.snapshot_every) || step == self.steps || early
    }

    /// Every step after which a snapshot belongs, up to `last`.
    pub fn snapshot_steps(&self, last: usize) -> impl Iterator<Item = usize> {
        (0..=last.min(self.steps)).filter(|&step| self.is_snapshot(step))
    }
}

fn is_zero(share: &f64) -> bool {
    *share == 0.
}
