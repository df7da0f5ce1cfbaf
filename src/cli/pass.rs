//! The arguments of commands that run a prompt: on what, and what is changed in it.

use std::path::PathBuf;

use clap::Args;

use super::{MODEL_HELP, MODEL_LONG_HELP, ReadAs, bos, token_id};
use crate::engine::{edits::Written, protocol::Bos};

/// What is run.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct PassArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// The prompt.
    #[command(flatten)]
    pub input: PromptArgs,
    /// Whether the prompt begins with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
    /// What is changed in the pass.
    #[command(flatten)]
    pub edits: EditArgs,
}

/// The prompt of a command: text or ids.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub struct PromptArgs {
    /// Prompt to run; - reads it from standard input
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Token ids to run, exactly as given: no BOS is added
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', value_parser = token_id)]
    pub ids: Option<Vec<u32>>,
}

/// What is changed in a pass.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Edits")]
pub struct EditArgs {
    /// Change something in the pass (repeatable): a head 5.1, kv.5.0, attn.5, mlp.5, resid.5, an edge edge.5.1:9<3 or column
    /// edge.5.1:*<0; at tokens @7 or @3-9; to zero, mean, mean-so-far, mean-text, from, and edges to knockout or zero
    #[arg(long = "edit", value_name = "SITE[@TOKENS]=VALUE")]
    pub edits: Vec<Written>,
    /// Prompt that =from takes values from, token by token
    #[arg(long, value_name = "TEXT", conflicts_with = "from_ids")]
    pub from_prompt: Option<String>,
    /// The same as token ids
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', value_parser = token_id)]
    pub from_ids: Option<Vec<u32>>,
    /// Text that =mean-text takes the mean over, at each position over windows as long as the prompt
    #[arg(long, value_name = "FILE")]
    pub reference_text: Option<PathBuf>,
    /// Keep every pattern as it is in the pass without edits
    #[arg(long, requires = "edits")]
    pub frozen: bool,
}
