//! A ranking of heads, as a table for reading, as JSON and as CSV.

use std::fmt::{self, Write};

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    analysis::{
        benchmark::Kind,
        rank::{self, Moved},
        score::{HeadScores, Score},
    },
    engine::protocol::ModelInfo,
    head::Head,
    text::{count, line},
};

/// How the benchmark was run, everything settled: what a rerun needs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// Tokens in the block that is repeated.
    pub length: usize,
    /// Number of sequences.
    pub batch: usize,
    /// How many sequences of each kind were measured.
    #[serde(serialize_with = "as_map")]
    pub draws: [(Kind, usize); Kind::ALL.len()],
    /// Seed of the draw.
    pub seed: u64,
    /// Whether each sequence began with BOS.
    pub bos: bool,
    /// The lowest and the highest token id that could be drawn.
    pub vocabulary: (u32, u32),
    /// The score that heads are sorted by.
    pub by: Score,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { length, batch, seed, bos, .. } = self;
        let bos = if *bos { "BOS, then " } else { "" };
        write!(f, "{bos}{length} random tokens, twice; {batch} sequences, seed {seed}")
    }
}

fn as_map<S: Serializer>(draws: &[(Kind, usize)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(draws.iter().map(|(kind, count)| (kind, count)))
}

/// A ranking to be printed.
pub struct Ranking<'a> {
    model: &'a ModelInfo,
    settings: Settings,
    heads: Vec<(Head, HeadScores)>,
    moves: Option<Moved>,
}

impl<'a> Ranking<'a> {
    /// Sorts the heads, highest score first and heads of equal score in their order in the model; scores that are not
    /// numbers come last. `scores` is `[layer * heads + head]`; `top` keeps that many.
    pub fn new(model: &'a ModelInfo, settings: Settings, scores: &[HeadScores], top: Option<usize>) -> Self {
        let name = |index: usize| Head::new(index / model.heads.max(1), index % model.heads.max(1));
        let order = rank::order(scores, settings.by);
        let mut heads: Vec<_> = order.into_iter().map(|index| (name(index), scores[index])).collect();
        heads.truncate(top.unwrap_or(usize::MAX));
        Self { model, settings, heads, moves: None }
    }

    /// The same with what rounding the weights did to it.
    pub fn with_moves(self, moves: Moved) -> Self {
        Self { moves: Some(moves), ..self }
    }

    /// The head of an index into the scores.
    fn head(&self, index: usize) -> Head {
        Head::new(index / self.model.heads.max(1), index % self.model.heads.max(1))
    }

    /// Aligned columns under two lines that say what was measured; a score that is no number is a dash.
    pub fn table(&self) -> String {
        let Self { model, settings, .. } = self;
        let mut out = heading(model);
        let _ = writeln!(out, "{settings}; sorted by {}", settings.by.name());
        if let Some(moves) = &self.moves {
            let _ = writeln!(
                out,
                "weights rounded to {}: against f32 no score moved more than {:.4} ({} of {}); {} of its first {} heads are \
                 among the first {} here",
                model.dtype,
                moves.largest,
                moves.score.name(),
                self.head(moves.head),
                moves.same,
                moves.of,
                moves.of
            );
        }
        out.push('\n');
        let _ = write!(out, "{:>4}  {:<7}", "rank", "head");
        for (name, width) in columns() {
            let _ = write!(out, "  {name:>width$}");
        }
        out.push('\n');
        for (place, (head, scores)) in self.heads.iter().enumerate() {
            let _ = write!(out, "{:>4}  {head:<7}", place + 1);
            for ((_, width), value) in columns().zip(values(scores)) {
                let _ = match value.is_nan() {
                    true => write!(out, "  {:>width$}", "-"),
                    false => write!(out, "  {value:>width$.3}"),
                };
            }
            out.push('\n');
        }
        out
    }

    /// One JSON object on one line; its form is part of the command line's contract.
    pub fn json(&self) -> serde_json::Result<String> {
        let heads = self.heads.iter().map(|(head, scores)| HeadRow(*head, scores)).collect();
        let rounding = self.moves.as_ref().map(|moves| {
            let head = self.head(moves.head);
            Rounding { moves, layer: head.layer, head: head.head }
        });
        let (model, settings) = (Model(self.model), &self.settings);
        let report = Report { schema_version: 1, model, settings, rounding, heads };
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// A heading and one row a head, in rank order; a score that is no number is empty.
    pub fn csv(&self) -> String {
        let names: Vec<_> = columns().map(|(name, _)| name).collect();
        let mut out = format!("rank,layer,head,{}\n", names.join(","));
        for (place, (head, scores)) in self.heads.iter().enumerate() {
            let _ = write!(out, "{},{},{}", place + 1, head.layer, head.head);
            for value in values(scores) {
                let _ = match value.is_nan() {
                    true => write!(out, ","),
                    false => write!(out, ",{value}"),
                };
            }
            out.push('\n');
        }
        out
    }
}

/// The first line of a table: which model it is about.
pub(super) fn heading(model: &ModelInfo) -> String {
    format!(
        "{} ({}) · {} x {} · {} {}\n",
        line(&model.name),
        line(&model.source),
        count(model.layers, "layer"),
        count(model.heads, "head"),
        model.device,
        model.dtype
    )
}

/// Names and widths of the number columns: every score, the chance level of the first beside it.
pub(super) fn columns() -> impl Iterator<Item = (&'static str, usize)> {
    let (first, rest) = (Score::ALL[0].name(), &Score::ALL[1..]);
    [first, "chance"]
        .into_iter()
        .chain(rest.iter().map(|score| score.name()))
        .map(|name| (name, name.len().max(6)))
}

/// The numbers in the order of [`columns`].
pub(super) fn values(scores: &HeadScores) -> impl Iterator<Item = f32> {
    let rest = Score::ALL[1..].iter().map(|score| scores.get(*score));
    [scores.get(Score::ALL[0]), scores.chance].into_iter().chain(rest)
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    model: Model<'a>,
    settings: &'a Settings,
    #[serde(skip_serializing_if = "Option::is_none")]
    rounding: Option<Rounding<'a>>,
    heads: Vec<HeadRow<'a>>,
}

/// What rounding the weights did, in JSON.
#[derive(Serialize)]
struct Rounding<'a> {
    #[serde(flatten)]
    moves: &'a Moved,
    layer: usize,
    head: usize,
}

/// The model's identity, as every report's JSON has it.
pub(super) struct Model<'a>(pub &'a ModelInfo);

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let model = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &model.name)?;
        map.serialize_entry("source", &model.source)?;
        map.serialize_entry("family", &model.family)?;
        map.serialize_entry("layers", &model.layers)?;
        map.serialize_entry("heads", &model.heads)?;
        map.serialize_entry("kv_heads", &model.kv_heads)?;
        map.serialize_entry("width", &model.width)?;
        map.serialize_entry("vocabulary", &model.vocabulary)?;
        map.serialize_entry("context", &model.context)?;
        map.serialize_entry("parameters", &model.parameters)?;
        map.serialize_entry("dtype", &model.dtype)?;
        map.serialize_entry("device", &model.device)?;
        map.end()
    }
}

/// A head with its numbers; one that is not a number is written as null.
pub(super) struct HeadRow<'a>(pub Head, pub &'a HeadScores);

impl Serialize for HeadRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("layer", &self.0.layer)?;
        map.serialize_entry("head", &self.0.head)?;
        for ((name, _), value) in columns().zip(values(self.1)) {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelInfo {
        ModelInfo {
            name: "tiny".into(),
            source: "embedded".into(),
            family: "llama".into(),
            layers: 2,
            heads: 2,
            kv_heads: 1,
            width: 8,
            vocabulary: 100,
            context: 64,
            parameters: 1234,
            dtype: "f32".into(),
            device: "cpu".into(),
            has_tokenizer: true,
            bos: Some(1),
            block: 50,
        }
    }

    fn settings(by: Score) -> Settings {
        Settings {
            length: 50,
            batch: 4,
            draws: Kind::ALL.map(|kind| (kind, if kind == Kind::Repeat { 4 } else { 1 })),
            seed: 0,
            bos: true,
            vocabulary: (3, 100),
            by,
        }
    }

    fn scores() -> Vec<HeadScores> {
        [0.25, f32::NAN, 0.912_34, 0.25]
            .into_iter()
            .map(|value| {
                let mut scores = HeadScores::default();
                scores.chance = 0.02;
                scores.set(Score::Induction, value);
                scores.set(Score::Previous, 1.0 - value);
                scores
            })
            .collect()
    }

    fn order(by: Score, top: Option<usize>) -> Vec<String> {
        let model = model();
        let ranking = Ranking::new(&model, settings(by), &scores(), top);
        ranking.heads.iter().map(|(head, _)| head.to_string()).collect()
    }

    #[test]
    fn the_best_come_first_and_what_is_no_number_last() {
        assert_eq!(order(Score::Induction, None), ["1.0", "0.0", "1.1", "0.1"]);
        assert_eq!(order(Score::Previous, Some(2)), ["0.0", "1.1"]);
    }

    #[test]
    fn the_table_lines_up() {
        let model = model();
        let table = Ranking::new(&model, settings(Score::Induction), &scores(), Some(2)).table();
        insta::assert_snapshot!(table, @r###"
        tiny (embedded) · 2 layers x 2 heads · cpu f32
        BOS, then 50 random tokens, twice; 4 sequences, seed 0; sorted by induction

        rank  head     induction  chance  previous  duplicate    sink    self  entropy  prefix      tl
           1  1.0          0.912   0.020     0.088          -       -       -        -       -       -
           2  0.0          0.250   0.020     0.750          -       -       -        -       -       -
        "###);
    }

    #[test]
    fn json_keeps_its_schema() {
        let model = model();
        let ranking = Ranking::new(&model, settings(Score::Induction), &scores(), None);
        let json = ranking.json().unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["schema_version"], 1);
        assert_eq!(value["settings"]["vocabulary"], serde_json::json!([3, 100]));
        assert_eq!(value["settings"]["by"], "induction");
        assert_eq!(value["model"]["name"], "tiny");
        assert_eq!(value["heads"][0]["layer"], 1);
        assert_eq!(value["heads"][3]["induction"], serde_json::Value::Null);
        assert_eq!(
            value["settings"]["draws"],
            serde_json::json!({"repeat": 4, "control": 1, "prefix": 1, "stripe": 1})
        );
        assert_eq!(value["heads"][0]["self"], serde_json::Value::Null);
        assert!(json.starts_with(r#"{"schema_version":1,"model":{"name":"tiny""#), "{json}");
        assert!(
            json.contains(r#"{"layer":1,"head":0,"induction":0.91234,"chance":0.02,"previous":"#),
            "{json}"
        );
    }

    #[test]
    fn csv_has_a_heading_and_a_row_a_head() {
        let model = model();
        let csv = Ranking::new(&model, settings(Score::Induction), &scores(), Some(1)).csv();
        insta::assert_snapshot!(csv, @r###"
        rank,layer,head,induction,chance,previous,duplicate,sink,self,entropy,prefix,tl
        1,1,0,0.91234,0.02,0.087660015,,,,,,
        "###);
    }
}
