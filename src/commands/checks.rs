//! What `check` and `watch` have in common: which checks are made, on what, and what is expected.

use std::{cell::OnceCell, fs, path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use super::{open, progress::Bar};
use crate::{
    analysis::check::{Finding, Verdict, catalogue, expect::Expectation},
    cli::{Common, check::ChecksArgs},
    engine::{
        check::{Checking, Plan},
        open::Model,
    },
    report::check::Settings,
};

/// Exit code where something fails.
const FAILED: u8 = 1;

/// The exit code of a verdict.
pub fn code(verdict: Verdict) -> ExitCode {
    if verdict == Verdict::Fail { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// What is checked, on what, and what is expected of it.
pub struct Checks {
    plan: Plan,
    against: Option<String>,
    /// The model that they are set against, once it is open.
    base: OnceCell<Arc<Model>>,
    expectations: Vec<Expectation>,
}

impl Checks {
    /// What the arguments ask for.
    ///
    /// # Errors
    /// When a check, a file or an expectation in one is none.
    pub fn new(args: &ChecksArgs) -> Result<Self> {
        let mut expectations = args.expect.clone();
        if let Some(path) = &args.expectations {
            expectations.extend(expected(path)?);
        }
        let plan = plan(args)?;
        if args.against.is_none() && plan.only.iter().all(|id| id.starts_with("against.")) {
            bail!("--only against: give --against MODEL, what it is to be compared with");
        }
        Ok(Self { plan, against: args.against.clone(), base: OnceCell::new(), expectations })
    }

    /// Checks a model, with a bar where somebody sees it; what is expected is judged last.
    pub fn make(&self, model: &Model, common: &Common) -> Result<Vec<Finding>> {
        let mut checking = Checking::new(model, self.plan.clone(), self.base(common)?);
        let mut bar = Bar::new(common);
        while let Some((step, done)) = checking.progress() {
            bar.show(step, done, 100);
            checking.step(model, &|| false)?;
        }
        bar.clear();
        let mut findings = checking.found().to_vec();
        let judged: Vec<_> = self.expectations.iter().map(|one| one.judge(&findings)).collect();
        findings.extend(judged);
        Ok(findings)
    }

    fn base(&self, common: &Common) -> Result<Option<Arc<Model>>> {
        let Some(name) = &self.against else { return Ok(None) };
        if let Some(base) = self.base.get() {
            return Ok(Some(base.clone()));
        }
        let base = Arc::new(open::model(Some(name), &common.beside())?);
        Ok(Some(self.base.get_or_init(|| base).clone()))
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
pub fn unknown(problem: String) -> anyhow::Error {
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
fn expected(path: &Path) -> Result<Vec<Expectation>> {
    let named = || format!("--expectations {}", path.display());
    let text = fs::read_to_string(path).with_context(named)?;
    let read: Expected = toml::from_str(&text).with_context(named)?;
    let parse = |text: &String| text.parse().map_err(|error| anyhow!("{}: `{text}`: {error}", named()));
    read.expect.iter().map(parse).collect()
}
