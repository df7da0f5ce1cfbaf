//! `timeline`: scores over the snapshots of a training run.

use anyhow::{Result, bail};

use super::{open, rank::score};
use crate::{
    analysis::{loss, timeline::Point},
    checkpoint::run,
    cli::{Common, RankFormat, TimelineArgs},
    engine::protocol::ModelInfo,
    memory,
    model::decoder::Control,
    report::{rank::Settings, timeline::Timeline},
    text::line,
};

/// Runs the command. A snapshot that cannot be read is told and left out.
pub fn run(args: &TimelineArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    let snapshots = run::snapshots(&args.checkpoints)?;
    let mut run = Run::default();
    for (at, snapshot) in snapshots.iter().enumerate() {
        if !common.quiet {
            eprintln!("{} of {}: step {}", at + 1, snapshots.len(), snapshot.step);
        }
        if let Err(error) = run.measure(snapshot, args, common) {
            eprintln!("left out: step {}: {}", snapshot.step, line(&format!("{error:#}")));
        }
    }
    let (Some((model, settings)), false) = (&run.last, run.points.is_empty()) else {
        bail!("none of the {} snapshots could be read: see above", snapshots.len());
    };
    let timeline = Timeline { model, sources: &run.sources, settings, points: &run.points };
    super::print(&match args.format {
        RankFormat::Table => timeline.table(),
        RankFormat::Json => timeline.json()?,
        RankFormat::Csv => timeline.csv(),
    })
}

/// What has been measured so far.
#[derive(Default)]
struct Run {
    points: Vec<Point>,
    sources: Vec<String>,
    last: Option<(ModelInfo, Settings)>,
}

impl Run {
    fn measure(&mut self, snapshot: &run::Snapshot, args: &TimelineArgs, common: &Common) -> Result<()> {
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
        let (scores, settings) = score(&model, &benchmark, args.by, &Control::FREE)?;
        let repeat = loss::repeat(&model.decoder, &benchmark, settings.batch, &Control::FREE)?;
        self.points.push(Point { step: snapshot.step, scores, repeat });
        self.sources.push(model.info.source.clone());
        self.last = Some((model.info, settings));
        Ok(())
    }
}
