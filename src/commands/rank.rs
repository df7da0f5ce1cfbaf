//! `rank`: scores every head on repeated random tokens.

use std::cell::RefCell;

use anyhow::Result;

use super::{open, progress::Bar};
use crate::{
    analysis::{benchmark::Benchmark, rank, score::Score},
    cli::{Common, RankArgs, RankFormat},
    memory,
    model::decoder::Control,
    report::rank::{Ranking, Settings},
};

/// Runs the command.
pub fn run(args: &RankArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    model.has_heads()?;
    let benchmark = model.benchmark(args.benchmark.settings(model.info.block))?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, layers| bar.borrow_mut().show("scoring heads", done, layers);
    let control = Control { progress: &progress, cancelled: &|| false };
    let scores = rank::scores(&model.decoder, &benchmark, args.by, &control)?;
    bar.borrow_mut().clear();
    let ranking = Ranking::new(&model.info, settings(&benchmark, args.by), &scores, args.top);
    super::print(&match args.format {
        RankFormat::Table => ranking.table(),
        RankFormat::Json => ranking.json()?,
        RankFormat::Csv => ranking.csv(),
    })
}

/// How the heads are measured, for the reports.
pub fn settings(benchmark: &Benchmark, by: Score) -> Settings {
    let [lowest, highest] = benchmark.vocabulary();
    Settings {
        length: benchmark.settings().length,
        batch: benchmark.settings().batch,
        draws: rank::draws(benchmark, by),
        seed: benchmark.settings().seed,
        bos: benchmark.has_bos(),
        vocabulary: (lowest, highest),
        by,
    }
}
