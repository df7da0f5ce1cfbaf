//! A run's timeline, as a table for reading, as JSON, as CSV and as a picture.

mod figure;
pub mod lines;

use std::{fmt::Write, path::Path};

use serde::Serialize;

use super::{
    rank::{HeadRow, Model, Settings, columns, values},
    table::{Align, aligned},
};
use crate::{
    analysis::{
        loss::{Icl, TextLoss},
        rank,
        score::Score,
        timeline::{self, Window},
    },
    engine::protocol::ModelInfo,
    head::Head,
    run::Measured,
    text::{count, line},
};

/// Heads that the table shows.
const SHOWN: usize = 4;

/// A snapshot of the timeline.
#[derive(Clone)]
pub struct Point {
    /// What was measured, with what was logged while it was trained.
    pub measured: Measured,
    /// What opened it.
    pub source: String,
    /// Losses on the text of `--text`.
    pub text: Option<TextLoss>,
}

/// The text that was measured on: what a rerun needs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Text<'a> {
    /// Its file.
    pub file: &'a Path,
    /// Windows of it.
    pub windows: usize,
    /// Tokens in each.
    pub tokens: usize,
}

/// A timeline to be printed.
pub struct Timeline<'a> {
    /// The last snapshot, for which the run is named.
    pub model: &'a ModelInfo,
    /// How the benchmark was run.
    pub settings: &'a Settings,
    /// The text that was measured on, where one was.
    pub text: Option<Text<'a>>,
    /// The snapshots, in the order of their steps.
    pub points: &'a [Point],
}

/// A column of the table: its heading and its cell for each snapshot.
type Column = (String, Vec<String>);

impl Timeline<'_> {
    /// One row a snapshot: the losses that are known, the best of the score and of `previous`, and the heads that end up
    /// best.
    pub fn table(&self) -> String {
        let Self { model, settings, points, .. } = self;
        let mut out = format!(
            "{} · {} x {} · {} · {}\n",
            line(&model.name),
            count(model.layers, "layer"),
            count(model.heads, "head"),
            count(points.len(), "snapshot"),
            model.device
        );
        let _ = write!(out, "{settings}; losses in nats per token");
        if let Some(Text { file, windows, tokens }) = self.text {
            let file = line(&file.display().to_string());
            let _ = write!(out, "; text: {windows} windows of {tokens} tokens of {file}");
        }
        out.push_str("\n\n");
        let heads = self.best_heads();
        let columns = self.columns(&heads);
        let heading = columns.iter().map(|column| column.0.clone()).collect();
        let rows = (0..points.len()).map(|at| columns.iter().map(|column| column.1[at].clone()).collect());
        out.push_str(&aligned(std::iter::once(heading).chain(rows), |_| Align::Right));
        out.push_str(&self.findings(&heads));
        out
    }

    /// The columns of the table; those of which nothing is known are left out.
    fn columns(&self, heads: &[Head]) -> Vec<Column> {
        let by = self.settings.by;
        let number = |value: Option<f32>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let column = |name: &str, value: &dyn Fn(&Point) -> Option<f32>| {
            let known = self.points.iter().any(|point| value(point).is_some());
            known.then(|| (name.to_owned(), self.points.iter().map(|point| number(value(point))).collect()))
        };
        let named = |icl: &dyn Fn(&Point) -> Option<Icl>| self.points.iter().find_map(icl).map(Icl::name);
        let in_text = |point: &Point| point.text.as_ref().map(|text| text.icl);
        let steps = self.points.iter().map(|point| point.measured.step.to_string()).collect();
        let mut columns = vec![Some(("step".to_owned(), steps))];
        columns.push(column("held-out", &|point| point.measured.held_out));
        let name = named(&|point| point.measured.icl).unwrap_or_default();
        columns.push(column(&name, &|point| Some(point.measured.icl?.score as f32)));
        columns.push(column("text", &|point| Some(point.text.as_ref()?.mean() as f32)));
        let name = format!("text {}", named(&in_text).unwrap_or_default());
        columns.push(column(&name, &|point| Some(in_text(point)?.score as f32)));
        columns.push(column("gain", &|point| point.measured.gain));
        for score in [by, Score::Previous] {
            let name = format!("best {}", score.name());
            columns.push(column(&name, &|point| timeline::best(&point.measured.scores, score)));
        }
        for &head in heads {
            let name = head.to_string();
            columns.push(column(&name, &|point| point.measured.scores[head].measured(by)));
        }
        columns.into_iter().flatten().collect()
    }

    /// The window of the change and when each of the heads began, in words.
    fn findings(&self, heads: &[Head]) -> String {
        let (mut out, by) = (String::new(), self.settings.by.name());
        let _ = match self.window() {
            Some(Window { from, to }) => {
                writeln!(out, "\nthe change: the best {by} rises between steps {from} and {to}")
            }
            None => writeln!(
                out,
                "\nno change found: the best {by} does not rise by 0.2 over 3 snapshots or more"
            ),
        };
        for &head in heads {
            if let Some(step) = timeline::onset(&self.curve(Some(head))) {
                let _ = writeln!(out, "{head} {by} begins at step {step}");
            }
        }
        out
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        let heads = self.points.first().into_iter().flat_map(|point| point.measured.scores.iter());
        let onsets = heads.filter_map(|(head, _)| {
            let step = timeline::onset(&self.curve(Some(head)))?;
            Some(Onset { head, step })
        });
        let report = Report {
            schema_version: 1,
            model: Model(self.model),
            settings: self.settings,
            text: self.text,
            window: self.window().map(|window| [window.from, window.to]),
            onsets: onsets.collect(),
            points: self.points.iter().map(Row::of).collect(),
        };
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// A heading and one row for each head of each snapshot; what is not known is empty.
    pub fn csv(&self) -> String {
        let names: Vec<_> = columns().map(|(name, _)| name).collect();
        let losses = "held_out_loss,icl,text_loss,text_icl";
        let mut out = format!("step,first_loss,second_loss,gain,layer,head,{},{losses}\n", names.join(","));
        for Point { measured, text, .. } in self.points {
            let Repeat { first, second, gain } = Repeat::of(measured);
            let repeat =
                [first, second, gain].map(|loss| loss.map_or_else(String::new, |loss| loss.to_string()));
            let text = text.as_ref();
            let losses = [
                measured.held_out.map(|loss| loss.to_string()),
                measured.icl.map(|icl| icl.score.to_string()),
                text.map(|text| text.mean().to_string()),
                text.map(|text| text.icl.score.to_string()),
            ]
            .map(Option::unwrap_or_default);
            for (Head { layer, head }, scores) in measured.scores.iter() {
                let _ = write!(out, "{},{},{layer},{head}", measured.step, repeat.join(","));
                for value in values(scores) {
                    let _ = if value.is_nan() { write!(out, ",") } else { write!(out, ",{value}") };
                }
                let _ = writeln!(out, ",{}", losses.join(","));
            }
        }
        out
    }

    /// The score that the timeline is about, of one head or the best of all.
    fn curve(&self, head: Option<Head>) -> Vec<(u64, f32)> {
        let points = self.points.iter().map(|point| (point.measured.step, &point.measured.scores));
        timeline::curve(points, head, self.settings.by)
    }

    fn window(&self) -> Option<Window> {
        timeline::window(&self.curve(None))
    }

    /// The heads that score best in the last snapshot.
    fn best_heads(&self) -> Vec<Head> {
        let order = |point: &Point| rank::order(&point.measured.scores, self.settings.by);
        self.points.last().map(order).into_iter().flatten().take(SHOWN).collect()
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: Model<'a>,
    settings: &'a Settings,
    /// The text of `--text`.
    text: Option<Text<'a>>,
    /// The steps between which the best score changes.
    window: Option<[u64; 2]>,
    /// When heads begin to have the score that the timeline is about.
    onsets: Vec<Onset>,
    points: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Onset {
    #[serde(flatten)]
    head: Head,
    step: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    step: u64,
    source: &'a str,
    /// Of `log.jsonl`.
    held_out_loss: Option<f32>,
    /// Of `log.jsonl`.
    icl: Option<Icl>,
    text: Option<TextRow<'a>>,
    repeat: Repeat,
    heads: Vec<HeadRow<'a>>,
}

impl<'a> Row<'a> {
    fn of(Point { measured, source, text }: &'a Point) -> Self {
        let heads = measured.scores.iter().zip(measured.errors.values());
        let text = text.as_ref();
        Self {
            step: measured.step,
            source,
            held_out_loss: measured.held_out,
            icl: measured.icl,
            text: text.map(|text| TextRow { loss: text.mean(), icl: text.icl, by_token: &text.by_token }),
            repeat: Repeat::of(measured),
            heads: heads.map(|((head, scores), errors)| HeadRow::new(head, scores, errors)).collect(),
        }
    }
}

#[derive(Serialize)]
struct Repeat {
    first: Option<f32>,
    second: Option<f32>,
    gain: Option<f32>,
}

impl Repeat {
    fn of(measured: &Measured) -> Self {
        let (first, second) = measured.repeat.map(|repeat| (repeat.first, repeat.second)).unzip();
        Self { first, second, gain: measured.gain }
    }
}

#[derive(Serialize)]
struct TextRow<'a> {
    loss: f64,
    icl: Icl,
    by_token: &'a [f64],
}
