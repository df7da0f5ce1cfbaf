//! What a check has found of a snapshot, as a line of JSON tells it.

use std::{collections::BTreeMap, path::Path, time::UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::folder::Stamp;
use crate::{
    analysis::check::{Finding, Verdict},
    checkpoint::snapshot::Snapshot,
};

/// What the lines mean.
pub const SCHEMA_VERSION: u32 = 1;

/// The numbers that are followed over a run, each with the check that finds it: the mean of what that found.
pub const NUMBERS: [(&str, &str); 6] = [
    ("loss", "text.loss"),
    ("repeat_gain", "repeats.gain"),
    ("induction", "repeats.induction"),
    ("previous", "repeats.previous"),
    ("duplicate", "repeats.duplicate"),
    ("attention_score", "inside.scores"),
];

/// The check that fails where a snapshot cannot be opened.
pub const OPEN: &str = "open";

/// A snapshot that was checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// Training steps done; `None` where no name tells.
    pub step: Option<u64>,
    /// What opens it.
    pub path: String,
    /// When it was last written to, in milliseconds since 1970; `None` where it is no folder.
    pub modified: Option<u64>,
    /// Bytes of its files.
    pub bytes: u64,
    /// The worst verdict.
    #[serde(deserialize_with = "verdict")]
    pub verdict: Verdict,
    /// The numbers that are followed, by their names in [`NUMBERS`], as far as they were measured.
    pub numbers: BTreeMap<String, f64>,
    /// What was found, the gravest first.
    pub findings: Vec<Found>,
}

/// A [`Finding`] as it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The check's stable name.
    pub check: String,
    /// What is to be thought of it.
    #[serde(deserialize_with = "verdict")]
    pub verdict: Verdict,
    /// What it is about.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// The quantity.
    pub value: Option<f64>,
    /// What is usual.
    pub usual: String,
    /// A sentence that says what was found.
    pub text: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        let Finding { check, verdict, place, value, usual, text } = finding.clone();
        Self { check: check.to_owned(), verdict, place, value, usual, text }
    }
}

impl Found {
    /// Whether it is to be looked at or broken, was so in the same place earlier, and has not grown by a quarter since.
    pub fn is_known(&self, earlier: &[Self]) -> bool {
        const GROWN: f64 = 1.25;
        let has_grown = |before: &Self| match (self.value, before.value) {
            (Some(value), Some(before)) => value.abs() > GROWN * before.abs(),
            _ => false,
        };
        let key = |found: &Self| (found.verdict, found.check.clone(), found.place.clone());
        self.verdict > Verdict::Note
            && earlier.iter().any(|before| key(before) == key(self) && !has_grown(before))
    }
}

/// A verdict by its name.
fn verdict<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
    let name = String::deserialize(deserializer)?;
    let all = [Verdict::Ok, Verdict::Note, Verdict::Warn, Verdict::Fail];
    all.into_iter().find(|verdict| verdict.name() == name).ok_or_else(|| D::Error::custom("no such verdict"))
}

impl Checked {
    /// What was found of a snapshot that had this stamp before it was opened.
    pub fn new(model: &str, step: Option<u64>, stamp: Stamp, findings: &[Finding]) -> Self {
        let (modified, bytes) = in_numbers(stamp);
        let numbers = NUMBERS.iter().filter_map(|(name, check)| {
            let of: Vec<f64> =
                findings.iter().filter(|one| one.check == *check).filter_map(|one| one.value).collect();
            (!of.is_empty()).then(|| ((*name).to_owned(), of.iter().sum::<f64>() / of.len() as f64))
        });
        Self {
            step,
            path: model.to_owned(),
            modified,
            bytes,
            verdict: crate::analysis::check::verdict(findings),
            numbers: numbers.collect(),
            findings: findings.iter().map(Found::from).collect(),
        }
    }

    /// A snapshot that cannot be opened, and why.
    pub fn unreadable(snapshot: &Snapshot, stamp: Stamp, reason: &str) -> Self {
        let text = format!("it cannot be checked: {reason}");
        let finding = Finding::new(OPEN, Verdict::Fail, f64::NAN, "a checkpoint that is whole", text);
        Self::new(&snapshot.model, Some(snapshot.step), stamp, &[finding])
    }

    /// The name of its folder, by which it is known wherever the run is moved to.
    pub fn name(&self) -> &str {
        name(&self.path)
    }

    /// Whether it was written to since.
    pub fn is(&self, stamp: Stamp) -> bool {
        (self.modified, self.bytes) == in_numbers(stamp)
    }

    /// What is to be looked at or broken, and is not known from `former`.
    pub fn news(&self, former: Option<&Self>) -> Vec<&Found> {
        let earlier = former.map_or(&[][..], |former| &former.findings);
        let news = |found: &&Found| found.verdict > Verdict::Note && !found.is_known(earlier);
        self.findings.iter().filter(news).collect()
    }
}

/// The name of the folder at a path.
pub fn name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path)
}

fn in_numbers((time, bytes): Stamp) -> (Option<u64>, u64) {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    (since.map(|since| since.as_millis() as u64), bytes)
}
