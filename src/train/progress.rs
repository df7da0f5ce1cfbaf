//! What is seen of a run on standard error: a bar on a terminal, plain lines elsewhere.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _, stderr},
    time::{Duration, Instant},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Report;
use crate::{
    analysis::{rank, score::Score},
    head::Head,
    run::Measured,
    text::time_left,
};

/// How often a line tells how far the run is, where there is no bar.
const LINES_EVERY: Duration = Duration::from_secs(30);

/// How far a run is.
pub struct Display {
    bar: ProgressBar,
    quiet: bool,
    steps: usize,
    /// Tokens of a step.
    tokens: usize,
    /// When this sitting began, and at which step.
    start: (Instant, usize),
    line: Instant,
}

impl Display {
    /// For a run of so many steps of so many tokens.
    pub fn new(steps: usize, tokens: usize, quiet: bool) -> Result<Self> {
        let bar = ProgressBar::new(steps as u64);
        if quiet || !stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} steps, {msg}")?);
        let now = Instant::now();
        Ok(Self { bar, quiet, steps, tokens, start: (now, 0), line: now })
    }

    /// The run begins, or goes on after `step`.
    pub fn begin(&mut self, step: usize) {
        let now = Instant::now();
        (self.start, self.line) = ((now, step), now);
        if step == self.steps {
            self.note(&format!("all {step} steps are done already"));
        } else if step > 0 {
            self.note(&format!("going on after step {step} of {}", self.steps));
        }
    }

    /// A step is done.
    pub fn step(&mut self, step: usize, loss: f64) {
        let (start, first) = self.start;
        let (elapsed, done) = (start.elapsed().as_secs_f64(), (step - first) as f64);
        let speed = done * self.tokens as f64 / elapsed.max(1e-9);
        let left = Duration::from_secs_f64(elapsed / done.max(1.) * (self.steps - step) as f64);
        let figures = format!("loss {loss:.2}, {speed:.0} tokens/s, {}", time_left(left));
        self.bar.set_position(step as u64);
        if self.bar.is_hidden() && self.line.elapsed() >= LINES_EVERY {
            self.line = Instant::now();
            self.note(&format!("step {step:>6} of {}, {figures}", self.steps));
        }
        self.bar.set_message(figures);
    }

    /// A snapshot was measured.
    pub fn snapshot(&self, report: &Report) {
        self.note(&line(report));
    }

    /// Prints a line above the bar.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            // A terminal that is gone is no reason to stop.
            let _ = self.bar.suspend(|| writeln!(stderr(), "{text}"));
        }
    }

    /// Takes the bar off the screen.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Report {
    /// What was measured on blocks of each length, the shortest first.
    fn by_length(&self) -> impl Iterator<Item = &Measured> {
        self.shorter.iter().chain([&self.measured])
    }
}

/// The head of each layer with the highest of a score, and that.
fn best(measured: &Measured, score: Score) -> Vec<(Head, f32)> {
    let order = rank::order(&measured.scores, score);
    let best = (0..).map_while(|layer| order.iter().copied().find(|head| head.layer == layer));
    best.map(|head| (head, measured.scores[head].get(score))).collect()
}

/// What a report says of one length: tokens in the block, the loss on its second copy, and the gain of that.
fn repeat(measured: &Measured) -> Option<(usize, f32, f32)> {
    Some((measured.length?, measured.repeat?.second, measured.gain?))
}

/// A report in one line.
fn line(report: &Report) -> String {
    let mut text = format!("step {:>6}  {:>5.0} s", report.step, report.seconds);
    if let Some(loss) = report.train_loss {
        let _ = write!(text, "  loss {loss:.3}");
    }
    if let Some(loss) = report.measured.held_out {
        let _ = write!(text, "  held-out text {loss:.3}");
    }
    for measured in report.by_length() {
        let Some((length, second, _)) = repeat(measured) else { continue };
        let _ = write!(text, "  [{length}] second copy {second:.2}");
        for score in [Score::Induction, Score::Previous] {
            let best = best(measured, score);
            let best: Vec<String> = best.iter().map(|(_, score)| format!("{score:.2}")).collect();
            if !best.is_empty() {
                let _ = write!(text, " {} {}", score.name(), best.join("/"));
            }
        }
    }
    if !report.names.is_empty() {
        let right = report.names.iter().filter(|guess| guess.right()).count();
        let _ = write!(text, "  names {right}/{}", report.names.len());
    }
    text
}

/// The finished figures, a line each.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "snapshot             {}", report.folder.display());
    let _ = writeln!(text, "steps                {} ({} tokens)", report.step, report.tokens);
    if let (Some(loss), Some(icl)) = (report.measured.held_out, report.measured.icl) {
        let _ = writeln!(text, "held-out text loss   {loss:.3} nats per token");
        let _ = writeln!(
            text,
            "in-context learning  {:.3} nats (loss at token {} minus loss at token {})",
            icl.score, icl.late, icl.early
        );
    }
    for measured in report.by_length() {
        let Some((length, second, gain)) = repeat(measured) else { continue };
        let _ = writeln!(
            text,
            "repeats of {length:<3}       second copy {second:.3} nats per token, gain {gain:.3}"
        );
        let inductions = best(measured, Score::Induction);
        for ((head, induction), (other, previous)) in
            inductions.into_iter().zip(best(measured, Score::Previous))
        {
            let _ = writeln!(
                text,
                "  layer {}            best induction {head} {induction:.3}, best previous-token {other} {previous:.3}",
                head.layer
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
    text
}
