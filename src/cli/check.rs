//! The arguments of `check`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{MODEL_HELP, MODEL_LONG_HELP, ReadAs};
use crate::analysis::check::expect::Expectation;

/// Arguments of `check`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct CheckArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
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
    /// Report of an earlier check (--format json): what it has found already does not fail this one
    #[arg(long, value_name = "FILE.json")]
    pub baseline: Option<PathBuf>,
    /// Say what a check is and from where on it complains, of all or of one, and check nothing
    #[arg(long, value_name = "CHECK", num_args = 0..=1, default_missing_value = "")]
    pub explain: Option<String>,
    /// How to print the report
    #[arg(long, default_value = "table")]
    pub format: CheckFormat,
}

/// How a check is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
    /// A table for a merge request or a log book.
    Markdown,
    /// JUnit's XML, as build servers read it.
    Junit,
    /// SARIF 2.1, as code hosts read it.
    Sarif,
}
