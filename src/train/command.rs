//! `attnscope train`: trains a small model on text files and writes snapshots.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stderr},
    path::PathBuf,
};

use anyhow::Result;

use crate::memory;

use super::{Event, Report, Settings, text::Corpus, train};

/// Trains one of the papers' small attention-only models on text, with snapshots that `timeline` reads.
#[derive(clap::Args, Clone, Debug)]
pub struct TrainArgs {
    /// Plain text files to train on, in UTF-8
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// Folder for the snapshots `step-NNNNNN`
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Snapshot to go on from: its weights and tokenizer; optimiser and step count start anew
    #[arg(long, value_name = "SNAPSHOT")]
    pub from: Option<PathBuf>,
    /// Steps in all
    #[arg(long, default_value_t = Settings::default().steps)]
    pub steps: usize,
    /// Steps at the start with repeated random blocks only, before any plain text
    #[arg(long, default_value_t = Settings::default().repeat_steps)]
    pub repeat_steps: usize,
    /// Attention layers
    #[arg(long, default_value_t = Settings::default().layers)]
    pub layers: usize,
    /// Heads per layer
    #[arg(long, default_value_t = Settings::default().heads)]
    pub heads: usize,
    /// Numbers in the residual stream
    #[arg(long, default_value_t = Settings::default().width)]
    pub width: usize,
    /// Tokens in the vocabulary, learnt from the text
    #[arg(long, default_value_t = Settings::default().vocab)]
    pub vocab: usize,
    /// Tokens the model reads at once
    #[arg(long, default_value_t = Settings::default().context)]
    pub context: usize,
    /// Sequences per step
    #[arg(long, default_value_t = Settings::default().batch)]
    pub batch: usize,
    /// Highest learning rate
    #[arg(long, default_value_t = Settings::default().learning_rate)]
    pub lr: f64,
    /// Seed of everything random; the same seed gives the same weights
    #[arg(long, default_value_t = Settings::default().seed)]
    pub seed: u64,
    /// Steps between snapshots
    #[arg(long, default_value_t = Settings::default().snapshot_every, value_name = "N")]
    pub snapshot_every: usize,
    /// Make the names of the text up anew in every stretch, so that they cannot be learnt by heart
    #[arg(long)]
    pub invent_names: bool,
}

impl TrainArgs {
    fn settings(&self) -> Settings {
        Settings {
            layers: self.layers,
            heads: self.heads,
            width: self.width,
            vocab: self.vocab,
            context: self.context,
            batch: self.batch,
            steps: self.steps,
            repeat_steps: self.repeat_steps,
            learning_rate: self.lr,
            seed: self.seed,
            from: self.from.clone(),
            snapshot_every: self.snapshot_every,
            ..Settings::default()
        }
    }
}

/// Runs the command: progress on stderr, the finished figures on stdout.
///
/// Call it before any thread is started: it sets environment variables that candle reads.
pub fn run(args: TrainArgs) -> Result<()> {
    settle_process();
    let mut corpus = Corpus::read(&args.text)?;
    if args.invent_names {
        corpus = corpus.with_invented_names();
        let (names, places) = corpus.names();
        eprintln!("{names} names in {places} places are made up anew in every stretch of text");
    }
    let settings = args.settings();
    let bar = indicatif::ProgressBar::new(settings.steps as u64);
    if !stderr().is_terminal() {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }
    let style =
        indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {eta} left, loss {msg}")?;
    bar.set_style(style);
    let (_, report) = train(&settings, &corpus, &args.out, |event| match event {
        Event::Step(step, loss) => {
            bar.set_position(step as u64);
            bar.set_message(format!("{loss:.2}"));
        }
        Event::Snapshot(report) => bar.suspend(|| eprintln!("{}", line(report))),
    })?;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", table(&report))?;
    Ok(())
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

/// A report in one line.
fn line(report: &Report) -> String {
    let mut text = format!("step {:>6}  {:>5.0} s", report.step, report.elapsed.as_secs_f64());
    if report.train_loss.is_finite() {
        let _ = write!(text, "  loss {:.3}", report.train_loss);
    }
    let _ = write!(text, "  held-out text {:.3}", report.text_loss);
    for repeats in &report.repeats {
        let _ = write!(text, "  [{}] second copy {:.2}", repeats.length, repeats.second_copy_loss);
        let best = |scores: &[super::eval::Best]| {
            scores.iter().map(|best| format!("{:.2}", best.score)).collect::<Vec<_>>().join("/")
        };
        let _ = write!(text, " induction {} previous {}", best(&repeats.induction), best(&repeats.previous));
    }
    if !report.names.is_empty() {
        let right = report.names.iter().filter(|guess| guess.right()).count();
        let _ = write!(text, "  names {right}/{}", report.names.len());
    }
    text
}

/// The finished figures, a line each.
fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "snapshot             {}", report.folder.display());
    let _ = writeln!(text, "steps                {} ({} tokens)", report.step, report.tokens);
    let _ = writeln!(text, "held-out text loss   {:.3} nats per token", report.text_loss);
    for repeats in &report.repeats {
        let _ = writeln!(
            text,
            "repeats of {:<3}       second copy {:.3} nats per token",
            repeats.length, repeats.second_copy_loss
        );
        for (layer, (induction, previous)) in repeats.induction.iter().zip(&repeats.previous).enumerate() {
            let _ = writeln!(
                text,
                "  layer {layer}            best induction {layer}.{} {:.3}, best previous-token {layer}.{} {:.3}",
                induction.head, induction.score, previous.head, previous.score
            );
        }
    }
    for guess in &report.names {
        let verdict = if guess.right() { "right" } else { "wrong" };
        let _ = writeln!(
            text,
            "{verdict}  {} ->{} (p {:.2}; top{})",
            guess.prompt, guess.wanted, guess.probability, guess.top
        );
    }
    text.trim_end().to_string()
}
