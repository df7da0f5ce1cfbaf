//! `log.jsonl` of a run: an object a line for each snapshot. It is read leniently, for it may be written to while it is
//! read, and by other programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::measured::{Measured, Source};
use crate::{
    analysis::{
        loss::Icl,
        score::{HeadScores, Score},
    },
    head::{Head, PerHead},
};

/// What was logged, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// In the order of their steps, one a step: of several the last.
    pub entries: Vec<Entry>,
    /// What could not be read, in a line.
    pub trouble: Option<String>,
}

/// A line of the log; every number but the step may be missing. Losses are in nats per token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Training steps done.
    pub step: u64,
    /// Tokens shown. This and what else is only of use to people is written and not read.
    #[serde(skip_deserializing)]
    pub tokens: usize,
    /// Mean loss on the training sequences since the line before; none at step 0.
    #[serde(skip_deserializing)]
    pub train_loss: Option<f64>,
    /// Mean loss on text kept from training.
    pub held_out_loss: Option<f32>,
    /// Mean loss on the first copy of a random block minus that on the second.
    pub repeat_gain: Option<f32>,
    /// Tokens in that block.
    pub length: Option<usize>,
    /// In-context learning on the text kept from training.
    pub icl: Option<Icl>,
    /// Heads, on the same sequences as the gain.
    #[serde(default)]
    pub heads: Vec<HeadEntry>,
    /// Learning rate of the step before, at step 0 of the first.
    #[serde(skip_deserializing)]
    pub learning_rate: f64,
    /// Seconds of work, those before an interruption too.
    #[serde(skip_deserializing)]
    pub seconds: f64,
}

/// The scores of a head, as `rank` defines them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HeadEntry {
    pub layer: usize,
    pub head: usize,
    pub induction: Option<f32>,
    pub previous: Option<f32>,
    pub duplicate: Option<f32>,
}

impl HeadEntry {
    fn new(Head { layer, head }: Head, scores: &HeadScores) -> Self {
        let [induction, previous, duplicate] =
            [Score::Induction, Score::Previous, Score::Duplicate].map(|score| scores.measured(score));
        Self { layer, head, induction, previous, duplicate }
    }

    fn scores(&self) -> HeadScores {
        let mut scores = HeadScores::default();
        for (score, value) in [
            (Score::Induction, self.induction),
            (Score::Previous, self.previous),
            (Score::Duplicate, self.duplicate),
        ] {
            scores.set(score, value.unwrap_or(f32::NAN));
        }
        scores
    }
}

impl Entry {
    /// What was measured; what only training knows is left open.
    pub fn new(measured: &Measured) -> Self {
        Self {
            step: measured.step,
            held_out_loss: measured.held_out,
            repeat_gain: measured.gain,
            length: measured.length,
            icl: measured.icl,
            heads: measured.scores.iter().map(|(head, scores)| HeadEntry::new(head, scores)).collect(),
            ..Self::default()
        }
    }

    /// The same as it was measured, for a model of so many layers and heads in each; heads that it does not have are left
    /// out.
    pub fn measured(&self, layers: usize, heads: usize) -> Measured {
        let known = self.heads.iter().filter(|head| head.layer < layers && head.head < heads);
        let known: BTreeMap<Head, HeadScores> =
            known.map(|entry| (Head::new(entry.layer, entry.head), entry.scores())).collect();
        let scores = match known.is_empty() {
            true => PerHead::default(),
            false => PerHead::from_fn(layers, heads, |head| known.get(&head).copied().unwrap_or_default()),
        };
        Measured {
            step: self.step,
            source: Source::Log,
            length: self.length,
            scores,
            gain: self.repeat_gain,
            held_out: self.held_out_loss,
            icl: self.icl,
            ..Measured::default()
        }
    }

    /// The line of the log, its end included.
    pub fn line(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            /// What the keys mean.
            schema_version: u32,
            #[serde(flatten)]
            entry: &'a Entry,
        }
        serde_json::to_string(&Line { schema_version: 1, entry: self }).map(|line| line + "\n")
    }
}

impl Log {
    /// Reads the lines that can be read. What cannot is counted; an unfinished last line is being written.
    pub fn parse(text: &str) -> Self {
        let (mut entries, mut broken) = (BTreeMap::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            match serde_json::from_str::<Entry>(line) {
                Ok(entry) => drop(entries.insert(entry.step, entry)),
                Err(_) => broken.push(number + 1),
            }
        }
        let lines = text.lines().count();
        let unfinished = !text.ends_with('\n') && broken.last() == Some(&lines);
        let trouble = match broken.as_slice() {
            [] => None,
            [_] if unfinished => {
                Some("log.jsonl: its last line is not finished, and was left out".to_owned())
            }
            [first, rest @ ..] => Some(format!(
                "log.jsonl: {} of {lines} lines cannot be read and were left out, the first is line {first}",
                1 + rest.len()
            )),
        };
        Self { entries: entries.into_values().collect(), trouble }
    }

    /// What was logged at a step.
    pub fn at(&self, step: u64) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&step, |entry| entry.step).ok()?;
        Some(&self.entries[place])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"step":100,"held_out_loss":5.5,"repeat_gain":0.25,"length":50,"train_loss":null,
        "icl":{"early":13,"late":125,"score":-0.5},
        "heads":[{"layer":1,"head":2,"induction":0.75,"previous":0.125,"duplicate":0.0}],"later":[1]}"#;

    #[test]
    fn what_is_there_is_read_and_what_is_not_is_missing() {
        let text = format!("{}\n{{\"step\":0}}\n\n", LINE.replace('\n', ""));
        let log = Log::parse(&text);
        assert_eq!(log.trouble, None);
        assert_eq!(log.entries.iter().map(|entry| entry.step).collect::<Vec<_>>(), [0, 100]);
        let entry = log.at(100).unwrap();
        assert_eq!((entry.held_out_loss, entry.icl.unwrap().score), (Some(5.5), -0.5));
        assert_eq!((entry.heads[0].head, entry.heads[0].induction), (2, Some(0.75)));
        assert_eq!((log.at(0).unwrap().repeat_gain, log.at(50)), (None, None));
    }

    #[test]
    fn what_was_measured_is_read_as_it_was_written() {
        let (first, last) = (Head::new(0, 0), Head::new(1, 1));
        let mut known = HeadScores::default();
        known.set(Score::Induction, 0.1);
        known.set(Score::Previous, 1.0 / 3.0);
        known.set(Score::Sink, 0.5);
        let scores = PerHead::from_fn(2, 2, |head| if head == last { known } else { HeadScores::default() });
        let measured = Measured {
            step: 7,
            source: Source::Here,
            length: Some(19),
            scores,
            gain: Some(0.3),
            held_out: Some(5.7),
            icl: Some(Icl { early: 13, late: 125, score: -0.1 }),
            ..Measured::default()
        };
        let entry = Entry { tokens: 3, train_loss: Some(6.5), ..Entry::new(&measured) };
        let line = entry.line().unwrap();
        assert!(
            line.starts_with(r#"{"schema_version":1,"step":7,"tokens":3,"train_loss":6.5,"held_out"#),
            "{line}"
        );
        let log = Log::parse(&line);
        let read = log.at(7).unwrap().measured(2, 2);
        assert_eq!(read.scores[last].get(Score::Previous), 1.0 / 3.0);
        assert!(
            read.scores[last].get(Score::Sink).is_nan() && read.scores[first].get(Score::Induction).is_nan()
        );
        assert_eq!((read.source, read.length, read.gain), (Source::Log, Some(19), Some(0.3)));
        assert_eq!((read.held_out, read.icl), (measured.held_out, measured.icl));
        // Another model has no such head.
        assert!(log.at(7).unwrap().measured(0, 2).scores.is_empty());
        // Of what is not read, anything may stand there.
        assert_eq!(Log::parse(&line.replace("6.5", "\"low\"")).trouble, None);
    }

    #[test]
    fn a_half_written_line_and_broken_ones_are_skipped_and_told() {
        let good = LINE.replace('\n', "");
        let growing = Log::parse(&format!("{good}\n{}", &good[..40]));
        assert_eq!(growing.entries.len(), 1);
        assert!(growing.trouble.unwrap().contains("last line is not finished"));
        let broken = Log::parse(&format!("{good}\n\0\0\n{{\"step\":-1}}\n{{\"step\":7}}\n"));
        assert_eq!(broken.entries.len(), 2);
        assert!(broken.trouble.unwrap().contains("2 of 4 lines"), "the first is line 2");
        // A line that is whole but for its end is taken.
        assert_eq!(Log::parse(&good).trouble, None);
    }

    #[test]
    fn of_two_lines_of_a_step_the_last_holds() {
        let log = Log::parse("{\"step\":5,\"repeat_gain\":1}\n{\"step\":5,\"repeat_gain\":2}\n");
        assert_eq!(log.entries.len(), 1);
        assert_eq!(log.at(5).unwrap().repeat_gain, Some(2.0));
    }
}
