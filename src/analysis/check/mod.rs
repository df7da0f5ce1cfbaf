//! Is a checkpoint sane, and where is it broken: one file for each kind of question, each question with its quantity, what is
//! usual, and a verdict.

pub mod catalogue;
pub mod channels;
pub mod expect;
pub mod inside;
pub mod readings;
pub mod repeats;
pub mod text;
pub mod weights;

use serde::Serialize;

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
}

/// The worst verdict; of nothing it is ok.
pub fn verdict(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}
