//! `check`: is a checkpoint sane after training, where is it broken, and which reading of it would be right.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::{open, progress::Bar};
use crate::{
    analysis::check::{Verdict, catalogue, expect::Expectation},
    cli::{
        Common,
        check::{CheckArgs, CheckFormat},
    },
    engine::check::{Checking, Plan},
    memory,
    report::check::{self as report, Check, Settings},
};

/// Exit code where something fails.
const FAILED: u8 = 1;

/// Runs the command: the exit code says whether the model is sane.
pub fn run(args: &CheckArgs, common: &Common) -> Result<ExitCode> {
    let common = &common.reading(&args.reading);
    if let Some(name) = &args.explain {
        let checks = if name.is_empty() {
            catalogue::ALL.iter().collect()
        } else {
            catalogue::named(name).map_err(unknown)?
        };
        super::print(&report::explained(&checks))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut expectations = args.expect.clone();
    if let Some(path) = &args.expectations {
        expectations.extend(expected(path)?);
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
    let plan = plan(args)?;
    if args.against.is_none() && plan.only.iter().all(|id| id.starts_with("against.")) {
        bail!("--only against: give --against MODEL, what it is to be compared with");
    }
    memory::keep_freed();
    let model = open::model(args.model.as_ref(), common)?;
    let mut bar = Bar::new(common);
    let base = args.against.as_ref().map(|base| open::model(Some(base), &common.beside())).transpose()?;
    let mut checking = Checking::new(&model, plan.clone(), base);
    while let Some((step, done)) = checking.progress() {
        bar.show(step, done, 100);
        checking.step(&model, &|| false)?;
    }
    bar.clear();
    let mut findings = checking.found().to_vec();
    let judged: Vec<_> = expectations.iter().map(|expectation| expectation.judge(&findings)).collect();
    findings.extend(judged);
    let settings = Settings {
        texts: plan.texts.iter().map(|(name, _)| name.clone()).collect(),
        only: plan.only.iter().copied().collect(),
        against: args.against.clone(),
        expect: expectations.iter().map(Expectation::to_string).collect(),
    };
    let report = Check::new(&model.info, settings, findings, &earlier);
    super::print(&match args.format {
        CheckFormat::Table => report.table(),
        CheckFormat::Json => report.json()?,
        CheckFormat::Markdown => report.markdown(),
        CheckFormat::Junit => report.junit(),
        CheckFormat::Sarif => report.sarif()?,
    })?;
    Ok(if report.verdict() == Verdict::Fail { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// The error about a check that there is not.
fn unknown(problem: String) -> anyhow::Error {
    anyhow!("{problem} (check --explain lists all)")
}

/// What is checked, and on what.
fn plan(args: &CheckArgs) -> Result<Plan> {
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
