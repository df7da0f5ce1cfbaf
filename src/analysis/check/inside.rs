//! What goes on inside while a text is read: the residual stream, the scores, what heads look at.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use candle_core::{D, Device};

use super::{Finding, Verdict};
use crate::{
    analysis::rank::entropy,
    head::Head,
    model::{
        attention::{Place, Rows, Watch},
        decoder::{Control, Decoder},
        trace::Trace,
    },
    text::count,
};

/// What one head does over a text.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    rows: usize,
    sink: f64,
    entropy: f64,
    own: f64,
}

/// The habits of every head, `[layer][head]`.
struct Habits(Vec<Mutex<Habit>>, usize);

impl Watch for Habits {
    fn rows(&self, place: Place, rows: &Rows<'_>) {
        let mut habit =
            self.0[place.layer * self.1 + place.head].lock().unwrap_or_else(PoisonError::into_inner);
        for (query, row) in rows.iter().filter(|(query, _)| *query >= 1) {
            habit.rows += 1;
            habit.sink += f64::from(row[0]);
            habit.own += f64::from(row[query]);
            habit.entropy += f64::from(entropy(row, query).unwrap_or_default());
        }
    }
}

/// Looks inside the pass that has left `trace`.
pub fn look(decoder: &Decoder, trace: &Trace, control: &Control<'_>) -> Result<Vec<Finding>> {
    let spec = &decoder.spec;
    let habits = Habits((0..spec.layers * spec.heads).map(|_| Mutex::default()).collect(), spec.heads);
    for layer in 0..spec.layers {
        control.check()?;
        trace.show(layer, &habits)?;
    }
    let mut found = residual(trace, spec.layers)?;
    found.extend(scores(decoder, trace, control)?);
    let habits: Vec<Habit> = habits
        .0
        .into_iter()
        .map(|habit| habit.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect();
    found.extend(heads(&habits, spec.heads));
    Ok(found)
}

/// Whether the residual stream stays finite, how long it grows, and whether one of its dimensions outgrows all others.
fn residual(trace: &Trace, layers: usize) -> Result<Vec<Finding>> {
    let mut norms = Vec::new();
    let mut largest = (0.0f32, 0, 0);
    for layer in 0..=layers {
        let x = trace.residual_before(layer)?.to_device(&Device::Cpu)?;
        let norm = x.sqr()?.sum(D::Minus1)?.sqrt()?.mean(0)?.to_scalar::<f32>()?;
        norms.push(norm);
        let most = x.abs()?.max(0)?.to_vec1::<f32>()?;
        for (dimension, &value) in most.iter().enumerate() {
            if value > largest.0 {
                largest = (value, layer, dimension);
            }
        }
    }
    let last = norms.last().copied().unwrap_or_default();
    let mut found = Vec::new();
    if let Some(layer) = norms.iter().position(|norm| !norm.is_finite()) {
        let text =
            format!("before layer {layer} the residual stream is no longer finite: see weights.finite");
        found.push(
            Finding::new("inside.finite", Verdict::Fail, f64::NAN, "finite", text)
                .at(format!("layer {layer}")),
        );
        return Ok(found);
    }
    let text = format!(
        "the residual stream is {:.1} long after the embedding and {last:.1} after the last layer",
        norms.first().copied().unwrap_or_default()
    );
    found.push(Finding::new(
        "inside.residual",
        Verdict::Ok,
        f64::from(last),
        "growing over the layers",
        text,
    ));
    let (value, layer, dimension) = largest;
    let verdict = if value > 65504.0 { Verdict::Warn } else { Verdict::Ok };
    let what = if value > 65504.0 { "f16 cannot hold it: use bf16 or f32" } else { "every type holds it" };
    let place =
        if layer < layers { format!("before layer {layer}") } else { "after the last layer".to_owned() };
    let text = format!(
        "the largest number of the residual stream is {value:.1}, dimension {dimension} {place}; {what}"
    );
    found.push(Finding::new("inside.largest", verdict, f64::from(value), "below 65504", text).at(place));
    Ok(found)
}

/// The largest attention score of any head: it grows before a run diverges, and overflows f16.
fn scores(decoder: &Decoder, trace: &Trace, control: &Control<'_>) -> Result<Vec<Finding>> {
    const CHECK: &str = "inside.scores";
    /// From where on rows attend to single keys whatever they hold, and steps of training no longer reach them.
    const LARGE: f32 = 1000.0;
    let spec = &decoder.spec;
    if spec.layers == 0 {
        return Ok(Vec::new());
    }
    let mut largest = (0.0f32, Head::new(0, 0));
    for layer in 0..spec.layers {
        control.check()?;
        let kept = &trace.layers[layer];
        let (queries, keys) =
            (kept.queries.view()?.to_device(&Device::Cpu)?, kept.keys.view()?.to_device(&Device::Cpu)?);
        for head in 0..spec.heads {
            let (q, k) = (queries.get(head)?.contiguous()?, keys.get(head / spec.group())?.contiguous()?);
            let products = q.matmul(&k.t()?)?.to_vec2::<f32>()?;
            let rule = &decoder.rules[layer];
            for (query, row) in products.iter().enumerate() {
                // Of the keys that the query sees.
                let from = rule.first_key(query);
                let most = row[from..=query].iter().fold(0.0f32, |most, product| most.max(product.abs()));
                if most * rule.scale.abs() > largest.0 {
                    largest = (most * rule.scale.abs(), Head::new(layer, head));
                }
            }
        }
    }
    let (value, head) = largest;
    let (verdict, what) = match (value > 65504.0, value > LARGE) {
        (true, _) => (Verdict::Warn, "f16 cannot hold it, and training is about to diverge"),
        (_, true) => (Verdict::Warn, "scores of this size come before a run diverges"),
        _ => (Verdict::Ok, "within what trained models have"),
    };
    let text = format!("the largest attention score is {value:.1}, of head {head}: {what}");
    Ok(vec![
        Finding::new(CHECK, verdict, f64::from(value), format!("below {LARGE}"), text)
            .at(format!("head {head}")),
    ])
}

/// Shares of heads by what they look at.
fn heads(habits: &[Habit], heads: usize) -> Vec<Finding> {
    if habits.is_empty() {
        return Vec::new();
    }
    let mean = |habit: &Habit, sum: fn(&Habit) -> f64| sum(habit) / habit.rows.max(1) as f64;
    let share = |is: &dyn Fn(&Habit) -> bool| habits.iter().filter(|habit| is(habit)).count();
    let sinks = share(&|habit| mean(habit, |it| it.sink) > 0.8);
    let uniform = share(&|habit| mean(habit, |it| it.entropy) > 0.95);
    let own = share(&|habit| mean(habit, |it| it.own) > 0.9);
    let of = habits.len();
    let part = |number: usize| number as f64 / of as f64;
    let mut found = Vec::new();
    let finding = |check, verdict, number: usize, usual: &str, what: &str| {
        let text = format!("{} of {of} {what}", count(number, "head"));
        Finding::new(check, verdict, part(number), usual, text)
    };
    found.push(finding(
        "inside.sinks",
        Verdict::Ok,
        sinks,
        "up to 0.9 in trained models",
        "rest on the first token nearly always",
    ));
    let verdict = if uniform == of { Verdict::Warn } else { Verdict::Ok };
    found.push(finding("inside.uniform", verdict, uniform, "few", "look at all tokens alike"));
    let verdict = if own * 2 > of { Verdict::Warn } else { Verdict::Ok };
    found.push(finding("inside.self", verdict, own, "few", "look at the token itself nearly always"));
    if let Some(layer) = habits
        .chunks(heads)
        .position(|layer| layer.iter().all(|habit| mean(habit, |it| it.entropy) > 0.99) && uniform < of)
    {
        let text =
            format!("every head of layer {layer} looks at all tokens alike: its queries or keys may be lost");
        found.push(
            Finding::new("inside.uniform", Verdict::Warn, layer as f64, "no such layer", text)
                .at(format!("layer {layer}")),
        );
    }
    found
}
