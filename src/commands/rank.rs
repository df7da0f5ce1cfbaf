//! `rank`: scores every head on repeated random tokens.

use std::cell::RefCell;

use anyhow::Result;

use super::{open, progress::Bar};
use crate::{
    analysis::{
        benchmark::{Benchmark, Kind},
        rank::{self, Goal, Tally},
        score::{HeadScores, Score},
    },
    cli::{Common, RankArgs, TableFormat},
    engine::open::Model,
    head::PerHead,
    memory,
    model::{
        decoder::{Control, Pass},
        place::DtypeChoice,
    },
    report::rank::{Ranking, Settings},
    text::count,
};

/// How many first heads `--until` is about where `--top` names no number, and how many of a ranking with rounded weights are
/// looked for in the one without.
const FIRST: usize = 10;

/// Runs the command.
pub fn run(args: &RankArgs, common: &Common) -> Result<()> {
    let common = &common.reading(&args.reading);
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    model.has_heads()?;
    let mut benchmark = model.benchmark(args.benchmark.settings(model.info.block))?;
    let tally = score("scoring heads", common, |control| match args.until {
        Some(width) => {
            let goal = Goal { width, leaders: args.top.unwrap_or(FIRST) };
            rank::settled(&model.decoder, &mut benchmark, args.by, goal, control)
        }
        None => rank::scores(&model.decoder, &benchmark, args.by, control),
    })?;
    let scores = tally.scores();
    note_unsettled(args, &benchmark, &tally, common);
    note_no_numbers(&model, &benchmark, &scores, common)?;
    note_windows(&model, benchmark.settings().length, common);
    let doubts = tally.doubts(&[args.by]);
    let mut ranking = Ranking::new(&model.info, settings(&benchmark, args.by), &scores, &doubts, args.top)
        .with_errors(args.errors);
    if model.is_rounded {
        let exact = Common { dtype: DtypeChoice::F32, quiet: true, ..common.clone() };
        let exact = open::model(args.model.as_ref(), &exact)?;
        let exact = score("scoring heads in f32", common, |control| {
            rank::scores(&exact.decoder, &benchmark, args.by, control)
        })?;
        ranking = ranking.with_moves(rank::moved(&exact.scores(), &scores, args.by, FIRST));
    }
    super::print(&match args.format {
        TableFormat::Table => ranking.table(),
        TableFormat::Json => ranking.json()?,
        TableFormat::Csv => ranking.csv(),
    })
}

/// Says what the first heads are known to, where that is less than `--until` asks for.
fn note_unsettled(args: &RankArgs, benchmark: &Benchmark, tally: &Tally, common: &Common) {
    let (Some(width), false) = (args.until, common.quiet) else { return };
    let reached = tally.widest(args.by, args.top.unwrap_or(FIRST));
    if reached > width {
        let batch = benchmark.settings().batch;
        super::note(&format!(
            "after {} the first heads are known to ±{reached:.3} and not to ±{width}: --until draws no more, --batch {} does",
            count(batch, "sequence"),
            2 * batch
        ));
    }
}

/// Says from which head on attention is no number, as it is where a training run has broken, and why.
fn note_no_numbers(
    model: &Model,
    benchmark: &Benchmark,
    scores: &PerHead<HeadScores>,
    common: &Common,
) -> Result<()> {
    let none = || scores.iter().filter(|(_, scores)| scores.get(Score::Sink).is_nan());
    let count = none().count();
    if let (Some((first, _)), false) = (none().next(), common.quiet) {
        super::note(&format!(
            "attention of {count} of {} heads, from {first} on, is no number",
            scores.len()
        ));
        let mut trace = model.decoder.trace();
        let ids = benchmark.sequence(Kind::Repeat, 0);
        model.decoder.extend(&mut trace, &ids, &Pass::FREE)?;
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

/// What `measure` measures, with a bar while it does.
fn score(
    stage: &'static str,
    common: &Common,
    measure: impl FnOnce(&Control<'_>) -> Result<Tally>,
) -> Result<Tally> {
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, layers| bar.borrow_mut().show(stage, done, layers);
    let tally = measure(&Control { progress: &progress, cancelled: &|| false })?;
    bar.borrow_mut().clear();
    Ok(tally)
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
