//! `log.jsonl` of a run, read leniently: it may be written to while it is read, and by other programs.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What was logged, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// In the order of their steps, one a step: of several the last.
    pub entries: Vec<Entry>,
    /// What could not be read, in a line.
    pub trouble: Option<String>,
}

/// A line of the log; every number may be missing. Losses are in nats per token.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Entry {
    /// Training steps done.
    pub step: u64,
    /// Mean loss on text kept from training.
    pub held_out_loss: Option<f32>,
    /// Mean loss on the first copy of a random block minus that on the second.
    pub repeat_gain: Option<f32>,
    /// Tokens in that block.
    pub length: Option<usize>,
    /// In-context learning.
    pub icl: Option<IclEntry>,
    /// Heads, on the same sequences as the gain.
    #[serde(default)]
    pub heads: Vec<HeadEntry>,
}

/// Loss at token `late` of a window minus that at token `early`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct IclEntry {
    pub early: usize,
    pub late: usize,
    pub score: f64,
}

/// The scores of a head, as `rank` defines them.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[allow(missing_docs)]
pub struct HeadEntry {
    pub layer: usize,
    pub head: usize,
    pub induction: Option<f32>,
    pub previous: Option<f32>,
    pub duplicate: Option<f32>,
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
