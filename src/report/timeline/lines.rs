//! A timeline as lines of JSON, one for each snapshot, that are read again: what shares of a run have measured is merged.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Point, Row, Text};
use crate::{
    analysis::{
        loss::{self, Icl, TextLoss},
        score::{HeadScores, Score},
    },
    engine::protocol::ModelInfo,
    head::{Head, PerHead},
    report::rank::{Model, Settings},
    run::{Measured, Shard, Source},
};

/// What the lines mean.
const SCHEMA_VERSION: u32 = 1;

/// Where a snapshot is in its run, and whose share it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its place among the snapshots of the run, from 0.
    pub place: usize,
    /// Snapshots of the run.
    pub of: usize,
    /// The share that had it.
    pub shard: Shard,
    /// Its step.
    pub step: u64,
}

/// A snapshot that was measured, with all that a report of the run needs.
#[derive(Clone)]
pub struct Part {
    /// What was measured.
    pub point: Point,
    /// The model.
    pub model: ModelInfo,
    /// How it was measured.
    pub settings: Settings,
    /// The text that it was measured on, windows of it, and the tokens in each.
    pub text: Option<(PathBuf, usize, usize)>,
}

/// The line of a snapshot, or of why it was left out.
///
/// # Errors
/// Those of serde.
pub fn line(place: Place, part: Result<&Part, &str>) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema_version: u32,
        #[serde(flatten)]
        place: Place,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none", flatten)]
        measured: Option<Whole<'a>>,
    }
    #[derive(Serialize)]
    struct Whole<'a> {
        model: Model<'a>,
        settings: &'a Settings,
        text: Option<Text<'a>>,
        point: Row<'a>,
        /// The score of `icl`, in letters: who reads a number of JSON may round its last digit.
        icl: Option<String>,
    }
    let measured = part.ok().map(|part| Whole {
        model: Model(&part.model),
        settings: &part.settings,
        text: part.text.as_ref().map(|(file, windows, tokens)| Text {
            file,
            windows: *windows,
            tokens: *tokens,
        }),
        point: Row::of(&part.point),
        icl: part.point.measured.icl.map(|icl| icl.score.to_string()),
    });
    let line = Line { schema_version: SCHEMA_VERSION, place, left_out: part.err(), measured };
    serde_json::to_string(&line).map(|line| line + "\n")
}

/// A line that was read.
#[derive(Clone, Deserialize)]
pub struct Read {
    /// Where the snapshot is.
    #[serde(flatten)]
    pub place: Place,
    /// Why nothing was measured of it.
    pub left_out: Option<String>,
    model: Option<Identity>,
    settings: Option<Settings>,
    text: Option<TextOf>,
    /// What was measured, as it was written.
    pub point: Option<Value>,
    icl: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Identity {
    name: String,
    source: String,
    family: String,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
    vocabulary: usize,
    context: usize,
    parameters: u64,
    dtype: String,
    device: String,
}

#[derive(Clone, Deserialize)]
struct TextOf {
    file: PathBuf,
    windows: usize,
    tokens: usize,
}

#[derive(Deserialize)]
struct PointOf {
    source: String,
    held_out_loss: Option<f32>,
    icl: Option<Icl>,
    text: Option<LossesOf>,
    repeat: RepeatOf,
    heads: Vec<HeadOf>,
}

#[derive(Deserialize)]
struct LossesOf {
    /// They are means of single precision.
    by_token: Vec<f32>,
}

#[derive(Deserialize)]
struct RepeatOf {
    first: Option<f32>,
    second: Option<f32>,
    gain: Option<f32>,
}

#[derive(Deserialize)]
struct HeadOf {
    errors: Map<String, Value>,
    #[serde(flatten)]
    scores: Map<String, Value>,
}

impl Read {
    /// Reads a line.
    ///
    /// # Errors
    /// When it is no line of a timeline.
    pub fn of(line: &str) -> serde_json::Result<Self> {
        serde_json::from_str(line)
    }

    /// What was measured; `None` where nothing was.
    ///
    /// # Errors
    /// When something of it is missing.
    pub fn part(self) -> serde_json::Result<Option<Part>> {
        let (Some(of), Some(settings), Some(point)) = (self.model, self.settings, self.point) else {
            return Ok(None);
        };
        let model = ModelInfo {
            name: of.name,
            source: of.source,
            family: of.family,
            layers: of.layers,
            heads: of.heads,
            kv_heads: of.kv_heads,
            width: of.width,
            vocabulary: of.vocabulary,
            context: of.context,
            parameters: of.parameters,
            dtype: of.dtype,
            device: of.device,
            has_tokenizer: false,
            bos: None,
            block: settings.length,
        };
        let point: PointOf = serde_json::from_value(point)?;
        let exact =
            |icl: Icl| Icl { score: self.icl.and_then(|text| text.parse().ok()).unwrap_or(icl.score), ..icl };
        let repeat = point.repeat.first.zip(point.repeat.second);
        let (scores, errors): (Vec<_>, Vec<_>) =
            point.heads.iter().map(|head| (numbers(&head.scores), numbers(&head.errors))).unzip();
        let text = point.text.and_then(|text| {
            let by_token: Vec<f64> = text.by_token.into_iter().map(f64::from).collect();
            Icl::of(&by_token).map(|icl| TextLoss { by_token, icl })
        });
        let measured = Measured {
            step: self.place.step,
            source: Source::Here,
            length: Some(settings.length),
            scores: PerHead::new(model.heads, scores),
            errors: PerHead::new(model.heads, errors),
            repeat: repeat.map(|(first, second)| loss::Repeat { first, second }),
            gain: point.repeat.gain,
            held_out: point.held_out_loss,
            icl: point.icl.map(exact),
        };
        let point = Point { measured, source: point.source, text };
        let text = self.text.map(|text| (text.file, text.windows, text.tokens));
        Ok(Some(Part { point, model, settings, text }))
    }
}

/// The numbers of a head by their names; those that are missing are no numbers.
fn numbers(named: &Map<String, Value>) -> HeadScores {
    let number = |name: &str| named.get(name).and_then(Value::as_f64).map_or(f32::NAN, |value| value as f32);
    let mut scores = HeadScores::default();
    Score::ALL.into_iter().for_each(|score| scores.set(score, number(score.name())));
    scores.chance = number("chance");
    scores
}

/// Whether the heads that were written are all that the model has, in its order.
pub fn is_whole(part: &Part) -> bool {
    let all = part.model.layers.checked_mul(part.model.heads);
    let last = Head::new(part.model.layers.saturating_sub(1), part.model.heads.saturating_sub(1));
    Some(part.point.measured.scores.len()) == all && part.point.measured.scores.get(last).is_some()
}
