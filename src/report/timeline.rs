//! A run's timeline, as a table for reading, as JSON and as CSV.

use std::fmt::Write;

use serde::Serialize;

use super::{
    rank::{HeadRow, Model, Settings, columns, values},
    table::{Align, aligned},
};
use crate::{
    analysis::{
        rank,
        score::Score,
        timeline::{self, Point, Window},
    },
    engine::protocol::ModelInfo,
    head::Head,
    text::line,
};

/// Heads that the table shows.
const SHOWN: usize = 4;

/// A timeline to be printed.
pub struct Timeline<'a> {
    /// The last snapshot, for which the run is named.
    pub model: &'a ModelInfo,
    /// What opened each snapshot, in the order of the points.
    pub sources: &'a [String],
    /// How the benchmark was run.
    pub settings: &'a Settings,
    /// The snapshots, in the order of their steps.
    pub points: &'a [Point],
}

impl Timeline<'_> {
    /// One row a snapshot: the repeat gain, the best of the score and of `previous`, and the heads that end up best.
    pub fn table(&self) -> String {
        let Self { model, settings, points, .. } = self;
        let mut out = format!(
            "{} · {} layers x {} heads · {} snapshots · {}\n",
            line(&model.name),
            model.layers,
            model.heads,
            points.len(),
            model.device
        );
        let _ = writeln!(out, "{settings}; gain in nats per token\n");
        let heads = self.best_heads();
        let best = [format!("best {}", settings.by.name()), "best previous".to_owned()];
        let heading = ["step".to_owned(), "gain".to_owned()]
            .into_iter()
            .chain(best)
            .chain(heads.iter().map(|&head| self.head(head).to_string()))
            .collect();
        let rows = points.iter().map(|point| self.row(point, &heads));
        out.push_str(&aligned(std::iter::once(heading).chain(rows), |_| Align::Right));
        out.push_str(&self.findings(&heads));
        out
    }

    fn row(&self, point: &Point, heads: &[usize]) -> Vec<String> {
        let by = self.settings.by;
        let numbers = [point.repeat.gain(), point.best(by), point.best(Score::Previous)];
        let scores = heads.iter().map(|&head| point.scores[head].get(by));
        std::iter::once(point.step.to_string())
            .chain(numbers.into_iter().chain(scores).map(|value| format!("{value:.3}")))
            .collect()
    }

    /// The window of the change and when each of the heads began, in words.
    fn findings(&self, heads: &[usize]) -> String {
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
            if let Some(step) = timeline::onset(&timeline::curve(self.points, head, self.settings.by)) {
                let _ = writeln!(out, "{} {by} begins at step {step}", self.head(head));
            }
        }
        out
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        let points = self.points.iter().zip(self.sources).map(|(point, source)| Row {
            step: point.step,
            source,
            repeat: Repeat {
                first: point.repeat.first,
                second: point.repeat.second,
                gain: point.repeat.gain(),
            },
            heads: point
                .scores
                .iter()
                .enumerate()
                .map(|(at, scores)| HeadRow(self.head(at), scores))
                .collect(),
        });
        let by = self.settings.by;
        let onsets = (0..self.heads()).filter_map(|at| {
            let head = self.head(at);
            let step = timeline::onset(&timeline::curve(self.points, at, by))?;
            Some(Onset { layer: head.layer, head: head.head, step })
        });
        let report = Report {
            schema_version: 1,
            model: Model(self.model),
            settings: self.settings,
            window: self.window().map(|window| [window.from, window.to]),
            onsets: onsets.collect(),
            points: points.collect(),
        };
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// A heading and one row for each head of each snapshot.
    pub fn csv(&self) -> String {
        let names: Vec<_> = columns().map(|(name, _)| name).collect();
        let mut out = format!("step,first_loss,second_loss,gain,layer,head,{}\n", names.join(","));
        for point in self.points {
            let repeat = point.repeat;
            for (at, scores) in point.scores.iter().enumerate() {
                let Head { layer, head } = self.head(at);
                let _ = write!(out, "{},{},{},{}", point.step, repeat.first, repeat.second, repeat.gain());
                let _ = write!(out, ",{layer},{head}");
                for value in values(scores) {
                    let _ = if value.is_nan() { write!(out, ",") } else { write!(out, ",{value}") };
                }
                out.push('\n');
            }
        }
        out
    }

    fn window(&self) -> Option<Window> {
        let best = |point: &Point| (point.step, point.best(self.settings.by));
        timeline::window(&self.points.iter().map(best).collect::<Vec<_>>())
    }

    /// The heads that score best in the last snapshot.
    fn best_heads(&self) -> Vec<usize> {
        let last = self.points.last().map_or(&[][..], |point| &point.scores);
        rank::order(last, self.settings.by).into_iter().take(SHOWN).collect()
    }

    fn heads(&self) -> usize {
        self.points.first().map_or(0, |point| point.scores.len())
    }

    fn head(&self, at: usize) -> Head {
        Head::new(at / self.model.heads.max(1), at % self.model.heads.max(1))
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: Model<'a>,
    settings: &'a Settings,
    /// The steps between which the best score changes.
    window: Option<[u64; 2]>,
    /// When heads begin to have the score that the timeline is about.
    onsets: Vec<Onset>,
    points: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Onset {
    layer: usize,
    head: usize,
    step: u64,
}

#[derive(Serialize)]
struct Row<'a> {
    step: u64,
    source: &'a str,
    repeat: Repeat,
    heads: Vec<HeadRow<'a>>,
}

#[derive(Serialize)]
struct Repeat {
    first: f32,
    second: f32,
    gain: f32,
}
