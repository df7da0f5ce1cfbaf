//! The arguments of `circuits`.

use std::path::PathBuf;

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{MODEL_HELP, MODEL_LONG_HELP, TableFormat};
use crate::{
    analysis::circuits::{factors::Embedding, trigram::Role},
    head::Head,
    train::text::Invented,
};

/// Arguments of `circuits`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct CircuitsArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// What to print [default: a summary]
    #[arg(long)]
    pub what: Option<What>,
    /// Head to look at, layer and head counted from zero [default: all, or the one that copies most]
    #[arg(long, value_name = "L.H", requires = "what")]
    pub head: Option<Head>,
    /// Token to look at, for bigram and trigrams
    #[arg(long, value_name = "TEXT", requires = "what", conflicts_with_all = ["ids", "prompt"])]
    pub token: Option<String>,
    /// Plain text files in UTF-8 whose bigrams the bigram table is compared with, as they are, for bigram
    #[arg(
        long,
        value_name = "FILE",
        num_args = 1..,
        requires = "what",
        conflicts_with_all = ["token", "ids", "prompt", "head"]
    )]
    pub text: Option<Vec<PathBuf>>,
    /// Take the text as `train` does: the lines of a paragraph joined, every twentieth stretch left out
    #[arg(long, requires = "text")]
    pub tidy: bool,
    /// Take the text as `train --invent-names` does on one reading: tidied, every twentieth stretch left out, and names
    /// made up with --seed, often (which a run does anew on every reading) or once
    #[arg(
        long,
        value_name = "HOW",
        requires = "text",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "often"
    )]
    pub invent_names: Option<Invented>,
    /// Token ids in place of --token or --prompt, exactly as given: no BOS is added
    #[arg(long, value_name = "ID,ID", value_delimiter = ',', requires = "what", conflicts_with = "prompt")]
    pub ids: Option<Vec<u32>>,
    /// Which of a skip-trigram's tokens --token is
    #[arg(long = "as", value_name = "ROLE", default_value = "source", value_parser = role())]
    pub role: Role,
    /// Prompt whose prediction is taken apart, for terms; - reads it from standard input
    #[arg(long, value_name = "TEXT", requires = "what")]
    pub prompt: Option<String>,
    /// Length of each list
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// How to print it; csv has the first list of what was asked for
    #[arg(long, default_value = "table")]
    pub format: TableFormat,
    /// Seed of the random matrices, of the random tokens and of invented names
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What stands for a token: its embedding with what the first layer's MLP makes of it, or the embedding alone
    #[arg(long, value_name = "KIND", default_value = "effective", value_parser = embedding())]
    pub embedding: Embedding,
}

/// What `circuits` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    /// OV eigenvalues and the copying score: Re(sum) / sum of absolute values
    Copying,
    /// Q-, K- and V-composition of pairs of heads, above random matrices
    Composition,
    /// Next tokens of --token along the direct path, or how it agrees with the bigrams of --text
    Bigram,
    /// Skip-trigrams of a head (source ... destination -> out), and the bugs they force
    Trigrams,
    /// Attention by distance that positions alone give
    Positions,
    /// Whether heads look for copies of their token (QK) and copy what they find (OV)
    Corner,
    /// How much of a prompt's prediction the direct path, single heads and chains of heads explain
    Terms,
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::name)).map(|name| {
        // The parser takes no other names.
        Role::ALL.into_iter().find(|role| role.name() == name).unwrap_or(Role::Source)
    })
}

fn embedding() -> impl TypedValueParser<Value = Embedding> {
    PossibleValuesParser::new(["effective", "raw"]).map(|name| match name.as_str() {
        "raw" => Embedding::Raw,
        _ => Embedding::Effective,
    })
}
