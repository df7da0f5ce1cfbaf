//! The arguments of `check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{MODEL_LONG_HELP, ReadAs};
use crate::{analysis::check::expect::Expectation, run::Shard};

/// Arguments of `check`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct CheckArgs {
    #[arg(help = "Model to check [default: the small one that is built in], or several", long_help = MODEL_LONG_HELP, value_name = "MODEL")]
    /// What to open; of none it is the model that is built in.
    pub models: Vec<String>,
    /// What is checked, and what is expected.
    #[command(flatten)]
    pub checks: ChecksArgs,
    /// Report of an earlier check (--format json): what it has found already does not fail this one
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Option<PathBuf>,
    /// Say what a check is and from where on it complains, of all or of one, and check nothing
    #[arg(long, value_name = "CHECK", num_args = 0..=1, default_missing_value = "")]
    pub explain: Option<String>,
    /// How to print the report
    #[arg(long, default_value = "table")]
    pub format: CheckFormat,
    /// Of several checkpoints, or of all snapshots of a run, check this share: 2/8 is the second of eight
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// File to write a line of JSON to for each checkpoint, in the place of printing
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,
}

/// What is checked, on what, and what is expected of it.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct ChecksArgs {
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// Text to read in the place of the two that are built in (repeatable)
    #[arg(long, value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Checks to make, by name or group: weights,probes or text.loss [default: all]
    #[arg(long, value_name = "CHECK,CHECK", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Checkpoint to compare with, such as the one that training began from: weights, loss, heads
    #[arg(long, value_name = "MODEL")]
    pub against: Option<String>,
    /// What a number of the report has to be, such as 'induction>=0.3' or 'text.loss<3.5' (repeatable)
    #[arg(long, value_name = "NAME>=NUMBER")]
    pub expect: Vec<Expectation>,
    /// TOML file with a list of these: expect = ["induction>=0.3"]
    #[arg(long, value_name = "FILE.toml")]
    pub expectations: Option<PathBuf>,
}

/// How a check is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line for each checkpoint, of a run's folder for each of its snapshots.
    Jsonl,
    /// A table for a merge request or a log book.
    Markdown,
    /// JUnit's XML, as build servers read it.
    Junit,
    /// SARIF 2.1, as code hosts read it.
    Sarif,
}
