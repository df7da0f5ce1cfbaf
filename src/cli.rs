//! The command line: what may be asked, as plain structs. [`crate::commands`] answers.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
};
use clap_complete::Shell;

use crate::{
    analysis::score::Score,
    engine::{
        open::OpenRequest,
        protocol::{Bos, RankSettings},
        read_as::{self, KeyValue},
    },
    head::Head,
    model::place::{DeviceChoice, DtypeChoice},
    run::Shard,
    term::color::Choice,
    train::command::TrainArgs,
};

pub mod check;
pub mod circuits;
pub mod pass;
pub mod watch;
pub mod what_if;

use check::CheckArgs;
use circuits::CircuitsArgs;
use pass::PassArgs;
use watch::WatchArgs;
use what_if::{AttributeArgs, LensArgs, PatchArgs};

const MODEL_HELP: &str = "Model to open [default: the small one that is built in]";
const MODEL_LONG_HELP: &str = "Model to open: a directory (config.json, weights, tokenizer), a .safetensors, .gguf, \
    .pt, .pth, .ckpt or .bin file, a training run's folder (its last snapshot), a LoRA adapter (with --base), a hub name org/name[@revision], or a shipped \
    model: attn-2l (also when left out), attn-1l, attn-1l-smeared, bigram, or a snapshot such as attn-2l@step2000. A path that reads like a command is written ./rank";
const AFTER_HELP: &str = "Models of the Hugging Face Hub follow the variables that its own library follows: HF_HOME, \
    HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, HTTPS_PROXY.\n\n\
    Exit codes: 0 done, 1 a stated expectation failed, 2 error, 130 interrupted.";

/// A terminal explorer for transformer attention heads.
///
/// Without a command it opens the explorer: walk a prompt token by token, see what every head attends to, find the
/// induction heads, and switch heads off to see what they did.
#[derive(Debug, Parser)]
#[command(name = "attnscope", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do instead of opening the explorer.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The explorer's own arguments.
    #[command(flatten)]
    pub explore: ExploreArgs,
    /// What every command takes.
    #[command(flatten)]
    pub common: Common,
}

/// Arguments of every command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Where to compute: auto, cpu, cuda, cuda:N or metal
    #[arg(long, global = true, value_name = "DEVICE", default_value = "auto")]
    pub device: DeviceChoice,
    /// Type that weights are held in: auto (as stored), f32, bf16 or f16
    #[arg(long, global = true, value_name = "TYPE", default_value = "auto")]
    pub dtype: DtypeChoice,
    /// Colours to draw with
    #[arg(long, global = true, value_name = "DEPTH", default_value = "auto")]
    pub color: Choice,
    /// Weight file to take from a folder or a hub repository that holds several
    #[arg(long, global = true, value_name = "NAME")]
    pub file: Option<String>,
    /// Model that MODEL, a LoRA adapter, is merged into: anything that MODEL itself may be
    #[arg(long, global = true, value_name = "MODEL")]
    pub base: Option<String>,
    /// Folder, tokenizer.json or .gguf file to take the tokenizer from, where the model has none or another is wanted
    #[arg(long, global = true, value_name = "PATH")]
    pub tokenizer: Option<String>,
    /// What [`ReadAs`] of the command says.
    #[arg(skip)]
    pub read_as: Vec<KeyValue>,
    /// Ask the hub for a newer commit of a model that is in the cache
    #[arg(long, global = true)]
    pub update: bool,
    /// Show no progress and no notes
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Another reading of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ReadAs {
    /// Read a key of the configuration with another value, for this run alone (repeatable)
    #[arg(long = "as", value_name = "KEY=VALUE", value_parser = read_as::parse)]
    pub read_as: Vec<KeyValue>,
}

impl Common {
    /// The same for a command with another reading.
    pub fn reading(&self, reading: &ReadAs) -> Self {
        Self { read_as: reading.read_as.clone(), ..self.clone() }
    }

    /// The same for another model beside the first: what names a part of that one is left out.
    pub fn beside(&self) -> Self {
        Self { file: None, base: None, read_as: Vec::new(), ..self.clone() }
    }

    /// The request to open `model`.
    pub fn open(&self, model: Option<&str>) -> OpenRequest {
        OpenRequest {
            model: model.map(str::to_owned),
            file: self.file.clone(),
            base: self.base.clone(),
            tokenizer: self.tokenizer.clone(),
            read_as: self.read_as.clone(),
            update: self.update,
            device: self.device,
            dtype: self.dtype,
        }
    }
}

/// What to do instead of opening the explorer.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Walk through the papers' models, from the bigram table to the induction head and how it came about
    Tour,
    /// Score every head on repeated random tokens and list the best
    Rank(RankArgs),
    /// Say whether a checkpoint is sane, where it is broken, and which reading of it would be right
    Check(CheckArgs),
    /// Check each new checkpoint of a running job, and keep a history
    Watch(WatchArgs),
    /// Print what one head attends to in a prompt
    Show(ShowArgs),
    /// Score every head in each snapshot of a training run
    Timeline(TimelineArgs),
    /// Print what the weights alone say: copying, composition, bigrams, skip-trigrams
    Circuits(CircuitsArgs),
    /// Write the logits and attention patterns of a prompt to a file
    Trace(TraceArgs),
    /// Print what the residual stream predicts before each layer
    Lens(LensArgs),
    /// Take a logit apart into what heads, MLPs and biases write to it
    Attribute(AttributeArgs),
    /// Print what each head, MLP or layer of one prompt does in the run of another
    Patch(PatchArgs),
    /// Compare a model with reference tensors made in Python
    Verify(VerifyArgs),
    /// Train one of the papers' small models on a text file
    Train(TrainArgs),
    /// List the branches, tags and training steps of a model on the hub
    #[cfg(feature = "hub")]
    Revisions(RevisionsArgs),
    /// List the models in the hub's cache, or remove some
    #[cfg(feature = "hub")]
    Cache(CacheArgs),
    /// Print what this machine and this terminal offer, or which models are read
    Doctor(DoctorArgs),
    /// Print the completion script of a shell
    Completions {
        /// Shell to complete in
        shell: Shell,
    },
    /// Print the manual page, or that of one command
    Man {
        /// Command to describe
        command: Option<String>,
    },
}

/// Arguments of the explorer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct ExploreArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// Prompt to begin with; - reads it from standard input
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    /// Keys to type at the start, such as `]i` or `<Right>`
    #[arg(long, value_name = "KEYS", hide = true)]
    pub keys: Option<String>,
}

/// Arguments of `rank`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct RankArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// How the checkpoint is read.
    #[command(flatten)]
    pub reading: ReadAs,
    /// Score to sort by
    #[arg(long, value_name = "SCORE", default_value = "induction", value_parser = scores())]
    pub by: Score,
    /// List only the best N heads
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Draw sequences until the listed heads (the first 10 without --top) are known to plus or minus WIDTH (95%)
    #[arg(long, value_name = "WIDTH", value_parser = width)]
    pub until: Option<f64>,
    /// Show the standard error of every score in the table and in CSV; JSON always has them
    #[arg(long)]
    pub errors: bool,
    /// How to print the list
    #[arg(long, default_value = "table")]
    pub format: TableFormat,
    /// How heads are measured.
    #[command(flatten)]
    pub benchmark: BenchmarkArgs,
}

/// How the benchmark sequences are drawn.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct BenchmarkArgs {
    /// Tokens in the block that is repeated [default: 50, or as many as fit]
    #[arg(long, value_name = "TOKENS")]
    pub length: Option<usize>,
    /// Number of sequences
    #[arg(long, value_name = "N", default_value_t = RankSettings::default().batch)]
    pub batch: usize,
    /// Seed of the random tokens
    #[arg(long, default_value_t = RankSettings::default().seed)]
    pub seed: u64,
    /// Whether sequences begin with the BOS token
    #[arg(long, default_value = "auto", value_parser = bos())]
    pub bos: Bos,
}

impl BenchmarkArgs {
    /// The settings; `usual` is the length of a block where none is given.
    pub fn settings(&self, usual: usize) -> RankSettings {
        RankSettings {
            length: self.length.unwrap_or(usual),
            batch: self.batch,
            seed: self.seed,
            bos: self.bos,
        }
    }
}

/// Arguments of `timeline`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct TimelineArgs {
    /// Snapshots: a folder of step* or checkpoint-* folders, single checkpoints, files, or hub names with a revision; or files
    /// of lines that shares of a run have written (*.jsonl), to be merged
    #[arg(required = true, value_name = "CHECKPOINT")]
    pub checkpoints: Vec<String>,
    /// Score that heads are followed by
    #[arg(long, value_name = "SCORE", default_value = "induction", value_parser = scores())]
    pub by: Score,
    /// Text to measure the loss and the in-context learning score on, in every snapshot
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Windows of that text, from its start; each has 512 tokens, or as many as the context
    #[arg(long, value_name = "N", default_value_t = 64, requires = "text")]
    pub windows: usize,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: TimelineFormat,
    /// Measure only this share of the snapshots: 2/8 is the second of eight
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// File to write a line of JSON to for each snapshot, in the place of printing; `timeline` merges such files
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,
    /// How heads are measured.
    #[command(flatten)]
    pub benchmark: BenchmarkArgs,
}

/// How a timeline is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TimelineFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line for each snapshot, of which several files can be merged.
    Jsonl,
    /// Comma-separated values with a heading.
    Csv,
    /// A picture of the curves.
    Svg,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
    /// Comma-separated values with a heading.
    Csv,
}

/// Arguments of `show`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct ShowArgs {
    /// What is run.
    #[command(flatten)]
    pub pass: PassArgs,
    /// Head to show, layer and head counted from zero
    #[arg(long, value_name = "L.H")]
    pub head: Head,
    /// Position of the token that attends, counted from zero [default: the last]
    #[arg(long, value_name = "N", conflicts_with = "matrix")]
    pub token: Option<usize>,
    /// Show every token's attention, not only one token's
    #[arg(long)]
    pub matrix: bool,
    /// How to print it [default: ansi on a terminal, else text]
    #[arg(long)]
    pub format: Option<ShowFormat>,
}

/// How a head's attention is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// The tokens shaded with terminal colours.
    Ansi,
    /// Tokens and numbers in columns.
    Text,
    /// Comma-separated values with a heading.
    Csv,
    /// A picture.
    Svg,
    /// A page that needs no other file.
    Html,
}

/// Arguments of `trace`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct TraceArgs {
    /// What is run.
    #[command(flatten)]
    pub pass: PassArgs,
    /// File that ids, logits and a pattern for each layer are written to.
    #[arg(
        help = "File to write: ids [T], logits [T, vocabulary], pattern.L [heads, T, T]",
        long,
        value_name = "FILE.safetensors"
    )]
    pub out: PathBuf,
    /// Layers whose patterns are written [default: all]
    #[arg(long, value_name = "L,L", value_delimiter = ',')]
    pub layers: Option<Vec<usize>>,
}

/// Arguments of `verify`.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct VerifyArgs {
    #[arg(help = MODEL_HELP, long_help = MODEL_LONG_HELP)]
    /// What to open; `None` is the model that is built in.
    pub model: Option<String>,
    /// File with what another program computed.
    #[arg(
        help = "File to compare with: ids [T], and logits [T, vocabulary] or pattern.L [heads, T, T] or both",
        long,
        value_name = "FILE.safetensors"
    )]
    pub reference: PathBuf,
    /// Largest difference of patterns that is allowed [default: 1e-4; with weights rounded to f16 1e-2, to bf16 5e-2]
    #[arg(long, value_name = "SIZE")]
    pub patterns: Option<f32>,
    /// Largest difference of logits, as a share of their scale [default: 2e-4; rounded to f16 1e-2, to bf16 5e-2]
    #[arg(long, value_name = "SHARE")]
    pub logits: Option<f32>,
    /// How to print it
    #[arg(long, default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `doctor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct DoctorArgs {
    /// List the families of models that are read, and the files of each
    #[arg(long)]
    pub families: bool,
}

/// Arguments of `revisions`.
#[cfg(feature = "hub")]
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RevisionsArgs {
    /// Model on the hub, org/name
    pub model: String,
    /// How to print the list
    #[arg(long, default_value = "table")]
    pub format: ListFormat,
}

/// Arguments of `cache`.
#[cfg(feature = "hub")]
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CacheArgs {
    /// What to do instead of listing.
    #[command(subcommand)]
    pub command: Option<CacheCommand>,
    /// How to print the list
    #[arg(long, default_value = "table")]
    pub format: ListFormat,
}

/// What to do with the cache.
#[cfg(feature = "hub")]
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum CacheCommand {
    /// List what there is, as without a command
    #[command(alias = "ls")]
    List,
    /// Remove models, or single revisions of them
    Rm {
        /// What to remove: org/name, or org/name@revision
        #[arg(required = true, value_name = "MODEL")]
        models: Vec<String>,
        /// Remove only what their downloads have left unfinished
        #[arg(long)]
        unfinished: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// How a list is printed that has no use as CSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Aligned columns, for reading.
    Table,
    /// One JSON object.
    Json,
}

fn token_id(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_| "token ids are whole numbers with commas between them, such as 1,2,3".into())
}

fn scores() -> impl TypedValueParser<Value = Score> {
    let values = Score::ALL.map(|score| PossibleValue::new(score.name()).help(score.definition()));
    PossibleValuesParser::new(values).try_map(|name| Score::from_name(&name).ok_or("no such score"))
}

fn width(text: &str) -> Result<f64, String> {
    let width = text.parse().ok().filter(|width| 0.0 < *width && *width < 1.0);
    width.ok_or_else(|| "scores lie between 0 and 1: give a width between, such as 0.02".to_owned())
}

fn bos() -> impl TypedValueParser<Value = Bos> {
    let values = [
        PossibleValue::new("auto")
            .help("For text as the checkpoint's tokenizer does, for rank where there is one"),
        PossibleValue::new("on").help("Always"),
        PossibleValue::new("off").help("Never"),
    ];
    PossibleValuesParser::new(values).map(|name| match name.as_str() {
        "on" => Bos::On,
        "off" => Bos::Off,
        _ => Bos::Auto,
    })
}

impl Cli {
    /// Reads the arguments of the process. The error is what clap would print: a mistake, the help or the version.
    pub fn read() -> Result<Self, clap::Error> {
        let cli = Self::try_parse()?;
        if cli.command.is_some() && cli.explore != ExploreArgs::default() {
            let message = "a model and --prompt go after the command: attnscope rank MODEL\n";
            return Err(clap::Error::raw(ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }
}

/// A usage error as one line: what is wrong and the hints, without the usage that `--help` shows in full.
pub fn usage_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let parts = text.split("\n\n").filter(|part| !part.trim_start().starts_with("Usage:"));
    let line = parts
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    line.trim_start_matches("error: ").replace("; For more", "; for more").trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(arguments: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("attnscope").chain(arguments.split(' ')))
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_model_may_be_called_like_a_command() {
        assert!(matches!(read("rank").unwrap().command, Some(Command::Rank(_))));
        let cli = read("./rank --prompt x").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.explore.model.as_deref(), Some("./rank"));
    }

    #[test]
    fn common_options_stand_before_and_after_the_command() {
        for arguments in ["--device cuda:1 rank m", "rank m --device cuda:1"] {
            let cli = read(arguments).unwrap();
            assert_eq!(cli.common.device, DeviceChoice::Cuda(1));
            let Some(Command::Rank(rank)) = cli.command else { panic!("not rank: {arguments}") };
            assert_eq!(rank.model.as_deref(), Some("m"));
            assert_eq!(rank.benchmark.settings(50), RankSettings::default());
        }
        assert!(read("--device cuda:x").is_err());
        assert!(read("--device tpu").is_err());
    }

    #[test]
    fn a_trace_takes_one_kind_of_input() {
        assert!(read("trace --out f").is_err());
        assert!(read("trace --out f --ids 1 --prompt x").is_err());
        let Some(Command::Trace(trace)) = read("trace --out f --ids 1,2,3 --layers 0,3").unwrap().command
        else {
            panic!("not trace")
        };
        assert_eq!(trace.pass.input.ids, Some(vec![1, 2, 3]));
        assert_eq!(trace.layers, Some(vec![0, 3]));
    }

    #[test]
    fn a_usage_error_is_one_line() {
        let line = usage_line(&read("rank --topp 3").unwrap_err());
        assert!(!line.contains('\n'), "{line}");
        assert!(line.starts_with("unexpected argument '--topp' found; tip:"), "{line}");
        assert!(!line.contains("Usage"), "{line}");
    }
}
