//! `check`: is a checkpoint sane after training, where is it broken, and which reading of it would be right.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};

use super::{
    checks::{self, Checks},
    open,
};
use crate::{
    analysis::check::{Verdict, catalogue},
    checkpoint::{embedded, snapshot::Snapshot},
    cli::{
        Common,
        check::{CheckArgs, CheckFormat},
    },
    error::told,
    memory, output,
    report::{
        check::{self as report, Check},
        watch,
    },
    run::{self, Checked, Found, Shard},
    text::{count, line},
};

/// Runs the command: the exit code says whether the model is sane.
pub fn run(args: &CheckArgs, common: &Common) -> Result<ExitCode> {
    let common = &common.reading(&args.checks.reading);
    if let Some(name) = &args.explain {
        let checks = if name.is_empty() {
            catalogue::ALL.iter().collect()
        } else {
            catalogue::named(name).map_err(checks::unknown)?
        };
        super::print(&report::explained(&checks))?;
        return Ok(ExitCode::SUCCESS);
    }
    let earlier = match &args.baseline {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("--baseline {}", path.display()))?;
            report::read(&text).with_context(|| {
                format!("--baseline {} is no report of `attnscope check --format json`", path.display())
            })?
        }
        None => Vec::new(),
    };
    let checks = Checks::new(&args.checks)?;
    memory::keep_freed();
    if is_of_many(args) {
        return many(args, &checks, &earlier, common);
    }
    let model = open::model(args.models.first(), common)?;
    let report = Check::new(&model.info, checks.settings(), checks.make(&model, common)?, &earlier);
    super::print(&printed(&report, args.format)?)?;
    Ok(checks::code(report.verdict()))
}

fn printed(report: &Check<'_>, format: CheckFormat) -> Result<String> {
    Ok(match format {
        CheckFormat::Table => report.table(),
        CheckFormat::Json | CheckFormat::Jsonl => report.json()?,
        CheckFormat::Markdown => report.markdown(),
        CheckFormat::Junit => report.junit(),
        CheckFormat::Sarif => report.sarif()?,
    })
}

/// Whether there is a report for each of several checkpoints.
fn is_of_many(args: &CheckArgs) -> bool {
    args.models.len() > 1 || args.shard.is_some() || args.out.is_some() || args.format == CheckFormat::Jsonl
}

/// Checks several checkpoints one after the other: models, and where there is a line each every snapshot of runs. One that cannot
/// be opened fails.
fn many(args: &CheckArgs, checks: &Checks, earlier: &[Found], common: &Common) -> Result<ExitCode> {
    let is_told = match args.format {
        CheckFormat::Table => args.out.is_none(),
        CheckFormat::Markdown if args.out.is_none() => true,
        CheckFormat::Jsonl => false,
        _ => bail!("of several checkpoints there is a line each: use --format jsonl, or --out FILE.jsonl"),
    };
    let default = [embedded::DEFAULT.to_owned()];
    let models = if args.models.is_empty() { &default[..] } else { &args.models };
    // Of a run, what is read is about its last snapshot.
    let named = match is_told && args.shard.is_none() {
        true => models.iter().map(|model| (model.clone(), None)).collect(),
        false => run::named(models)?,
    };
    let shard = args.shard.unwrap_or(Shard::ALL);
    let mine: Vec<_> =
        named.into_iter().enumerate().filter(|(at, _)| shard.has(*at)).map(|one| one.1).collect();
    let (mut lines, mut worst, mut done) = (String::new(), Verdict::Ok, 0);
    for (at, (model, step)) in mine.iter().enumerate() {
        if !common.quiet {
            super::note(&format!("{} of {}: {}", at + 1, mine.len(), line(model)));
        }
        let snapshot = Snapshot { model: model.clone(), step: step.unwrap_or_default() };
        let stamp = run::stamp(&snapshot);
        let result = open::silently(model, common)
            .and_then(|model| Ok((checks.make(&model, common)?, model.info)))
            .map_err(|error| line(&told(&error)));
        let text = match result {
            Ok((findings, info)) => {
                done += 1;
                let report = Check::new(&info, checks.settings(), findings, earlier);
                worst = worst.max(report.verdict());
                let checked = Checked::new(&snapshot.model, *step, stamp, &report.findings);
                match is_told {
                    true => printed(&report, args.format)? + "\n",
                    false => watch::line(&checked, Some(&info), &report.settings)?,
                }
            }
            Err(reason) => {
                super::note(&format!("{}: it cannot be checked: {reason}", line(model)));
                worst = Verdict::Fail;
                let checked = Checked { step: *step, ..Checked::unreadable(&snapshot, stamp, &reason) };
                match is_told {
                    true => String::new(),
                    false => watch::line(&checked, None, &checks.settings())?,
                }
            }
        };
        match args.out {
            Some(_) => lines.push_str(&text),
            None => super::print(&text)?,
        }
    }
    if let Some(out) = &args.out {
        output::write_bytes(out, lines.as_bytes())
            .with_context(|| format!("--out {} cannot be written", out.display()))?;
    }
    if done == 0 && !mine.is_empty() {
        bail!("none of {} could be checked: see above", count(mine.len(), "checkpoint"));
    }
    Ok(checks::code(worst))
}
