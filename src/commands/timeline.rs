//! `timeline`: scores and losses over the snapshots of a training run.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{open, rank::settings};
use crate::{
    analysis::loss::{self, TextLoss},
    checkpoint::snapshot::Snapshot,
    cli::{Common, TimelineArgs, TimelineFormat},
    engine::{open::Model, protocol::ModelInfo},
    memory,
    model::decoder::Control,
    report::{
        rank::Settings,
        timeline::{Point, Text, Timeline},
    },
    run::{self, Measured, TrainingRun},
    text::line,
};

/// Runs the command. A snapshot that cannot be read is told and left out.
pub fn run(args: &TimelineArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    let snapshots = run::snapshots(&args.checkpoints)?;
    let text = args.text.as_deref().map(|file| read(file, args.windows)).transpose()?;
    let mut points = Points::default();
    for (at, snapshot) in snapshots.iter().enumerate() {
        if !common.quiet {
            super::note(&format!("{} of {}: step {}", at + 1, snapshots.len(), snapshot.step));
        }
        if let Err(error) = points.measure(snapshot, args, text.as_deref(), common) {
            super::note(&format!("left out: step {}: {}", snapshot.step, line(&format!("{error:#}"))));
        }
    }
    let Points { mut points, last, windows } = points;
    let Some((model, settings)) = &last else {
        bail!("none of the {} snapshots could be read: see above", snapshots.len());
    };
    for trouble in add_log(&mut points, model, &args.checkpoints) {
        super::note(&line(&trouble));
    }
    let text = args.text.as_deref().zip(windows);
    let text = text.map(|(file, (windows, tokens))| Text { file, windows, tokens });
    let timeline = Timeline { model, settings, text, points: &points };
    super::print(&match args.format {
        TimelineFormat::Table => timeline.table(),
        TimelineFormat::Json => timeline.json()?,
        TimelineFormat::Csv => timeline.csv(),
        TimelineFormat::Svg => timeline.svg(),
    })
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
fn add_log(points: &mut [Point], model: &ModelInfo, checkpoints: &[String]) -> Vec<String> {
    let mut runs: Vec<TrainingRun> = Vec::new();
    for run in checkpoints.iter().filter_map(|checkpoint| TrainingRun::of(checkpoint)) {
        if !runs.iter().any(|known| known.source == run.source) {
            runs.push(run);
        }
    }
    let mut troubles = Vec::new();
    for run in runs {
        let log = run.read_log();
        for Point { measured, .. } in &mut *points {
            let mine = run.snapshots.iter().any(|snapshot| snapshot.step == measured.step);
            if let Some(entry) = log.at(measured.step).filter(|_| mine) {
                measured.add_logged(&entry.measured(model.layers, model.heads));
            }
        }
        troubles.extend(log.trouble);
    }
    troubles
}

/// What has been measured so far.
#[derive(Default)]
struct Points {
    points: Vec<Point>,
    last: Option<(ModelInfo, Settings)>,
    /// Windows of the text and the tokens in each.
    windows: Option<(usize, usize)>,
}

impl Points {
    fn measure(
        &mut self,
        snapshot: &Snapshot,
        args: &TimelineArgs,
        text: Option<&str>,
        common: &Common,
    ) -> Result<()> {
        let model = open::silently(&snapshot.model, common)?;
        if let Some((first, _)) = &self.last
            && (first.layers, first.heads) != (model.info.layers, model.info.heads)
        {
            bail!(
                "{} layers of {} heads, where the snapshots before have {} of {}: it belongs to another run",
                model.info.layers,
                model.info.heads,
                first.layers,
                first.heads
            );
        }
        // The same sequences for every snapshot.
        let usual = self.last.as_ref().map_or(model.info.block, |(_, settings)| settings.length);
        let benchmark = model.benchmark(args.benchmark.settings(usual))?;
        let measured = Measured::measure(snapshot.step, &model.decoder, &benchmark, args.by, &Control::FREE)?;
        let text = text.map(|text| self.measure_text(&model, text, args.windows)).transpose()?.flatten();
        self.points.push(Point { measured, source: model.info.source.clone(), text });
        self.last = Some((model.info, settings(&benchmark, args.by)));
        Ok(())
    }

    fn measure_text(&mut self, model: &Model, text: &str, most: usize) -> Result<Option<TextLoss>> {
        let windows = model.windows(text, most)?;
        self.windows = Some((windows.len(), windows.first().map_or(0, Vec::len)));
        loss::text(&model.decoder, &windows, &Control::FREE)
    }
}
