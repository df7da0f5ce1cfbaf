//! A ranking of heads, as a table for reading, as JSON and as CSV.

use std::fmt::{self, Write};

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::SerializeMap};

use crate::{
    analysis::{
        benchmark::Kind,
        doubt::{Doubt, Ranks},
        rank::{self, Moved},
        score::{HeadScores, Score},
    },
    engine::protocol::ModelInfo,
    head::{Head, PerHead},
    text::{count, line},
};

/// How the benchmark was run, everything settled: what a rerun needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Tokens in the block that is repeated.
    pub length: usize,
    /// Number of sequences.
    pub batch: usize,
    /// How many sequences of each kind were measured.
    #[serde(serialize_with = "as_map", deserialize_with = "from_map")]
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
        write!(f, "{bos}{length} random tokens, twice; {}, seed {seed}", count(*batch, "sequence"))
    }
}

fn as_map<S: Serializer>(draws: &[(Kind, usize)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(draws.iter().map(|(kind, count)| (kind, count)))
}

fn from_map<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[(Kind, usize); Kind::ALL.len()], D::Error> {
    #[derive(Deserialize)]
    struct Draws {
        repeat: usize,
        control: usize,
        prefix: usize,
        stripe: usize,
    }
    let draws = Draws::deserialize(deserializer)?;
    Ok(Kind::ALL.map(|kind| match kind {
        Kind::Repeat => (kind, draws.repeat),
        Kind::Control => (kind, draws.control),
        Kind::Prefix => (kind, draws.prefix),
        Kind::Stripe => (kind, draws.stripe),
    }))
}

/// A ranking to be printed.
pub struct Ranking<'a> {
    model: &'a ModelInfo,
    settings: Settings,
    heads: Vec<Ranked>,
    /// Those that may be first.
    firsts: Vec<Head>,
    moves: Option<Moved>,
    shows_errors: bool,
}

/// A head of a ranking.
struct Ranked {
    head: Head,
    scores: HeadScores,
    errors: HeadScores,
    /// The ranks that it may have, where that is known.
    ranks: Option<Ranks>,
}

/// Heads that the heading of a table names.
const NAMED: usize = 5;

impl<'a> Ranking<'a> {
    /// Sorts the heads, highest score first and heads of equal score in their order in the model; scores that are not
    /// numbers come last. `top` keeps that many.
    pub fn new(
        model: &'a ModelInfo,
        settings: Settings,
        scores: &PerHead<HeadScores>,
        doubts: &PerHead<Doubt>,
        top: Option<usize>,
    ) -> Self {
        let ranked = |head: Head| Ranked {
            head,
            scores: scores[head],
            errors: doubts[head].errors,
            ranks: doubts[head].ranks(settings.by),
        };
        let mut heads: Vec<_> = rank::order(scores, settings.by).into_iter().map(ranked).collect();
        let may_be_first = |head: &&Ranked| head.ranks.is_some_and(|ranks| ranks.low == 1);
        let firsts = heads.iter().filter(may_be_first).map(|head| head.head).collect();
        heads.truncate(top.unwrap_or(usize::MAX));
        Self { model, settings, heads, firsts, moves: None, shows_errors: false }
    }

    /// The same with what rounding the weights did to it.
    pub fn with_moves(self, moves: Moved) -> Self {
        Self { moves: Some(moves), ..self }
    }

    /// The same with standard errors in the table and in CSV, where `shown`; JSON always has them.
    pub fn with_errors(self, shown: bool) -> Self {
        Self { shows_errors: shown, ..self }
    }

    /// Aligned columns under lines that say what was measured; a score that is no number is a dash. The rank is a range where
    /// heads cannot be told apart; standard errors stand below their scores.
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
                moves.head,
                moves.same,
                moves.of,
                moves.of
            );
        }
        out.push_str(&self.doubt_about_the_first());
        out.push('\n');
        let ranks: Vec<String> = self.heads.iter().enumerate().map(rank_of).collect();
        let wide = ranks.iter().map(String::len).max().unwrap_or(0).max(4);
        let _ = write!(out, "{:>wide$}  {:<7}", "rank", "head");
        for (name, width) in columns() {
            let _ = write!(out, "  {name:>width$}");
        }
        out.push('\n');
        for (rank, Ranked { head, scores, errors, .. }) in ranks.iter().zip(&self.heads) {
            let _ = write!(out, "{rank:>wide$}  {head:<7}");
            write_cells(&mut out, scores, "");
            if self.shows_errors {
                let _ = write!(out, "{:>wide$}  {:<7}", "", "");
                write_cells(&mut out, errors, "±");
            }
        }
        out
    }

    /// A line about which heads may be first, where several may; no two of them are told apart. Of one sequence nothing is
    /// known about that.
    fn doubt_about_the_first(&self) -> String {
        let kind = Kind::of(self.settings.by);
        if self.settings.draws.contains(&(kind, 1)) {
            return "one sequence does not say which heads can be told apart: --batch 4 does\n".into();
        }
        if self.firsts.len() < 2 {
            return String::new();
        }
        let named: Vec<String> = self.firsts.iter().take(NAMED).map(Head::to_string).collect();
        let more = match self.firsts.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!(
            "{} do not tell apart {}{more} (95%): any may be first; more sequences (--batch, --until) may tell\n",
            count(self.settings.batch, "sequence"),
            named.join(", "),
        )
    }

    /// One JSON object on one line; its form is part of the command line's contract.
    pub fn json(&self) -> serde_json::Result<String> {
        let heads = self.heads.iter().map(RankedRow::from).collect();
        let (model, settings) = (Model(self.model), &self.settings);
        let report = Report { schema_version: 1, model, settings, rounding: self.moves.as_ref(), heads };
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// A heading and one row a head, in rank order; a score that is no number is empty.
    pub fn csv(&self) -> String {
        let mut names: Vec<String> = columns().map(|(name, _)| name.to_owned()).collect();
        if self.shows_errors {
            names.extend(columns().map(|(name, _)| format!("{name}_error")));
            names.extend(["rank_low".to_owned(), "rank_high".to_owned()]);
        }
        let mut out = format!("rank,layer,head,{}\n", names.join(","));
        for (place, Ranked { head, scores, errors, ranks }) in self.heads.iter().enumerate() {
            let _ = write!(out, "{},{},{}", place + 1, head.layer, head.head);
            let numbers = values(scores).chain(values(errors).filter(|_| self.shows_errors));
            for value in numbers {
                let _ = if value.is_nan() { write!(out, ",") } else { write!(out, ",{value}") };
            }
            if self.shows_errors {
                let _ = match ranks {
                    Some(Ranks { low, high }) => write!(out, ",{low},{high}"),
                    None => write!(out, ",,"),
                };
            }
            out.push('\n');
        }
        out
    }
}

/// The rank at a place of the list: the ranks that the head may have, where they are known.
fn rank_of((place, head): (usize, &Ranked)) -> String {
    head.ranks.unwrap_or(Ranks::one(place + 1)).to_string()
}

/// The rest of a table's row: a number in each of [`columns`], or a dash for none.
fn write_cells(out: &mut String, numbers: &HeadScores, sign: &str) {
    for ((_, width), value) in columns().zip(values(numbers)) {
        let cell = if value.is_nan() { "-".to_owned() } else { format!("{sign}{value:.3}") };
        let _ = write!(out, "  {cell:>width$}");
    }
    out.push('\n');
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
    rounding: Option<&'a Moved>,
    heads: Vec<RankedRow<'a>>,
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

/// A head with its scores and their standard errors.
#[derive(Serialize)]
pub(super) struct HeadRow<'a> {
    #[serde(flatten)]
    head: Head,
    #[serde(flatten)]
    scores: Numbers<'a>,
    errors: Numbers<'a>,
}

impl<'a> HeadRow<'a> {
    pub const fn new(head: Head, scores: &'a HeadScores, errors: &'a HeadScores) -> Self {
        Self { head, scores: Numbers(scores), errors: Numbers(errors) }
    }
}

/// The same with the ranks that it may have.
#[derive(Serialize)]
struct RankedRow<'a> {
    #[serde(flatten)]
    row: HeadRow<'a>,
    rank_low: Option<usize>,
    rank_high: Option<usize>,
}

impl<'a> From<&'a Ranked> for RankedRow<'a> {
    fn from(Ranked { head, scores, errors, ranks }: &'a Ranked) -> Self {
        let row = HeadRow::new(*head, scores, errors);
        Self { row, rank_low: ranks.map(|ranks| ranks.low), rank_high: ranks.map(|ranks| ranks.high) }
    }
}

/// A number for each of [`columns`]; one that is not a number is written as null.
struct Numbers<'a>(&'a HeadScores);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(columns().map(|(name, _)| name).zip(values(self.0)))
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

    fn scores() -> PerHead<HeadScores> {
        PerHead::new(2, vec![0.25, f32::NAN, 0.912_34, 0.25]).map(|&value| {
            let mut scores = HeadScores::default();
            scores.chance = 0.02;
            scores.set(Score::Induction, value);
            scores.set(Score::Previous, 1.0 - value);
            scores
        })
    }

    /// The first three heads by induction may change places, of which two may be first.
    fn doubts() -> PerHead<Doubt> {
        PerHead::new(2, vec![(2, 4), (4, 4), (1, 2), (1, 3)]).map(|&(low, high)| {
            let mut doubt = Doubt::default();
            doubt.errors.set(Score::Induction, 0.012_34);
            doubt.errors.set(Score::Previous, 0.001);
            doubt.set_ranks(Score::Induction, Some(Ranks { low, high }).filter(|_| low < 4));
            doubt
        })
    }

    fn ranking(model: &ModelInfo, by: Score, top: Option<usize>) -> Ranking<'_> {
        Ranking::new(model, settings(by), &scores(), &doubts(), top)
    }

    fn order(by: Score, top: Option<usize>) -> Vec<String> {
        ranking(&model(), by, top).heads.iter().map(|head| head.head.to_string()).collect()
    }

    #[test]
    fn the_best_come_first_and_what_is_no_number_last() {
        assert_eq!(order(Score::Induction, None), ["1.0", "0.0", "1.1", "0.1"]);
        assert_eq!(order(Score::Previous, Some(2)), ["0.0", "1.1"]);
    }

    #[test]
    fn the_table_lines_up() {
        let model = model();
        insta::assert_snapshot!(ranking(&model, Score::Induction, Some(2)).table(), @r###"
        tiny (embedded) · 2 layers x 2 heads · cpu f32
        BOS, then 50 random tokens, twice; 4 sequences, seed 0; sorted by induction
        4 sequences do not tell apart 1.0, 1.1 (95%): any may be first; more sequences (--batch, --until) may tell

        rank  head     induction  chance  previous  duplicate    sink    self  entropy  prefix      tl
         1-2  1.0          0.912   0.020     0.088          -       -       -        -       -       -
         2-4  0.0          0.250   0.020     0.750          -       -       -        -       -       -
        "###);
        insta::assert_snapshot!(ranking(&model, Score::Previous, Some(2)).with_errors(true).table(), @r###"
        tiny (embedded) · 2 layers x 2 heads · cpu f32
        BOS, then 50 random tokens, twice; 4 sequences, seed 0; sorted by previous

        rank  head     induction  chance  previous  duplicate    sink    self  entropy  prefix      tl
           1  0.0          0.250   0.020     0.750          -       -       -        -       -       -
                          ±0.012       -    ±0.001          -       -       -        -       -       -
           2  1.1          0.250   0.020     0.750          -       -       -        -       -       -
                          ±0.012       -    ±0.001          -       -       -        -       -       -
        "###);
    }

    #[test]
    fn one_sequence_is_said_to_tell_nothing_apart() {
        let model = model();
        let draws = Kind::ALL.map(|kind| (kind, 1));
        let settings = Settings { batch: 1, draws, ..settings(Score::Induction) };
        let doubts = PerHead::from_fn(2, 2, |_| Doubt::default());
        let table = Ranking::new(&model, settings, &scores(), &doubts, None).table();
        let said: Vec<&str> = table.lines().skip(1).take(2).collect();
        assert!(said[0].contains("twice; 1 sequence, seed 0"), "{table}");
        assert!(said[1].starts_with("one sequence does not say"), "{table}");
    }

    #[test]
    fn json_keeps_its_schema() {
        let model = model();
        let json = ranking(&model, Score::Induction, None).json().unwrap();
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
        assert_eq!(value["heads"][0]["errors"]["induction"], 0.01234);
        assert_eq!(value["heads"][0]["errors"]["chance"], serde_json::Value::Null);
        assert_eq!(
            value["heads"]
                .as_array()
                .unwrap()
                .iter()
                .map(|head| head["rank_high"].as_u64())
                .collect::<Vec<_>>(),
            [Some(2), Some(4), Some(3), None]
        );
        assert_eq!(value["heads"][0]["rank_low"], 1);
        assert!(json.starts_with(r#"{"schema_version":1,"model":{"name":"tiny""#), "{json}");
        assert!(
            json.contains(r#"{"layer":1,"head":0,"induction":0.91234,"chance":0.02,"previous":"#),
            "{json}"
        );
    }

    #[test]
    fn csv_has_a_heading_and_a_row_a_head() {
        let model = model();
        insta::assert_snapshot!(ranking(&model, Score::Induction, Some(1)).csv(), @r###"
        rank,layer,head,induction,chance,previous,duplicate,sink,self,entropy,prefix,tl
        1,1,0,0.91234,0.02,0.087660015,,,,,,
        "###);
        insta::assert_snapshot!(ranking(&model, Score::Induction, Some(1)).with_errors(true).csv(), @r###"
        rank,layer,head,induction,chance,previous,duplicate,sink,self,entropy,prefix,tl,induction_error,chance_error,previous_error,duplicate_error,sink_error,self_error,entropy_error,prefix_error,tl_error,rank_low,rank_high
        1,1,0,0.91234,0.02,0.087660015,,,,,,,0.01234,,0.001,,,,,,,1,2
        "###);
    }
}
