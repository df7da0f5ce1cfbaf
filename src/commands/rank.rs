//! `rank`: scores every head on repeated random tokens.

use std::cell::RefCell;

use anyhow::Result;

use super::{open, progress::Bar};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank::{self, Tally},
        score::{HeadScores, Score},
    },
    cli::{Common, RankArgs, RankFormat},
    engine::open::Model,
    memory,
    model::decoder::Control,
    report::rank::{Ranking, Settings},
};

/// Sequences that one pass measures.
const AT_ONCE: usize = 8;

/// Runs the command.
pub fn run(args: &RankArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    model.has_heads()?;
    let benchmark = model.benchmark(args.benchmark.settings(model.info.block))?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, layers| bar.borrow_mut().show("scoring heads", done, layers);
    let control = Control { progress: &progress, cancelled: &|| false };
    let (scores, settings) = score(&model, &benchmark, args.by, &control)?;
    bar.borrow_mut().clear();
    let ranking = Ranking::new(&model.info, settings, &scores, args.top);
    super::print(&match args.format {
        RankFormat::Table => ranking.table(),
        RankFormat::Json => ranking.json()?,
        RankFormat::Csv => ranking.csv(),
    })
}

/// Every head's scores, `[layer * heads + head]`, and how they were measured; `by` on the whole batch, what only stands
/// beside it on fewer sequences.
pub fn score(
    model: &Model,
    benchmark: &Benchmark,
    by: Score,
    control: &Control<'_>,
) -> Result<(Vec<HeadScores>, Settings)> {
    let batch = benchmark.settings().batch;
    let draws = |kind| if kind == Kind::of(by) { batch } else { benchmark.draws(kind) };
    let wanted: Vec<(Kind, usize)> =
        Kind::ALL.into_iter().flat_map(|kind| (0..draws(kind)).map(move |draw| (kind, draw))).collect();
    let mut tally = Tally::new(model.info.layers * model.info.heads);
    // So many at once that a large batch needs no more memory than a prompt of usual length.
    for part in wanted.chunks(AT_ONCE) {
        tally.merge(&rank::measure(&model.decoder, benchmark, part, control)?);
    }
    let [lowest, highest] = benchmark.vocabulary();
    let settings = Settings {
        length: benchmark.settings().length,
        batch,
        draws: Kind::ALL.map(|kind| (kind, draws(kind))),
        seed: benchmark.settings().seed,
        bos: benchmark.has_bos(),
        vocabulary: (lowest, highest),
        by,
    };
    Ok((tally.scores(), settings))
}
