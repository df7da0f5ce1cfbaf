//! `check`: is a checkpoint sane after training, where is it broken, and which reading of it would be right.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::{open, progress::Bar};
use crate::{
    analysis::check::{Finding, Verdict, catalogue, expect::Expectation},
    checkpoint::{embedded, snapshot::Snapshot},
    cli::{
        Common,
        check::{CheckArgs, CheckFormat, ChecksArgs},
    },
    engine::{
        check::{Checking, Plan},
        open::Model,
    },
    error::told,
    memory, output,
    report::{
        check::{self as report, Check, Known, Settings},
        watch,
    },
    run::{self, Checked, Shard},
    text::{count, line},
};

/// Exit code where something fails.
const FAILED: u8 = 1;

/// Runs the command: the exit code says whether the model is sane.
pub fn run(args: &CheckArgs, common: &Common) -> Result<ExitCode> {
    let common = &common.reading(&args.checks.reading);
    if let Some(name) = &args.explain {
        let checks = if name.is_empty() {
            catalogue::ALL.iter().collect()
        } else {
            catalogue::named(name).map_err(unknown)?
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
    let mut bar = Bar::new(common);
    let findings = checks.make(&model, common, &mut bar);
    bar.clear();
    let report = Check::new(&model.info, checks.settings(), findings?, &earlier);
    super::print(&printed(&report, args.format)?)?;
    Ok(code(report.verdict()))
}

/// The exit code of a verdict.
pub(super) fn code(verdict: Verdict) -> ExitCode {
    if verdict == Verdict::Fail { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
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

/// Checks several checkpoints one after the other: models, and every snapshot of runs. One that cannot be opened fails.
fn many(args: &CheckArgs, checks: &Checks, earlier: &[Known], common: &Common) -> Result<ExitCode> {
    let is_told = matches!(args.format, CheckFormat::Table | CheckFormat::Markdown);
    if args.format != CheckFormat::Jsonl
        && (!is_told || args.out.is_some() && args.format != CheckFormat::Table)
    {
        bail!("of several checkpoints there is a line each: use --format jsonl, or --out FILE.jsonl");
    }
    let default = [embedded::DEFAULT.to_owned()];
    let named = run::named(if args.models.is_empty() { &default } else { &args.models })?;
    let shard = args.shard.unwrap_or(Shard::ALL);
    let mine: Vec<_> =
        named.into_iter().enumerate().filter(|(at, _)| shard.has(*at)).map(|one| one.1).collect();
    let (mut lines, mut worst, mut opened) = (String::new(), Verdict::Ok, 0);
    for (at, (model, step)) in mine.iter().enumerate() {
        if !common.quiet {
            super::note(&format!("{} of {}: {}", at + 1, mine.len(), line(model)));
        }
        let snapshot = Snapshot { model: model.clone(), step: step.unwrap_or_default() };
        let stamp = run::stamp(&snapshot);
        let text = match open::silently(model, common) {
            Ok(model) => {
                opened += 1;
                let mut bar = Bar::new(common);
                let findings = checks.make(&model, common, &mut bar);
                bar.clear();
                let report = Check::new(&model.info, checks.settings(), findings?, earlier);
                worst = worst.max(report.verdict());
                let checked = Checked::new(&snapshot.model, *step, stamp, &report.findings);
                match is_told && args.out.is_none() {
                    true => printed(&report, args.format)? + "\n",
                    false => watch::line(&checked, Some(&model.info), &report.settings)?,
                }
            }
            Err(error) => {
                let reason = line(&told(&error));
                super::note(&format!("{}: it cannot be opened: {reason}", line(model)));
                worst = Verdict::Fail;
                let checked = Checked { step: *step, ..Checked::unreadable(&snapshot, stamp, &reason) };
                match is_told && args.out.is_none() {
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
    if opened == 0 && !mine.is_empty() {
        bail!("none of {} could be opened: see above", count(mine.len(), "checkpoint"));
    }
    Ok(code(worst))
}

/// What is checked, on what, and what is expected of it.
pub(super) struct Checks {
    plan: Plan,
    against: Option<String>,
    expectations: Vec<Expectation>,
}

impl Checks {
    /// What the arguments ask for.
    pub fn new(args: &ChecksArgs) -> Result<Self> {
        let mut expectations = args.expect.clone();
        if let Some(path) = &args.expectations {
            expectations.extend(expected(path)?);
        }
        let plan = plan(args)?;
        if args.against.is_none() && plan.only.iter().all(|id| id.starts_with("against.")) {
            bail!("--only against: give --against MODEL, what it is to be compared with");
        }
        Ok(Self { plan, against: args.against.clone(), expectations })
    }

    /// Checks a model; what is expected is judged last.
    pub fn make(&self, model: &Model, common: &Common, bar: &mut Bar) -> Result<Vec<Finding>> {
        let base = self
            .against
            .as_ref()
            .map(|base| open::silently(base, &common.beside()).with_context(|| format!("--against {base}")));
        let mut checking = Checking::new(model, self.plan.clone(), base.transpose()?);
        while let Some((step, done)) = checking.progress() {
            bar.show(step, done, 100);
            checking.step(model, &|| false)?;
        }
        let mut findings = checking.found().to_vec();
        let judged: Vec<_> = self.expectations.iter().map(|one| one.judge(&findings)).collect();
        findings.extend(judged);
        Ok(findings)
    }

    /// How it is checked, for the report.
    pub fn settings(&self) -> Settings {
        Settings {
            texts: self.plan.texts.iter().map(|(name, _)| name.clone()).collect(),
            only: self.plan.only.iter().copied().collect(),
            against: self.against.clone(),
            expect: self.expectations.iter().map(Expectation::to_string).collect(),
        }
    }
}

/// The error about a check that there is not.
fn unknown(problem: String) -> anyhow::Error {
    anyhow!("{problem} (check --explain lists all)")
}

/// What is checked, and on what.
fn plan(args: &ChecksArgs) -> Result<Plan> {
    let mut plan = Plan::all();
    if !args.only.is_empty() {
        plan.only = catalogue::chosen(&args.only).map_err(unknown)?;
    }
    if !args.text.is_empty() {
        plan.texts = Vec::new();
        for path in &args.text {
            let bytes = fs::read(path).with_context(|| format!("--text {}", path.display()))?;
            let text = String::from_utf8(bytes)
                .with_context(|| format!("--text {} is not UTF-8: convert it first", path.display()))?;
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            plan.texts.push((name, text));
        }
    }
    Ok(plan)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    expect: Vec<String>,
}

/// The expectations of a file.
fn expected(path: &std::path::Path) -> Result<Vec<Expectation>> {
    let named = || format!("--expectations {}", path.display());
    let text = fs::read_to_string(path).with_context(named)?;
    let read: Expected = toml::from_str(&text).with_context(named)?;
    let parse = |text: &String| text.parse().map_err(|error| anyhow!("{}: `{text}`: {error}", named()));
    read.expect.iter().map(parse).collect()
}
