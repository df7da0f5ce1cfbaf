//! How far a model's patterns and logits lie from a reference, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::{
    rank::{Model, heading},
    table::{Align, aligned},
};
use crate::{analysis::agreement::Difference, engine::protocol::ModelInfo, head::Head, text::line};

/// The largest differences that are taken for agreement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Allowed {
    /// Of patterns, in attention.
    pub patterns: f32,
    /// Of logits, as a share of their scale.
    pub logits: f32,
}

impl Allowed {
    /// What different orders of summation can make of a model that is computed in f32, whatever type its weights are
    /// stored in.
    pub const EXACT: Self = Self { patterns: 1e-4, logits: 2e-4 };
    /// What rounding to f16 can.
    pub const F16: Self = Self { patterns: 1e-2, logits: 1e-2 };
    /// What rounding to bf16 can.
    pub const BF16: Self = Self { patterns: 5e-2, logits: 5e-2 };
}

/// One layer's pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct PatternReport {
    /// The layer.
    pub layer: usize,
    /// The largest difference.
    pub difference: Difference,
    /// The head that it is in.
    pub head: Head,
    /// The query that it is at.
    pub query: usize,
    /// The key that it is at.
    pub key: usize,
}

/// The logits of all tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct LogitReport {
    /// The largest difference.
    pub difference: Difference,
    /// The largest absolute value of the reference's.
    pub scale: f32,
    /// The token after which the difference is.
    pub token: usize,
    /// The vocabulary's entry that it is of.
    pub id: u32,
    /// After how many tokens both have the same entry first.
    pub same_top: usize,
    /// How many tokens there are.
    pub of: usize,
}

/// A comparison to be printed.
pub struct Verification<'a> {
    /// The model.
    pub model: &'a ModelInfo,
    /// The reference file.
    pub reference: &'a str,
    /// Tokens in the sequence.
    pub tokens: usize,
    /// What is allowed.
    pub allowed: Allowed,
    /// Every pattern that the reference has.
    pub patterns: Vec<PatternReport>,
    /// The logits, where it has them.
    pub logits: Option<LogitReport>,
}

impl Verification<'_> {
    /// Whether every difference is within what is allowed.
    pub fn holds(&self) -> bool {
        self.patterns.iter().all(|pattern| self.pattern_holds(pattern))
            && self.logits.as_ref().is_none_or(|logits| self.logits_hold(logits))
    }

    fn pattern_holds(&self, pattern: &PatternReport) -> bool {
        pattern.difference.is_within(self.allowed.patterns)
    }

    fn logits_hold(&self, logits: &LogitReport) -> bool {
        logits.difference.is_within(self.allowed.logits * logits.scale)
    }

    /// Aligned columns under two lines that say what was compared, and the verdict.
    pub fn table(&self) -> String {
        let mut out = heading(self.model);
        let _ = writeln!(out, "{} tokens against {}\n", self.tokens, line(self.reference));
        let verdict = |holds: bool| if holds { "agrees" } else { "DIFFERS" }.to_owned();
        let mut rows =
            vec![["tensor", "largest difference", "allowed", "", "where"].map(str::to_owned).to_vec()];
        for pattern in &self.patterns {
            rows.push(vec![
                format!("pattern.{}", pattern.layer),
                format!("{:.1e}", pattern.difference.largest),
                format!("{:.0e}", self.allowed.patterns),
                verdict(self.pattern_holds(pattern)),
                format!("head {}, query {}, key {}", pattern.head, pattern.query, pattern.key),
            ]);
        }
        if let Some(logits) = &self.logits {
            rows.push(vec![
                "logits".into(),
                format!("{:.1e} of {:.3}", logits.difference.largest, logits.scale),
                format!("{:.0e} of it", self.allowed.logits),
                verdict(self.logits_hold(logits)),
                format!(
                    "token {}, id {}; the first prediction is the same after {} of {}",
                    logits.token, logits.id, logits.same_top, logits.of
                ),
            ]);
        }
        let right = |column| if column == 1 || column == 2 { Align::Right } else { Align::Left };
        out.push_str(&aligned(rows.into_iter(), right));
        let _ = writeln!(
            out,
            "\n{}",
            match self.holds() {
                true => "the model agrees with the reference",
                false => "the model and the reference differ by more than is allowed",
            }
        );
        out
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        let number = |number: f32| serde_json::Number::from_f64(f64::from(number));
        let patterns: Vec<_> = self
            .patterns
            .iter()
            .map(|pattern| {
                serde_json::json!({
                    "layer": pattern.layer,
                    "largest": number(pattern.difference.largest),
                    "head": pattern.head.head,
                    "query": pattern.query,
                    "key": pattern.key,
                    "agrees": self.pattern_holds(pattern),
                })
            })
            .collect();
        let logits = self.logits.as_ref().map(|logits| {
            serde_json::json!({
                "largest": number(logits.difference.largest),
                "scale": number(logits.scale),
                "token": logits.token,
                "id": logits.id,
                "same_top": logits.same_top,
                "agrees": self.logits_hold(logits),
            })
        });
        let report = Report {
            schema_version: 1,
            model: Model(self.model),
            settings: Settings { reference: self.reference, tokens: self.tokens, allowed: self.allowed },
            patterns,
            logits,
            agrees: self.holds(),
        };
        serde_json::to_string(&report).map(|line| line + "\n")
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: Model<'a>,
    settings: Settings<'a>,
    patterns: Vec<serde_json::Value>,
    logits: Option<serde_json::Value>,
    agrees: bool,
}

#[derive(Serialize)]
struct Settings<'a> {
    reference: &'a str,
    tokens: usize,
    allowed: Allowed,
}
