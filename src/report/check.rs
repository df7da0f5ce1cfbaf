//! The findings of a check as a table, JSON, Markdown, JUnit and SARIF.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

use super::{
    rank::{Model, heading},
    text::{padded, xml},
};
use crate::{
    analysis::check::{Finding, Verdict, catalogue, gravest_first, summary},
    engine::protocol::ModelInfo,
    run::Found,
    text::line,
};

/// How a check was made.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// The names of the texts that were read.
    pub texts: Vec<String>,
    /// The checks that were made.
    pub only: Vec<&'static str>,
    /// The model that it was set against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// What was expected.
    pub expect: Vec<String>,
}

/// A check to be printed.
pub struct Check<'a> {
    /// The model.
    pub model: &'a ModelInfo,
    /// How it was checked.
    pub settings: Settings,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// How many findings of an earlier check come again; they fail this one no more.
    pub known: Vec<bool>,
}

#[derive(Deserialize)]
struct Earlier {
    findings: Vec<Found>,
}

/// The findings of a report that was printed as JSON.
///
/// # Errors
/// When it is none.
pub fn read(text: &str) -> serde_json::Result<Vec<Found>> {
    serde_json::from_str::<Earlier>(text).map(|earlier| earlier.findings)
}

impl<'a> Check<'a> {
    /// A report of `findings`, those that are in `earlier` marked as known.
    pub fn new(
        model: &'a ModelInfo,
        settings: Settings,
        mut findings: Vec<Finding>,
        earlier: &[Found],
    ) -> Self {
        gravest_first(&mut findings);
        let known = findings.iter().map(|finding| Found::from(finding).is_known(earlier)).collect();
        Self { model, settings, findings, known }
    }

    /// The worst verdict of what is not known.
    pub fn verdict(&self) -> Verdict {
        let new = self.findings.iter().zip(&self.known).filter(|(_, known)| !**known);
        new.map(|(finding, _)| finding.verdict).max().unwrap_or(Verdict::Ok)
    }

    fn summary(&self) -> String {
        let counts = summary(&self.findings);
        let known = self.known.iter().filter(|known| **known).count();
        let known = if known > 0 { format!(", {known} of them known") } else { String::new() };
        format!("{}: {counts}{known}", self.verdict().name())
    }

    /// Lines of verdict, name and what was found, under a line that names the model; the last line counts.
    pub fn table(&self) -> String {
        let mut out = heading(self.model);
        out.push('\n');
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
        for (finding, known) in self.findings.iter().zip(&self.known) {
            let text = finding.told() + if *known { " (known)" } else { "" };
            for (at, part) in wrapped(&text, WIDTH.saturating_sub(width + 8)).into_iter().enumerate() {
                let (verdict, check) =
                    if at == 0 { (finding.verdict.name(), finding.check) } else { ("", "") };
                let _ = writeln!(out, "{verdict:<4}  {}  {part}", padded(check, width));
            }
        }
        let _ = writeln!(out, "\n{}", self.summary());
        out
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        let report = json!({
            "schema_version": 1,
            "model": Model(self.model),
            "settings": self.settings,
            "verdict": self.verdict(),
            "findings": self.findings,
        });
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// A table in Markdown.
    pub fn markdown(&self) -> String {
        let cell = |text: &str| line(text).replace('|', "\\|").replace('<', "&lt;");
        let mut out = format!("### {}: {}\n\n", cell(&self.model.name), self.summary());
        out.push_str("| verdict | check | where | found |\n|---|---|---|---|\n");
        for finding in &self.findings {
            let (verdict, place) = (finding.verdict.name(), finding.place.as_deref().unwrap_or_default());
            let verdict =
                if finding.verdict > Verdict::Note { format!("**{verdict}**") } else { verdict.to_owned() };
            let _ = writeln!(
                out,
                "| {verdict} | {} | {} | {} |",
                finding.check,
                cell(place),
                cell(&finding.text)
            );
        }
        out
    }

    /// JUnit's XML: a test case for each finding, those that fail as failures.
    pub fn junit(&self) -> String {
        let fails = self
            .findings
            .iter()
            .zip(&self.known)
            .filter(|(finding, known)| finding.verdict == Verdict::Fail && !**known);
        let name = xml(&line(&self.model.name));
        let mut out = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"attnscope check {name}\" tests=\"{}\" failures=\"{}\">\n",
            self.findings.len(),
            fails.count()
        );
        for (finding, known) in self.findings.iter().zip(&self.known) {
            let place = finding.place.as_ref().map(|place| format!("{}: ", line(place)));
            let case = place.unwrap_or_default() + finding.check;
            let text = xml(&line(&finding.text));
            let inner = match finding.verdict {
                Verdict::Fail if !known => format!("<failure message=\"{text}\"/>"),
                verdict => format!("<system-out>{}: {text}</system-out>", verdict.name()),
            };
            let _ =
                writeln!(out, "  <testcase classname=\"{name}\" name=\"{}\">{inner}</testcase>", xml(&case));
        }
        out + "</testsuite>\n"
    }

    /// SARIF 2.1.0: a result for each finding that is not ok.
    pub fn sarif(&self) -> serde_json::Result<String> {
        let level = |verdict| match verdict {
            Verdict::Fail => "error",
            Verdict::Warn => "warning",
            _ => "note",
        };
        let rules: Vec<_> = catalogue::ALL
            .iter()
            .map(|check| {
                json!({
                    "id": check.id,
                    "shortDescription": {"text": check.definition},
                    "help": {"text": format!("{} Sound models: {}", check.threshold, check.sound)},
                })
            })
            .collect();
        let results: Vec<_> = self
            .findings
            .iter()
            .zip(&self.known)
            .filter(|(finding, _)| finding.verdict != Verdict::Ok)
            .map(|(finding, known)| {
                let place = finding.place.as_deref().unwrap_or(&self.model.name);
                json!({
                    "ruleId": finding.check,
                    "level": level(finding.verdict),
                    "message": {"text": line(&finding.text)},
                    "baselineState": if *known { "unchanged" } else { "new" },
                    "locations": [{
                        "physicalLocation": {"artifactLocation": {"uri": uri(&self.model.source)}},
                        "logicalLocations": [{"fullyQualifiedName": line(place)}],
                    }],
                })
            })
            .collect();
        let report = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "attnscope",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "results": results,
            }],
        });
        serde_json::to_string(&report).map(|line| line + "\n")
    }
}

/// Columns of the table.
const WIDTH: usize = 80;

/// A text in lines of at most `width` columns, where its words are no longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(last) if last.width() + 1 + word.width() <= width => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A path as a relative reference: what is none of its letters is spelled out.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte))
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// What checks are, one a paragraph.
pub fn explained(checks: &[&catalogue::Check]) -> String {
    let paragraph = |check: &&catalogue::Check| {
        format!(
            "{}\n  {}\n  {}\n  Sound models: {}\n",
            check.id, check.definition, check.threshold, check.sound
        )
    };
    checks.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}
