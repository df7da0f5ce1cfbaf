//! The arguments of commands that change a pass or take its prediction apart.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{MODEL_HELP, MODEL_LONG_HELP, PromptArgs, ReadAs, bos, token_id};
use crate::{
    analysis::patch::Over,
    engine::{edits::Written, protocol::Bos},
};

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

/// Arguments of `lens`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct LensArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// What is run.
    #[command(flatten)]
    pub input: PromptArgs,
    /// Position of the token whose prediction is shown, counted from zero [default: the last]
    #[arg(long, value_name = "N")]
    pub token: Option<usize>,
    /// Token to follow, by its id or its text [default: what the model predicts]
    #[arg(long, value_name = "TOKEN")]
    pub target: Option<String>,
    /// Best tokens to show of each layer
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub top: usize,
    /// File to write every logit to: lens [layers + 1, T, vocabulary]
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: NumbersFormat,
    /// Whether the prompt begins with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
    /// What is changed in the pass.
    #[command(flatten)]
    pub edits: EditArgs,
}

/// Arguments of `attribute`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct AttributeArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// What is run.
    #[command(flatten)]
    pub input: PromptArgs,
    /// Token whose logit is taken apart, by its id or its text [default: what the model predicts]
    #[arg(long, value_name = "TOKEN")]
    pub target: Option<String>,
    /// Token whose logit is taken away from it
    #[arg(long, value_name = "TOKEN")]
    pub against: Option<String>,
    /// Position of the token that predicts, counted from zero [default: the last]
    #[arg(long, value_name = "N")]
    pub token: Option<usize>,
    /// Rows of the table [default: 20]
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// File that the parts are written to.
    #[arg(
        help = "File to write: heads [layers, heads], attn_bias, mlps [layers], embedding, bias, logit, remainder",
        long,
        value_name = "FILE.safetensors"
    )]
    pub out: Option<PathBuf>,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: NumbersFormat,
    /// Whether the prompt begins with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
    /// What is changed in the pass.
    #[command(flatten)]
    pub edits: EditArgs,
}

/// Arguments of `patch`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct PatchArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// The clean prompt.
    #[command(flatten)]
    pub input: PromptArgs,
    /// The corrupted prompt, of as many tokens
    #[arg(long, value_name = "TEXT", required_unless_present = "from_ids", conflicts_with = "from_ids")]
    pub from_prompt: Option<String>,
    /// The same as token ids
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', value_parser = token_id)]
    pub from_ids: Option<Vec<u32>>,
    /// Token that is right after the clean prompt, by its id or its text
    #[arg(long, value_name = "TOKEN")]
    pub target: String,
    /// Token that is right after the corrupted one
    #[arg(long, value_name = "TOKEN")]
    pub against: String,
    /// What is patched, a part at a time
    #[arg(long, default_value = "heads")]
    pub over: PatchOver,
    /// Which run the parts go into
    #[arg(long, default_value = "denoise")]
    pub direction: Direction,
    /// Rows of the table [default: 20]
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// File to write: map [layers, heads] or [layers, T], and the differences clean and corrupted
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: NumbersFormat,
    /// Whether prompts begin with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
}

/// How numbers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NumbersFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
    /// Comma-separated values with a heading.
    Csv,
}

/// What is patched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PatchOver {
    /// Each head's output, at all tokens.
    Heads,
    /// What each MLP writes, token by token.
    Mlps,
    /// What each layer's attention writes, token by token.
    Attn,
    /// The residual stream before each layer, token by token.
    Resid,
}

impl From<PatchOver> for Over {
    fn from(over: PatchOver) -> Self {
        match over {
            PatchOver::Heads => Self::Heads,
            PatchOver::Mlps => Self::Mlps,
            PatchOver::Attn => Self::Attention,
            PatchOver::Resid => Self::Residual,
        }
    }
}

/// Which run parts go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// From the clean run into the corrupted one: what is enough for the clean answer.
    Denoise,
    /// From the corrupted run into the clean one: what the clean answer needs.
    Noise,
}
