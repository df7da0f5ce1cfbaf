//! `timeline`: scores and losses over the snapshots of a training run.

mod merge;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{open, rank::settings};
use crate::{
    analysis::loss::{self, TextLoss},
    checkpoint::snapshot::Snapshot,
    cli::{Common, TimelineArgs, TimelineFormat},
    engine::open::Model,
    memory,
    model::decoder::Control,
    output,
    report::timeline::{
        Point, Text, Timeline,
        lines::{self, Part, Place},
    },
    run::{self, Log, Measured, Shard, TrainingRun},
    text::line,
};

/// Runs the command. A snapshot that cannot be read is told and left out.
pub fn run(args: &TimelineArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    if merge::is_asked(&args.checkpoints)? {
        return print(&merge::merged(args)?, args);
    }
    let snapshots = run::snapshots(&args.checkpoints)?;
    let text = args.text.as_deref().map(|file| read(file, args.windows)).transpose()?;
    let shard = args.shard.unwrap_or(Shard::ALL);
    let mut all: Vec<Placed> = Vec::new();
    let mine: Vec<_> = snapshots.iter().enumerate().filter(|(place, _)| shard.has(*place)).collect();
    for (at, (place, snapshot)) in mine.iter().enumerate() {
        if !common.quiet {
            super::note(&format!("{} of {}: step {}", at + 1, mine.len(), snapshot.step));
        }
        let place = Place { place: *place, of: snapshots.len(), shard, step: snapshot.step };
        let before = all.iter().rev().find_map(|(_, part)| part.as_ref().ok());
        let part = measure(snapshot, before, args, text.as_deref(), common)
            .map_err(|error| line(&format!("{error:#}")));
        if let Err(reason) = &part {
            left_out(snapshot.step, reason);
        }
        all.push((place, part));
    }
    for trouble in add_log(&mut all, &args.checkpoints) {
        super::note(&line(&trouble));
    }
    print(&all, args)
}

/// Says why a snapshot was left out.
fn left_out(step: u64, reason: &str) {
    super::note(&format!("left out: step {step}: {reason}"));
}

/// A snapshot, with what was measured of it or why it was left out.
type Placed = (Place, Result<Part, String>);

/// Prints or writes the timeline of what was measured.
fn print(all: &[Placed], args: &TimelineArgs) -> Result<()> {
    if args.out.is_some() || args.format == TimelineFormat::Jsonl {
        let lines =
            all.iter().map(|(place, part)| lines::line(*place, part.as_ref().map_err(String::as_str)));
        let lines: String = lines.collect::<Result<_, _>>()?;
        match &args.out {
            Some(out) => output::write_bytes(out, lines.as_bytes())
                .with_context(|| format!("--out {} cannot be written", out.display()))?,
            None => super::print(&lines)?,
        }
    }
    let parts: Vec<&Part> = all.iter().filter_map(|(_, part)| part.as_ref().ok()).collect();
    let Some(last) = parts.last() else {
        // A share of a short run may be empty.
        if all.is_empty() && args.shard.is_some() {
            return Ok(());
        }
        bail!("none of the {} snapshots could be read: see above", all.len());
    };
    let points: Vec<Point> = parts.iter().map(|part| part.point.clone()).collect();
    let text = last.text.as_ref();
    let text = text.map(|(file, windows, tokens)| Text { file, windows: *windows, tokens: *tokens });
    let timeline = Timeline { model: &last.model, settings: &last.settings, text, points: &points };
    let told = match args.format {
        _ if args.out.is_some() => return Ok(()),
        TimelineFormat::Jsonl => return Ok(()),
        TimelineFormat::Table => timeline.table(),
        TimelineFormat::Json => timeline.json()?,
        TimelineFormat::Csv => timeline.csv(),
        TimelineFormat::Svg => timeline.svg(),
    };
    super::print(&told)
}

/// The text of `--text`.
fn read(file: &Path, windows: usize) -> Result<String> {
    if windows == 0 {
        bail!("--windows 0 measures nothing: use 1 or more");
    }
    let text = fs::read_to_string(file)
        .with_context(|| format!("--text {} cannot be read as UTF-8 text", file.display()))?;
    if text.trim().is_empty() {
        bail!("--text {} is empty: give a file with text in it", file.display());
    }
    Ok(text)
}

/// Puts what the runs have logged beside what was measured at the same step; returns what could not be read.
fn add_log(all: &mut [Placed], checkpoints: &[String]) -> Vec<String> {
    let mut runs: Vec<TrainingRun> = Vec::new();
    for run in checkpoints.iter().filter_map(|checkpoint| TrainingRun::of(checkpoint)) {
        if !runs.iter().any(|known| known.source == run.source) {
            runs.push(run);
        }
    }
    let with_log = |run: TrainingRun| {
        let log = run.read_log();
        (run, log)
    };
    let logs: Vec<(TrainingRun, Log)> = runs.into_iter().map(with_log).collect();
    for part in all.iter_mut().filter_map(|(_, part)| part.as_mut().ok()) {
        let measured = &mut part.point.measured;
        for (run, log) in &logs {
            let mine = run.snapshots.iter().any(|snapshot| snapshot.step == measured.step);
            if let Some(entry) = log.at(measured.step).filter(|_| mine) {
                measured.add_logged(&entry.measured(part.model.layers, part.model.heads));
            }
        }
    }
    logs.into_iter().filter_map(|(_, log)| log.trouble).collect()
}

/// Whether a snapshot is of the run that the ones before it are of; else in what it differs.
fn of_one_run(before: Option<&Part>, layers: usize, heads: usize) -> Result<()> {
    if let Some(Part { model: first, .. }) = before
        && (first.layers, first.heads) != (layers, heads)
    {
        bail!(
            "{layers} layers of {heads} heads, where the snapshots before have {} of {}: it belongs to another run",
            first.layers,
            first.heads
        );
    }
    Ok(())
}

/// Measures a snapshot, on the sequences that those `before` it were measured on.
fn measure(
    snapshot: &Snapshot,
    before: Option<&Part>,
    args: &TimelineArgs,
    text: Option<&str>,
    common: &Common,
) -> Result<Part> {
    let model = open::silently(&snapshot.model, common)?;
    of_one_run(before, model.info.layers, model.info.heads)?;
    let usual = before.map_or(model.info.block, |part| part.settings.length);
    let benchmark = model.benchmark(args.benchmark.settings(usual))?;
    let measured = Measured::measure(snapshot.step, &model.decoder, &benchmark, args.by, &Control::FREE)?;
    let (losses, text) = match text.zip(args.text.clone()) {
        Some((text, file)) => {
            let (losses, measured) = measure_text(&model, text, file, args.windows)?;
            (losses, Some(measured))
        }
        None => (None, None),
    };
    let point = Point { measured, source: model.info.source.clone(), text: losses };
    Ok(Part { point, model: model.info, settings: settings(&benchmark, args.by), text })
}

/// Losses on a text; its file, windows of it and tokens in each.
fn measure_text(
    model: &Model,
    text: &str,
    file: PathBuf,
    most: usize,
) -> Result<(Option<TextLoss>, (PathBuf, usize, usize))> {
    let windows = model.windows(text, most)?;
    let measured = (file, windows.len(), windows.first().map_or(0, Vec::len));
    Ok((loss::text(&model.decoder, &windows, &Control::FREE)?, measured))
}
