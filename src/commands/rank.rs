//! `rank`: scores every head on repeated random tokens.

use std::{cell::RefCell, collections::BTreeSet};

use anyhow::Result;

use super::{open, progress::Bar};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank,
        score::{HeadScores, Score},
    },
    cli::{Common, RankArgs, RankFormat},
    engine::open::Model,
    head::Head,
    memory,
    model::{decoder::Control, place::DtypeChoice},
    report::rank::{Ranking, Settings},
};

/// How many first heads of a ranking with rounded weights are looked for in the one without.
const FIRST: usize = 10;

/// Runs the command.
pub fn run(args: &RankArgs, common: &Common) -> Result<()> {
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    model.has_heads()?;
    let benchmark = model.benchmark(args.benchmark.settings(model.info.block))?;
    let scores = score(&model, &benchmark, args.by, "scoring heads", common)?;
    note_no_numbers(&model, &benchmark, &scores, common)?;
    note_windows(&model, benchmark.settings().length, common);
    let mut ranking = Ranking::new(&model.info, settings(&benchmark, args.by), &scores, args.top);
    if model.is_rounded {
        let exact = Common { dtype: DtypeChoice::F32, quiet: true, ..common.clone() };
        let exact = open::model(args.model.as_ref(), &exact)?;
        let exact = score(&exact, &benchmark, args.by, "scoring heads in f32", common)?;
        ranking = ranking.with_moves(rank::moved(&exact, &scores, args.by, FIRST));
    }
    super::print(&match args.format {
        RankFormat::Table => ranking.table(),
        RankFormat::Json => ranking.json()?,
        RankFormat::Csv => ranking.csv(),
    })
}

/// Says from which head on attention is no number, as it is where a training run has broken, and why.
fn note_no_numbers(
    model: &Model,
    benchmark: &Benchmark,
    scores: &[HeadScores],
    common: &Common,
) -> Result<()> {
    let none = |scores: &&HeadScores| scores.get(Score::Sink).is_nan();
    let count = scores.iter().filter(none).count();
    if let (Some(first), false) = (scores.iter().position(|scores| none(&scores)), common.quiet) {
        let first = Head::new(first / model.info.heads, first % model.info.heads);
        super::note(&format!(
            "attention of {count} of {} heads, from {first} on, is no number",
            scores.len()
        ));
        let mut trace = model.decoder.trace();
        let ids = benchmark.sequence(Kind::Repeat, 0);
        model.decoder.extend(&mut trace, &ids, &BTreeSet::new(), &Control::FREE)?;
        open::note_break(model, &trace, common.quiet)?;
    }
    Ok(())
}

/// Says in how many layers the windows are too short for the benchmark, so that nobody takes their zeros for a fault.
fn note_windows(model: &Model, length: usize, common: &Common) {
    let windows = model.decoder.rules.iter().filter_map(|rule| rule.window);
    let short: Vec<usize> = windows.filter(|&window| window < length).collect();
    if let (Some(window), false) = (short.iter().min(), common.quiet) {
        super::note(&format!(
            "in {} of {} layers a query sees {window} tokens and no copy {length} tokens back: their heads score 0 there \
             (--length takes shorter blocks)",
            short.len(),
            model.info.layers
        ));
    }
}

/// Every head's scores, with a bar while they are made.
fn score(
    model: &Model,
    benchmark: &Benchmark,
    by: Score,
    stage: &'static str,
    common: &Common,
) -> Result<Vec<HeadScores>> {
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, layers| bar.borrow_mut().show(stage, done, layers);
    let control = Control { progress: &progress, cancelled: &|| false };
    let scores = rank::scores(&model.decoder, benchmark, by, &control)?;
    bar.borrow_mut().clear();
    Ok(scores)
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
