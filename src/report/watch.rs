//! Checkpoints that were checked one after the other: as lines of JSON, as a plain line each, and as curves.

use serde::Serialize;

use super::{check::Settings, rank::Model};
use crate::{
    analysis::check::Verdict,
    engine::protocol::ModelInfo,
    run::{Checked, Found, NUMBERS, SCHEMA_VERSION},
    text::{count, line as clean},
};

/// Findings that a plain line names.
const NAMED: usize = 3;
/// Values of a curve from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The line of a history; `model` is `None` where it could not be opened.
pub fn line(checked: &Checked, model: Option<&ModelInfo>, settings: &Settings) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        schema_version: u32,
        #[serde(flatten)]
        checked: &'a Checked,
        model: Option<Model<'a>>,
        settings: &'a Settings,
    }
    let model = model.map(Model);
    serde_json::to_string(&Line { schema_version: SCHEMA_VERSION, checked, model, settings })
        .map(|line| line + "\n")
}

/// A finding in a line: verdict, name, and what was found.
pub fn finding(found: &Found) -> String {
    let place = found.place.as_ref().filter(|place| !found.text.contains(place.as_str()));
    let place = place.map_or(String::new(), |place| format!("{place}: "));
    clean(&format!("{} {}: {place}{}", found.verdict.name(), found.check, found.text))
}

/// A checkpoint in a line: step, verdict, numbers, and what is new.
pub fn plain(checked: &Checked, news: &[&Found]) -> String {
    let mut parts = vec![heading(checked)];
    parts.extend(news.iter().take(NAMED).map(|found| finding(found)));
    if news.len() > NAMED {
        parts.push(format!("and {} more", news.len() - NAMED));
    }
    parts.join("; ")
}

/// The same without what is new.
pub fn heading(checked: &Checked) -> String {
    let name = checked.step.map_or_else(|| clean(checked.name()), |step| format!("step {step}"));
    let numbers = NUMBERS.iter().filter_map(|(name, _)| {
        let value = checked.numbers.get(*name)?;
        Some(format!("{} {}", name.replace('_', " "), short(*value)))
    });
    let known = checked.findings.iter().filter(|found| found.verdict > Verdict::Note).count();
    let known = (known > 0).then(|| count(known, "finding"));
    let parts: Vec<String> = numbers.chain(known).collect();
    let rest = if parts.is_empty() { String::new() } else { format!(" · {}", parts.join(" · ")) };
    format!("{name}: {}{rest}", checked.verdict.name())
}

/// The numbers that are known over the checkpoints, a line each: name, curve of at most `width` columns, first and last value.
pub fn curves(checked: &[&Checked], width: usize) -> Vec<String> {
    let curve = |(name, _): &(&str, &str)| {
        let values: Vec<f64> = checked.iter().filter_map(|one| one.numbers.get(*name).copied()).collect();
        let (first, last) = (values.first()?, values.last()?);
        let ends =
            if values.len() > 1 { format!("{} to {}", short(*first), short(*last)) } else { short(*last) };
        Some(format!("{:<15} {} {ends}", name.replace('_', " "), sparkline(&values, width)))
    };
    NUMBERS.iter().filter_map(curve).collect()
}

/// Values as bars, the lowest and the highest of them the ends of the scale. Of more values than `width` each bar is a mean.
fn sparkline(values: &[f64], width: usize) -> String {
    let bars = values.len().min(width.max(1));
    let means: Vec<f64> = (0..bars)
        .map(|bar| {
            let part = &values[bar * values.len() / bars..(bar + 1) * values.len() / bars];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bar = |value: f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.5 };
        BARS[((share * BARS.len() as f64) as usize).min(BARS.len() - 1)]
    };
    means.into_iter().map(bar).collect()
}

/// A number with three digits behind the point, or fewer of a large one.
fn short(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.3}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::check::Finding;

    fn checked(step: u64, findings: &[Finding]) -> Checked {
        Checked::new(&format!("runs/a/step-{step}"), Some(step), (None, 0), findings)
    }

    fn found(check: &'static str, verdict: Verdict, value: f64) -> Finding {
        Finding::new(check, verdict, value, "usual", format!("{value} was found"))
    }

    #[test]
    fn curves_go_from_the_lowest_to_the_highest() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 20), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5.0, 5.0], 20), "▅▅");
        assert_eq!(sparkline(&[4.0, 4.0, 0.0, 0.0, 2.0, 2.0], 3), "█▁▅");
        assert_eq!(sparkline(&[], 5), "");
        let run: Vec<Checked> = [4.0, 2.0]
            .into_iter()
            .zip(0..)
            .map(|(loss, step)| checked(step, &[found("text.loss", Verdict::Ok, loss)]))
            .collect();
        assert_eq!(curves(&run.iter().collect::<Vec<_>>(), 9), ["loss            █▁ 4.000 to 2.000"]);
    }

    #[test]
    fn a_checkpoint_is_told_in_a_line() {
        let before = checked(1, &[found("weights.zero", Verdict::Fail, 1.0).at("w")]);
        let findings = [
            found("text.loss", Verdict::Ok, 3.0),
            found("text.loss", Verdict::Ok, 4.0),
            found("weights.zero", Verdict::Fail, 1.0).at("w"),
            found("weights.zero", Verdict::Fail, 1.0).at("v"),
            found("weights.repeated", Verdict::Note, 1.0),
        ];
        let now = checked(2, &findings);
        let line = plain(&now, &now.news(Some(&before)));
        assert_eq!(line, "step 2: fail · loss 3.500 · 2 findings; fail weights.zero: v: 1 was found");
        assert_eq!(plain(&before, &before.news(Some(&now))), "step 1: fail · 1 finding");
        assert_eq!(now.news(None).len(), 2);
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let one = checked(
            7,
            &[found("text.loss", Verdict::Warn, 0.1).at("Austen"), found("open", Verdict::Fail, f64::NAN)],
        );
        let settings = Settings {
            texts: vec!["Austen".into()],
            only: vec!["text.loss"],
            against: None,
            expect: Vec::new(),
        };
        let written = line(&one, None, &settings).unwrap();
        assert!(
            written.starts_with(r#"{"schema_version":1,"step":7,"path":"runs/a/step-7","modified":null,"#),
            "{written}"
        );
        assert!(written.ends_with("}\n") && written.matches('\n').count() == 1, "{written}");
        assert_eq!(serde_json::from_str::<Checked>(&written).unwrap(), one);
    }
}
