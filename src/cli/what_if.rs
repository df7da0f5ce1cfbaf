//! The arguments of commands that take a prediction apart.

use std::path::PathBuf;

use clap::{
    Args,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};

use super::{
    MODEL_HELP, MODEL_LONG_HELP, ReadAs, TableFormat, bos,
    pass::{PassArgs, PromptArgs},
    token_id,
};
use crate::{
    analysis::patch::{Direction, Over},
    engine::protocol::Bos,
};

/// Arguments of `lens`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct LensArgs {
    /// What is run.
    #[command(flatten)]
    pub pass: PassArgs,
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
    pub format: TableFormat,
}

/// Arguments of `attribute`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct AttributeArgs {
    /// What is run.
    #[command(flatten)]
    pub pass: PassArgs,
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
    pub format: TableFormat,
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
    #[arg(long, default_value = "heads", value_parser = over())]
    pub over: Over,
    /// Which run the parts go into
    #[arg(long, default_value = "denoise", value_parser = direction())]
    pub direction: Direction,
    /// Rows of the table [default: 20]
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// File to write: map [layers, heads] or [layers, T], and the differences clean and corrupted
    #[arg(long, value_name = "FILE.safetensors")]
    pub out: Option<PathBuf>,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: TableFormat,
    /// Whether prompts begin with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
}

fn over() -> impl TypedValueParser<Value = Over> {
    let values = Over::ALL.map(|over| PossibleValue::new(over.name()).help(over.meaning()));
    PossibleValuesParser::new(values)
        .try_map(|name| Over::ALL.into_iter().find(|over| over.name() == name).ok_or("no such part"))
}

fn direction() -> impl TypedValueParser<Value = Direction> {
    let values = Direction::ALL.map(|way| PossibleValue::new(way.name()).help(way.meaning()));
    PossibleValuesParser::new(values)
        .try_map(|name| Direction::ALL.into_iter().find(|way| way.name() == name).ok_or("no such direction"))
}
