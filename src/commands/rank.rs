//! `rank`: scores every head on repeated random tokens.

use std::cell::RefCell;

use anyhow::Result;

use super::{open, progress::Bar};
use crate::{
    analysis::{
        benchmark::Kind,
        rank::{self, Tally},
    },
    cli::{Common, RankArgs, RankFormat},
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
    let benchmark = model.benchmark(args.settings(model.info.block))?;
    // What the list is sorted by is measured on the whole batch.
    let draws = |kind| if kind == Kind::of(args.by) { args.batch } else { benchmark.draws(kind) };
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, layers| bar.borrow_mut().show("scoring heads", done, layers);
    let control = Control { progress: &progress, cancelled: &|| false };
    let wanted: Vec<(Kind, usize)> =
        Kind::ALL.into_iter().flat_map(|kind| (0..draws(kind)).map(move |draw| (kind, draw))).collect();
    let mut tally = Tally::new(model.info.layers * model.info.heads);
    // So many at once that a large batch needs no more memory than a prompt of usual length.
    for part in wanted.chunks(AT_ONCE) {
        tally.merge(&rank::measure(&model.decoder, &benchmark, part, &control)?);
    }
    bar.borrow_mut().clear();
    let [lowest, highest] = benchmark.vocabulary();
    let settings = Settings {
        length: benchmark.settings().length,
        batch: args.batch,
        draws: Kind::ALL.map(|kind| (kind, draws(kind))),
        seed: args.seed,
        bos: benchmark.has_bos(),
        vocabulary: (lowest, highest),
        by: args.by,
    };
    let ranking = Ranking::new(&model.info, settings, &tally.scores(), args.top);
    super::print(&match args.format {
        RankFormat::Table => ranking.table(),
        RankFormat::Json => ranking.json()?,
        RankFormat::Csv => ranking.csv(),
    })
}
