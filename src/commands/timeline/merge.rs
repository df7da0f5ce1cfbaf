//! Lines that shares of a run have written, merged to what one run of `timeline` gives.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, bail};

use super::{Placed, left_out, of_one_run};
use crate::{
    analysis::score::Score,
    cli::TimelineArgs,
    commands::note,
    engine::protocol::RankSettings,
    report::timeline::lines::{Part, Read, is_whole},
    run::Shard,
    text::{count, line},
};

/// Whether files of lines are named.
///
/// # Errors
/// When checkpoints are named with them.
pub fn is_asked(arguments: &[String]) -> Result<bool> {
    let is_file = |argument: &&String| argument.ends_with(".jsonl") && !Path::new(argument).is_dir();
    match arguments.iter().filter(is_file).count() {
        0 => Ok(false),
        files if files == arguments.len() => Ok(true),
        _ => bail!("lines of JSON are merged and checkpoints are measured: name the one or the other"),
    }
}

/// A line and where it was read, for messages.
struct From {
    read: Read,
    origin: String,
}

/// What the files tell of the run, in the order of its steps. Lines that come twice are taken once; what is missing is told.
///
/// # Errors
/// When a file or a line cannot be read, or lines do not belong together.
pub fn merged(args: &TimelineArgs) -> Result<Vec<Placed>> {
    let measured = RankSettings { length: 0, ..RankSettings::default() };
    if args.shard.is_some() || args.text.is_some() || args.benchmark.settings(0) != measured {
        bail!(
            "what was measured is merged as it is: --shard, --text, --length, --batch, --seed and --bos go to the shares"
        );
    }
    let mut by_step: BTreeMap<u64, From> = BTreeMap::new();
    let mut twice = 0;
    for file in &args.checkpoints {
        let text = fs::read_to_string(file).with_context(|| format!("{file} cannot be read"))?;
        for (number, text) in text.lines().enumerate() {
            let origin = format!("{}, line {}", line(file), number + 1);
            let read = Read::of(text).with_context(|| {
                format!("{origin} is no line of `attnscope timeline --format jsonl`, or is not whole")
            })?;
            let from = From { read, origin };
            let step = from.read.place.step;
            let kept = match by_step.remove(&step) {
                None => from,
                Some(before) => {
                    twice += 1;
                    one_of(before, from)?
                }
            };
            by_step.insert(step, kept);
        }
    }
    belong_together(&by_step)?;
    let missing = missing(&by_step);
    let mut all: Vec<Placed> = Vec::new();
    for From { read, origin } in by_step.into_values() {
        let (place, reason) = (read.place, read.left_out.clone());
        let part = read.part().with_context(|| format!("{origin} is not whole"))?;
        let before = all.iter().rev().find_map(|(_, part)| part.as_ref().ok());
        let part = match (part, reason) {
            (Some(part), _) => as_the_others(part, before, args.by, &origin)?,
            (None, Some(reason)) => Err(reason),
            (None, None) => bail!("{origin} tells neither what was measured nor why nothing was"),
        };
        all.push((place, part));
    }
    if twice > 0 {
        note(&format!("taken once: {} about a snapshot that another tells of too", count(twice, "line")));
    }
    missing.iter().for_each(|missing| note(missing));
    for (place, part) in &all {
        if let Err(reason) = part {
            left_out(place.step, &line(reason));
        }
    }
    Ok(all)
}

/// Which of two lines of one step is taken: what was measured before what was left out, and either where they say the same.
fn one_of(before: From, after: From) -> Result<From> {
    match (&before.read.point, &after.read.point) {
        (Some(one), Some(other)) if one != other => {
            let step = before.read.place.step;
            bail!(
                "{} and {} are both of step {step} and differ: leave one of them out",
                before.origin,
                after.origin
            )
        }
        (None, Some(_)) => Ok(after),
        _ => Ok(before),
    }
}

/// Asks that lines of one place are of one step, and later steps at later places.
fn belong_together(by_step: &BTreeMap<u64, From>) -> Result<()> {
    let lines: Vec<&From> = by_step.values().collect();
    if let Some(pair) = lines.windows(2).find(|pair| pair[0].read.place.place >= pair[1].read.place.place) {
        bail!("{} and {} are of different runs: merge one run at a time", pair[0].origin, pair[1].origin);
    }
    Ok(())
}

/// How many snapshots of the run no line tells of, and which shares had them.
fn missing(by_step: &BTreeMap<u64, From>) -> Option<String> {
    let places = || by_step.values().map(|from| from.read.place);
    let there: BTreeSet<usize> = places().map(|place| place.place).collect();
    let all = places().map(|place| place.of).max()?;
    let missing: Vec<usize> = (0..all).filter(|place| !there.contains(place)).collect();
    let splits: BTreeSet<usize> = places().map(|place| place.shard.of).collect();
    let of = match splits.iter().collect::<Vec<_>>()[..] {
        [&of] => {
            let shards: BTreeSet<Shard> = missing.iter().map(|&place| Shard::at(place, of)).collect();
            let shards: Vec<String> = shards.iter().map(Shard::to_string).collect();
            format!(": those of --shard {}", shards.join(", "))
        }
        _ => String::new(),
    };
    let told = || format!("missing: {} of {}{of}", missing.len(), count(all, "snapshot"));
    (!missing.is_empty()).then(told)
}

/// A snapshot as one run would have it, which leaves out those of another shape.
fn as_the_others(
    part: Part,
    before: Option<&Part>,
    by: Score,
    origin: &str,
) -> Result<std::result::Result<Part, String>> {
    if !is_whole(&part) {
        bail!("{origin} does not have every head of its model");
    }
    if let Err(error) = of_one_run(before, part.model.layers, part.model.heads) {
        return Ok(Err(format!("{error:#}")));
    }
    let file = |part: &Part| part.text.as_ref().map(|text| text.0.clone());
    if let Some(before) = before
        && (before.settings != part.settings || file(before) != file(&part))
    {
        bail!(
            "{origin} was measured with other settings than those before: measure the shares with the same options"
        );
    }
    if by != Score::Induction && by != part.settings.by {
        bail!("{origin} was measured for --by {}: give --by to the shares", part.settings.by.name());
    }
    Ok(Ok(part))
}
