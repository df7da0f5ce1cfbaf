//! What the weights of a model say, as lists for reading, as JSON and as CSV.

use std::fmt::Write;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    rank::{Model, heading},
    table::{Align, aligned},
    text::{csv, quoted},
};
use crate::{
    analysis::circuits::factors::Embedding,
    engine::protocol::{ModelInfo, Token},
    head::Head,
    train::text::Invented,
};

/// What was asked, everything settled: what a rerun needs. Of what has no bearing on the lists nothing is written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// `--what`, or `summary`.
    pub what: String,
    /// `--embedding`.
    pub embedding: Embedding,
    /// Length of each list.
    pub top: usize,
    /// Seed of the random matrices and tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Pairs of random heads that the baseline of composition is the mean of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<usize>,
    /// The head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
    /// The tokens that were asked about or run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<u32>>,
    /// `--as`, where a token of skip-trigrams is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The files whose bigrams a table is compared with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Vec<String>>,
    /// How often names were made up in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invent_names: Option<Invented>,
    /// Times that a pair of tokens must occur to be compared by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<usize>,
    /// Positions that profiles are taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub positions: Option<usize>,
    /// The benchmark that previous-token scores were measured on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<Repeats>,
}

/// How benchmark sequences were drawn, seed aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Repeats {
    /// Tokens in the block that is repeated.
    pub length: usize,
    /// Number of sequences.
    pub batch: usize,
    /// Whether each sequence began with BOS.
    pub bos: bool,
}

/// A field of a list.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A head.
    Head(Head),
    /// A token.
    Token(Token),
    /// A number; one that is no number is a dash, null or empty.
    Number(f64),
    /// A count.
    Count(usize),
    /// A word.
    Word(&'static str),
}

impl From<f32> for Cell {
    fn from(number: f32) -> Self {
        Self::Number(number.into())
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<Head> for Cell {
    fn from(head: Head) -> Self {
        Self::Head(head)
    }
}

/// A list.
pub struct List {
    /// Its name, in JSON the key.
    pub name: &'static str,
    /// What its numbers mean.
    pub note: String,
    /// Names of the fields.
    pub columns: &'static [&'static str],
    /// The fields of each row.
    pub rows: Vec<Vec<Cell>>,
}

/// Lists to be printed.
pub struct Circuits<'a> {
    /// What they are about.
    pub model: &'a ModelInfo,
    /// What was asked.
    pub settings: Settings,
    /// The lists.
    pub lists: Vec<List>,
}

impl Circuits<'_> {
    /// Each list with its note above it and its columns aligned, under what was asked.
    pub fn table(&self) -> String {
        let mut out = heading(self.model);
        out.push_str(match self.settings.embedding {
            Embedding::Raw => "tokens stand for W_E",
            Embedding::Effective => {
                "tokens stand for W_E, with what the first MLP makes of them where there is one"
            }
        });
        let _ = self.settings.seed.map(|seed| write!(out, "; seed {seed}"));
        out.push('\n');
        for list in &self.lists {
            let _ = writeln!(out, "\n{}: {}\n", list.name, list.note);
            if list.rows.is_empty() {
                out.push_str("nothing\n");
                continue;
            }
            let head: Vec<String> = list.columns.iter().map(|name| (*name).to_owned()).collect();
            let rows = list.rows.iter().map(|row| row.iter().map(shown).collect());
            let align: Vec<Align> = list.rows[0].iter().map(alignment).collect();
            out.push_str(&aligned(std::iter::once(head).chain(rows), |at| align[at]));
        }
        out
    }

    /// One JSON object on one line, a list of objects for each list; its form is part of the command line's contract.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|line| line + "\n")
    }

    /// A heading and the rows of the first list; a token is its id and its text.
    pub fn csv(&self) -> String {
        let Some(list) = self.lists.first() else { return String::new() };
        let mut names = Vec::new();
        for (at, name) in list.columns.iter().enumerate() {
            if matches!(list.rows.first().map(|row| &row[at]), Some(Cell::Token(_))) {
                names.push(format!("{name}_id"));
            }
            names.push((*name).to_owned());
        }
        let mut out = names.join(",") + "\n";
        for row in &list.rows {
            out.push_str(&row.iter().map(field).collect::<Vec<_>>().join(","));
            out.push('\n');
        }
        out
    }
}

fn alignment(cell: &Cell) -> Align {
    match cell {
        Cell::Number(_) | Cell::Count(_) => Align::Right,
        Cell::Head(_) | Cell::Token(_) | Cell::Word(_) => Align::Left,
    }
}

/// A field for reading.
fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Head(head) => head.to_string(),
        // Without a tokenizer, the id stands for itself.
        Cell::Token(token) if token.bytes.is_empty() => format!("#{}", token.id),
        Cell::Token(token) => quoted(&token.bytes),
        Cell::Number(number) if number.is_nan() => "-".into(),
        Cell::Number(number) => format!("{number:.3}"),
        Cell::Count(count) => count.to_string(),
        Cell::Word(word) => (*word).into(),
    }
}

/// A field of a CSV row, or the two of a token.
fn field(cell: &Cell) -> String {
    match cell {
        Cell::Token(token) => format!("{},{}", token.id, csv(&String::from_utf8_lossy(&token.bytes))),
        Cell::Number(number) if number.is_nan() => String::new(),
        Cell::Number(number) => number.to_string(),
        cell => shown(cell),
    }
}

impl Serialize for Circuits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema_version", &1)?;
        map.serialize_entry("model", &Model(self.model))?;
        map.serialize_entry("settings", &self.settings)?;
        for list in &self.lists {
            let rows: Vec<Row<'_>> = list.rows.iter().map(|row| Row(list.columns, row)).collect();
            map.serialize_entry(list.name, &rows)?;
        }
        map.end()
    }
}

struct Row<'a>(&'a [&'static str], &'a [Cell]);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// A head is `{"layer", "head"}`, a token `{"id", "text"}`, what is no number null.
impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Head(head) => head.serialize(serializer),
            Self::Token(token) => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("id", &token.id)?;
                map.serialize_entry("text", &String::from_utf8_lossy(&token.bytes))?;
                map.end()
            }
            Self::Number(number) => number.serialize(serializer),
            Self::Count(count) => count.serialize(serializer),
            Self::Word(word) => word.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> ModelInfo {
        ModelInfo {
            name: "tiny".into(),
            source: "embedded".into(),
            family: "attn-only".into(),
            layers: 2,
            heads: 2,
            kv_heads: 2,
            width: 8,
            vocabulary: 100,
            context: 64,
            parameters: 1234,
            dtype: "f32".into(),
            device: "cpu".into(),
            has_tokenizer: true,
            bos: None,
            block: 10,
        }
    }

    fn circuits(model: &ModelInfo) -> Circuits<'_> {
        let token = |id, text: &str| Cell::Token(Token { id, bytes: text.as_bytes().to_vec() });
        let rows = vec![
            vec![Head::new(1, 0).into(), token(5, " a,\"b\"\n"), Cell::Word("K"), 0.123_456_f64.into()],
            vec![Head::new(0, 1).into(), token(7, ""), Cell::Word("Q"), f64::NAN.into()],
        ];
        let columns = &["head", "token", "kind", "score"];
        let full = List { name: "full", note: "what it is".into(), columns, rows };
        let empty = List { name: "empty", note: "what is not".into(), columns: &["head"], rows: Vec::new() };
        let settings = Settings {
            what: "full".into(),
            top: 2,
            seed: Some(3),
            head: Some(Head::new(1, 0)),
            ..Settings::default()
        };
        Circuits { model, settings, lists: vec![full, empty] }
    }

    #[test]
    fn lists_are_aligned_under_their_notes() {
        insta::assert_snapshot!(circuits(&model()).table(), @r###"
        tiny (embedded) · 2 layers x 2 heads · cpu f32
        tokens stand for W_E, with what the first MLP makes of them where there is one; seed 3

        full: what it is

        head  token        kind  score
        1.0   " a,\"b\"⏎"  K     0.123
        0.1   #7           Q         -

        empty: what is not

        nothing
        "###);
    }

    #[test]
    fn csv_has_ids_and_texts_of_the_first_list() {
        let csv = circuits(&model()).csv();
        assert_eq!(csv, "head,token_id,token,kind,score\n1.0,5,\" a,\"\"b\"\"\n\",K,0.123456\n0.1,7,,Q,\n");
    }

    #[test]
    fn json_has_the_settings_that_matter() {
        let json = circuits(&model()).json().unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.starts_with(r#"{"schema_version":1,"model":{"name":"tiny""#), "{json}");
        assert_eq!(
            value["settings"],
            serde_json::json!({"what": "full", "embedding": "effective", "top": 2, "seed": 3, "head": {"layer": 1, "head": 0}})
        );
        assert_eq!(value["full"][0]["token"], serde_json::json!({"id": 5, "text": " a,\"b\"\n"}));
        assert_eq!(value["full"][1]["score"], serde_json::Value::Null);
        assert_eq!(value["empty"], serde_json::json!([]));
    }
}
