//! Lens, attribution and patching as tables, JSON and CSV.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::{
    rank::{Model, heading},
    table::{Align, aligned},
    text::{csv, quoted},
};
use crate::{
    analysis::{
        attribute::Attribution,
        lens::Guess,
        patch::{Direction, Over},
    },
    engine::protocol::{ModelInfo, Token},
    head::Head,
};

/// A table of numbers with what stands above it, ready in every format.
pub struct Numbers<'a> {
    /// The model.
    pub model: &'a ModelInfo,
    /// What was asked, a line.
    pub title: String,
    /// The columns; the first holds words, the others numbers.
    pub columns: Vec<&'static str>,
    /// The rows of the table.
    pub rows: Vec<Vec<String>>,
    /// What follows the table, a line each.
    pub notes: Vec<String>,
    /// The whole for JSON, to which the model is added.
    pub json: Value,
}

impl Numbers<'_> {
    /// Columns that line up, under a line that names the model and one that says what was asked.
    pub fn table(&self) -> String {
        let head = self.columns.iter().map(|&name| name.to_owned()).collect();
        let rows = [head].into_iter().chain(self.rows.iter().cloned());
        let align = |at| if at == 0 { Align::Left } else { Align::Right };
        let notes: String = self.notes.iter().map(|note| format!("{note}\n")).collect();
        let gap = if notes.is_empty() { "" } else { "\n" };
        format!("{}{}\n\n{}{gap}{notes}", heading(self.model), self.title, aligned(rows, align))
    }

    /// One JSON object on one line.
    pub fn json(&self) -> serde_json::Result<String> {
        let mut report = json!({"schema_version": 1, "model": Model(self.model)});
        if let (Value::Object(report), Value::Object(own)) = (&mut report, &self.json) {
            report.extend(own.clone());
        }
        serde_json::to_string(&report).map(|line| line + "\n")
    }

    /// The table with commas.
    pub fn csv(&self) -> String {
        let line =
            |cells: &mut dyn Iterator<Item = &str>| cells.map(csv).collect::<Vec<_>>().join(",") + "\n";
        let head = line(&mut self.columns.iter().copied());
        head + &self.rows.iter().map(|row| line(&mut row.iter().map(String::as_str))).collect::<String>()
    }
}

fn told(token: &Token) -> String {
    match token.bytes.is_empty() {
        true => format!("#{}", token.id),
        false => quoted(&token.bytes),
    }
}

/// A token for JSON.
fn named(token: &Token) -> Value {
    json!({"id": token.id, "text": told(token)})
}

/// The logit lens after one token.
pub fn lens<'a>(
    model: &'a ModelInfo,
    query: usize,
    answer: &Token,
    guesses: &[Guess],
    token: &dyn Fn(u32) -> Token,
    edits: &[String],
) -> Numbers<'a> {
    let name = |layer: usize| if layer == model.layers { "end".to_owned() } else { layer.to_string() };
    let row = |guess: &Guess| {
        let best = |(id, p): &(u32, f32)| format!("{} {p:.3}", told(&token(*id)));
        let mut row = vec![
            name(guess.layer),
            format!("{:.4}", guess.probability),
            guess.rank.to_string(),
            format!("{:.2}", guess.entropy),
        ];
        row.push(guess.top.iter().map(best).collect::<Vec<_>>().join("  "));
        row
    };
    let first = guesses.iter().find(|guess| guess.rank == 1).map(|guess| match guess.layer {
        0 => "it is the best guess from the embedding on".to_owned(),
        layer if layer == model.layers => "it is the best guess after the last layer alone".to_owned(),
        layer => format!("it is the best guess for the first time before layer {layer}"),
    });
    let layers: Vec<Value> = guesses
        .iter()
        .map(|guess| {
            let top: Vec<Value> = guess.top.iter().map(|(id, p)| json!({"id": id, "text": told(&token(*id)), "probability": p})).collect();
            json!({"layer": guess.layer, "probability": guess.probability, "rank": guess.rank, "entropy": guess.entropy, "top": top})
        })
        .collect();
    Numbers {
        model,
        title: format!("logit lens after token {query}, of {}{}", told(answer), edited(edits)),
        columns: vec!["before layer", "probability", "rank", "entropy", "best"],
        rows: guesses.iter().map(row).collect(),
        notes: first.into_iter().collect(),
        json: json!({"token": query, "target": named(answer), "edits": edits, "layers": layers}),
    }
}

/// A logit, or the difference of two, taken apart; the parts that matter most first.
pub fn attribution<'a>(
    model: &'a ModelInfo,
    query: usize,
    (target, against): (&Token, Option<&Token>),
    found: &Attribution,
    top: usize,
    edits: &[String],
) -> Numbers<'a> {
    let mut parts: Vec<(String, f32)> =
        vec![("embedding".into(), found.embedding), ("bias".into(), found.bias)];
    parts.extend(found.heads.iter().map(|(head, value)| (format!("head {head}"), *value)));
    let of_layers = |name: &'static str, values: &[f32]| {
        values
            .iter()
            .enumerate()
            .map(move |(layer, value)| (format!("{name} {layer}"), *value))
            .collect::<Vec<_>>()
    };
    parts.extend(of_layers("attention bias", &found.attn_bias));
    parts.extend(of_layers("mlp", &found.mlps));
    parts.push(("remainder".into(), found.remainder));
    parts.sort_by(|one, other| other.1.abs().partial_cmp(&one.1.abs()).unwrap_or(Ordering::Equal));
    let what = match against {
        Some(against) => format!("logit of {} minus that of {}", told(target), told(against)),
        None => format!("logit of {}", told(target)),
    };
    let rest: f32 = parts.iter().skip(top).map(|part| part.1).sum();
    let rows =
        parts.iter().take(top).map(|(name, value)| vec![name.clone(), format!("{value:+.4}")]).collect();
    let mut notes = vec![format!("{what}: {:+.4}", found.logit)];
    if parts.len() > top {
        notes.insert(0, format!("the other {} parts: {rest:+.4}", parts.len() - top));
    }
    let heads: Vec<&[f32]> = found.heads.values().chunks(model.heads.max(1)).collect();
    Numbers {
        model,
        title: format!("{what} after token {query}{}", edited(edits)),
        columns: vec!["part", "writes"],
        rows,
        notes,
        json: json!({
            "token": query, "target": named(target), "against": against.map(named), "edits": edits, "heads": heads,
            "attn_bias": found.attn_bias, "mlps": found.mlps, "embedding": found.embedding, "bias": found.bias,
            "logit": found.logit, "remainder": found.remainder,
        }),
    }
}

/// What a patching map was made of.
pub struct Patched<'a> {
    /// The tokens whose logits are told apart.
    pub tokens: [&'a Token; 2],
    /// What was patched.
    pub over: Over,
    /// Which run it went into.
    pub direction: Direction,
    /// The difference in the clean and in the corrupted run.
    pub ends: [f32; 2],
    /// The difference with each part patched.
    pub map: &'a [Vec<f32>],
    /// The tokens of the clean prompt.
    pub prompt: &'a [Token],
}

/// A patching map, the parts that change most first: 0 is the corrupted run, 1 the clean one.
pub fn patched<'a>(model: &'a ModelInfo, of: &Patched<'_>, top: usize) -> Numbers<'a> {
    let [clean, corrupted] = of.ends;
    let span = clean - corrupted;
    let share = |value: f32| (value - corrupted) / span;
    let (base, how) = match of.direction {
        Direction::Noise => (clean, "parts of the corrupted run in the clean one"),
        Direction::Denoise => (corrupted, "parts of the clean run in the corrupted one"),
    };
    let name = |layer: usize, at: usize| match of.over {
        Over::Heads => format!("head {}", Head::new(layer, at)),
        over => {
            format!("{} {layer} at {at} {}", over.name(), of.prompt.get(at).map_or_else(String::new, told))
        }
    };
    let mut parts: Vec<(String, f32)> = Vec::new();
    for (layer, row) in of.map.iter().enumerate() {
        parts.extend(row.iter().enumerate().map(|(at, value)| (name(layer, at), *value)));
    }
    let far = |value: f32| (value - base).abs();
    parts.sort_by(|one, other| far(other.1).partial_cmp(&far(one.1)).unwrap_or(Ordering::Equal));
    let rows = parts.iter().take(top).map(|(name, value)| {
        // Between runs that differ by next to nothing there are no shares.
        let share = if span.abs() > 1e-3 { format!("{:+.4}", share(*value)) } else { "-".to_owned() };
        vec![name.clone(), format!("{value:+.4}"), share]
    });
    let [target, against] = of.tokens;
    Numbers {
        model,
        title: format!(
            "logit of {} minus that of {}: {clean:+.4} clean, {corrupted:+.4} corrupted; {how}",
            told(target),
            told(against)
        ),
        columns: vec!["part", "difference", "share"],
        rows: rows.collect(),
        notes: vec!["share: 0 is the corrupted run, 1 the clean one".to_owned()],
        json: json!({
            "target": named(target), "against": named(against),
            "over": of.over.name(), "direction": of.direction.name(), "clean": clean, "corrupted": corrupted, "map": of.map,
        }),
    }
}

fn edited(edits: &[String]) -> String {
    if edits.is_empty() { String::new() } else { format!(", with {}", edits.join(" ")) }
}
