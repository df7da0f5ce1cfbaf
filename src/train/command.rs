//! `attnscope train`: trains a small model on text files and writes snapshots.

use std::{
    io::{Write as _, stderr, stdout},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use anyhow::Result;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use super::{
    Event, Settings, Spacing,
    progress::{Display, table},
    text::{Corpus, Invented},
    train,
};
use crate::{memory, model::place::DeviceChoice};

/// Exit code of a run that was interrupted.
const INTERRUPTED: u8 = 130;

/// What `--help` says below the options.
const MORE_HELP: &str = "\
The model is a decoder with rotary positions, RMS norm before each layer and at the end, and a read-out of its own; \
without layers it is the bigram table. A snapshot is an ordinary checkpoint folder (config.json, model.safetensors in \
f16, tokenizer.json): with --mlp a Llama, which Python's transformers opens, without of attnscope's own kind attn-only. \
The optimiser is AdamW (0.9, 0.99) with weight decay 0.01 and gradients of norm 1 at most.

The text: the lines of a paragraph are joined by spaces, a line break and a space stand between paragraphs, and files \
follow one another. It is cut into stretches of about 1,500 characters; every twentieth is kept from training for the \
held-out loss. A byte-level BPE vocabulary is learnt from the rest, with a space before the first word. Every sequence \
is BOS and a window of text, or one of the kinds that --repeat-steps, --block-share, --repeat-share and \
--mention-share ask for.

The folder of a run holds the snapshots step-NNNNNN, log.jsonl with a JSON object for each (losses, repeat gain, \
in-context learning, every head's scores), and state/. A run that was interrupted or killed goes on when the same \
command is run again: it ends with the same weights, bit for bit on the CPU, as if it had never stopped. Ctrl-C, SIGTERM \
and a terminal that hangs up have the state stored first; a second Ctrl-C does not wait.";

/// Trains one of the papers' small models on text, with snapshots that `timeline` reads.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = MORE_HELP)]
pub struct TrainArgs {
    /// Plain text files to train on, in UTF-8
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Folder of the run; where it holds one with the same settings, that run goes on
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Snapshot to begin with: its weights and tokenizer; optimiser and step count start anew
    #[arg(long, value_name = "SNAPSHOT")]
    pub from: Option<PathBuf>,
    /// Steps in all
    #[arg(long, default_value_t = Settings::default().steps)]
    pub steps: usize,
    /// Steps at the start with repeated random blocks only, before any plain text
    #[arg(long, default_value_t = Settings::default().repeat_steps)]
    pub repeat_steps: usize,
    /// Share of sequences with a block of 6 to 59 random tokens that comes again, after those steps
    #[arg(long, default_value_t = Settings::default().block_share, value_name = "SHARE")]
    pub block_share: f64,
    /// Share of the text windows, after those steps, in whose second half 8 to 42 tokens (a quarter of the context at
    /// most) of the first half come again in place of what was there
    #[arg(long, default_value_t = Settings::default().repeat_share, value_name = "SHARE")]
    pub repeat_share: f64,
    /// Share of the remaining text windows, after those steps, in which one or two made-up people are mentioned, two to
    /// five times in all: a title or another word with a capital, and a name of two to five random tokens
    #[arg(long, default_value_t = Settings::default().mention_share, value_name = "SHARE")]
    pub mention_share: f64,
    /// Layers; 0 leaves the bigram table: embedding, norm and read-out
    #[arg(long, default_value_t = Settings::default().layers)]
    pub layers: usize,
    /// Heads per layer
    #[arg(long, default_value_t = Settings::default().heads)]
    pub heads: usize,
    /// Numbers in the residual stream
    #[arg(long, default_value_t = Settings::default().width)]
    pub width: usize,
    /// Give each layer a gated SiLU MLP of so many times the width [default: none]
    #[arg(long, value_name = "MULTIPLE", conflicts_with = "smeared_keys")]
    pub mlp: Option<f64>,
    /// Mix each key with the one before it, by a share that each head learns (2022 paper, Argument 2)
    #[arg(long)]
    pub smeared_keys: bool,
    /// Tokens in the vocabulary, learnt from the text
    #[arg(long, default_value_t = Settings::default().vocab)]
    pub vocab: usize,
    /// Tokens the model reads at once
    #[arg(long, default_value_t = Settings::default().context)]
    pub context: usize,
    /// Sequences per step
    #[arg(long, default_value_t = Settings::default().batch)]
    pub batch: usize,
    /// Highest learning rate: reached after 200 steps, then a cosine to its tenth at the last
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    pub lr: f64,
    /// Seed of everything random; the same seed gives the same weights
    #[arg(long, default_value_t = Settings::default().seed)]
    pub seed: u64,
    /// Steps between snapshots
    #[arg(long, default_value_t = Settings::default().snapshot_every, value_name = "N")]
    pub snapshot_every: usize,
    /// Where snapshots are, step 0 and the last step among them
    #[arg(long, default_value = "even")]
    pub snapshots: Spacing,
    /// Steps between savings of the state to go on from
    #[arg(long, default_value_t = Settings::default().save_every, value_name = "N")]
    pub save_every: usize,
    /// Make the names of the text up: often (also without a value) or once
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "often")]
    pub invent_names: Option<Invented>,
}

impl TrainArgs {
    fn settings(&self) -> Settings {
        Settings {
            layers: self.layers,
            heads: self.heads,
            width: self.width,
            mlp: self.mlp,
            smeared_keys: self.smeared_keys,
            vocab: self.vocab,
            context: self.context,
            batch: self.batch,
            steps: self.steps,
            repeat_steps: self.repeat_steps,
            block_share: self.block_share,
            repeat_share: self.repeat_share,
            mention_share: self.mention_share,
            learning_rate: self.lr,
            seed: self.seed,
            from: self.from.clone(),
            snapshot_every: self.snapshot_every,
            snapshots: self.snapshots,
            save_every: self.save_every,
        }
    }
}

/// Runs the command: progress on stderr, the finished figures on stdout.
///
/// Call it before any thread is started: it sets environment variables that candle reads.
pub fn run(args: &TrainArgs, device: DeviceChoice, quiet: bool) -> Result<ExitCode> {
    settle_process();
    let stop = watch_signals()?;
    let settings = args.settings();
    let mut display = Display::new(settings.steps, settings.batch * settings.context, quiet)?;
    let mut corpus = Corpus::read(&args.text)?;
    if let Some(how) = args.invent_names {
        corpus = corpus.inventing(how, args.seed);
        let (names, places) = corpus.names();
        let often =
            if corpus.changes() { "anew in every stretch of text" } else { "once for the whole text" };
        display.note(&format!("{names} names in {places} places are made up {often}"));
    }
    let trained = train(&settings, &corpus, &args.out, &device.open()?, |event| {
        match event {
            Event::Begun { step, gaps } => {
                gaps.iter().for_each(|gap| display.note(&format!("{gap}; the run goes on without it")));
                display.begin(step);
            }
            Event::Step { step, loss } => display.step(step, loss),
            Event::Snapshot(report) => display.snapshot(report),
        }
        if stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    display.clear();
    let trained = trained?;
    if trained.step < settings.steps {
        // The terminal may be gone, and what it would show is stored.
        let _ = writeln!(
            stderr(),
            "attnscope: interrupted after step {} of {}, which is stored in {}: the same command goes on from there",
            trained.step,
            settings.steps,
            args.out.display()
        );
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if let Some(report) = &trained.report {
        write!(stdout().lock(), "{}", table(report))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A flag that SIGINT, SIGTERM and the hangup of a terminal raise; a second signal ends the program at once.
fn watch_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        // In this order: the first signal must not yet find the flag raised.
        flag::register_conditional_shutdown(signal, INTERRUPTED.into(), stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// Settles what would otherwise cost half the run: memory and threads.
fn settle_process() {
    memory::keep_freed();
    // The training loop gives each core a part of the batch, so a single operation must not spread over the cores too.
    for name in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
        if std::env::var_os(name).is_none() {
            // SAFETY: the command has the process to itself. No thread of ours is running yet, and Rust code that
            // reads the environment takes the same lock.
            unsafe { std::env::set_var(name, "1") };
        }
    }
}
