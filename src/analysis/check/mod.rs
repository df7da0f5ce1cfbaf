//! Is a checkpoint sane, and where is it broken: one file for each kind of question, each question with its quantity, what is
//! usual, and a verdict.

pub mod against;
pub mod catalogue;
pub mod channels;
pub mod expect;
pub mod experts;
pub mod inside;
pub mod readings;
pub mod repeats;
pub mod text;
pub mod vocabulary;
pub mod weights;
pub mod written;

use std::cmp::Reverse;

use serde::Serialize;

use crate::text::line;

/// What is to be thought of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Worth knowing; sound models have it too.
    Note,
    /// Unusual in sound models: to be looked at.
    Warn,
    /// Broken.
    Fail,
}

impl Verdict {
    /// `ok`, `note`, `warn` or `fail`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The check's stable name, such as `probe.rotary_base`; [`catalogue`] tells what it is.
    pub check: &'static str,
    /// What is to be thought of it.
    pub verdict: Verdict,
    /// The tensor, layer or head that it is about, where it is about one.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// The quantity; `None` where there is no number to it, or where that is not finite.
    pub value: Option<f64>,
    /// What is usual.
    pub usual: String,
    /// A sentence that says what was found, and what to do.
    pub text: String,
}

impl Finding {
    /// A finding about the model as a whole.
    pub fn new(
        check: &'static str,
        verdict: Verdict,
        value: f64,
        usual: impl Into<String>,
        text: String,
    ) -> Self {
        let value = Some(value).filter(|value| value.is_finite());
        Self { check, verdict, place: None, value, usual: usual.into(), text }
    }

    /// The same about a place.
    pub fn at(self, place: impl Into<String>) -> Self {
        Self { place: Some(place.into()), ..self }
    }

    /// What was found, on one clean line that begins with the place unless it names it.
    pub fn told(&self) -> String {
        match &self.place {
            Some(place) if !self.text.contains(place.as_str()) => line(&format!("{place}: {}", self.text)),
            _ => line(&self.text),
        }
    }
}

/// Puts the gravest first; those of one verdict stay as they are.
pub fn gravest_first(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| Reverse(finding.verdict));
}

/// How many findings there are of each verdict: `1 fail, 0 warn, 2 note, 37 ok`.
pub fn summary(findings: &[Finding]) -> String {
    let of = [Verdict::Fail, Verdict::Warn, Verdict::Note, Verdict::Ok];
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    of.map(|verdict| format!("{} {}", count(verdict), verdict.name())).join(", ")
}

/// The worst verdict; of nothing it is ok.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}
