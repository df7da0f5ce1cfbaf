//! A checkpoint against another, such as the one that training began from: what changed in the weights, on text and in the
//! heads, and whether that is more than chance.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::{
    Finding, Verdict,
    readings::{ERRORS, Gain},
    weights::layer_of,
};
use crate::{
    analysis::{
        doubt::Doubt,
        loss::Repeat,
        score::{HeadScores, Score},
    },
    checkpoint::weights::StoredTensor,
    head::{Head, PerHead},
    text::{count, excerpt, list},
};

/// Numbers that are widened at once.
const PIECE: usize = 1 << 16;

/// How far a tensor is from the one of the same name in the other checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// Its name.
    pub name: String,
    /// The length of the difference as a share of the length of the other; 0 where they are equal number by number.
    pub share: f64,
}

impl Moved {
    /// Of two tensors of one shape, `tensor` and what it was before; numbers that are none count as no change.
    pub fn of(tensor: &StoredTensor, before: &StoredTensor) -> Self {
        let total = tensor.count();
        let row = tensor.shape.last().copied().unwrap_or(1).max(1);
        let piece = row * (PIECE / row).max(1);
        let part = |at: usize| {
            let size = piece.min(total - at * piece);
            let [mut new, mut old] = [vec![0.0f32; size], vec![0.0f32; size]];
            tensor.widen_from(at * piece, &mut new);
            before.widen_from(at * piece, &mut old);
            let pairs = new.iter().zip(&old).map(|(new, old)| [f64::from(*new), f64::from(*old)]);
            pairs
                .filter(|pair| pair.iter().all(|it| it.is_finite()))
                .fold([0.0; 2], |[moved, length], [new, old]| {
                    [moved + (new - old) * (new - old), length + old * old]
                })
        };
        let parts = (0..total.div_ceil(piece)).into_par_iter().map(part);
        let [moved, length] = parts.reduce(|| [0.0; 2], |one, other| [one[0] + other[0], one[1] + other[1]]);
        // From nothing it is all of what there is now.
        let share =
            if moved == 0.0 { 0.0 } else { (moved / if length > 0.0 { length } else { moved }).sqrt() };
        Self { name: tensor.name.clone(), share }
    }
}

/// What changed in the weights. `alone` are the tensors that one of the two lacks or has in another shape.
pub fn weights(base: &str, all: &[Moved], alone: &[String]) -> Vec<Finding> {
    const CHECK: &str = "against.weights";
    /// The share from which on a tensor is another, not the same trained on.
    const OTHER: f64 = 1.0;
    let usual = "some change in every part that was trained";
    if all.is_empty() {
        let text = format!(
            "no tensor has the name and the shape of one of {base}: compare checkpoints of one model in one format"
        );
        return vec![Finding::new(CHECK, Verdict::Warn, f64::NAN, usual, text)];
    }
    let mut found = Vec::new();
    if !alone.is_empty() {
        let names = list(alone.iter().map(|name| format!("`{}`", excerpt(name))), 3).unwrap_or_default();
        let text = format!(
            "{} not in both, or in another shape: {names}",
            match alone.len() {
                1 => "1 tensor is".to_owned(),
                tensors => format!("{tensors} tensors are"),
            }
        );
        found.push(Finding::new(CHECK, Verdict::Note, alone.len() as f64, "the same tensors", text));
    }
    let moved: Vec<&Moved> = all.iter().filter(|it| it.share > 0.0).collect();
    let Some(most) = moved.iter().max_by(|one, other| one.share.total_cmp(&other.share)) else {
        let text = format!(
            "{} of {base}, number by number: nothing was trained, or what was trained was not merged or saved",
            match all.len() {
                1 => "the only tensor is that".to_owned(),
                tensors => format!("all {tensors} tensors are those"),
            }
        );
        found.push(Finding::new(CHECK, Verdict::Fail, 0.0, usual, text));
        return found;
    };
    let mut shares: Vec<f64> = all.iter().map(|it| it.share).collect();
    shares.sort_by(f64::total_cmp);
    let middle = shares[shares.len() / 2];
    let what = format!(
        "{} of {} differ from {base}, by {:.2}% of their length in the middle, most `{}` by {:.2}%",
        moved.len(),
        count(all.len(), "tensor"),
        100.0 * middle,
        excerpt(&most.name),
        100.0 * most.share
    );
    let (verdict, text) = match middle > OTHER {
        true => (Verdict::Warn, format!("{what}: was it trained from that model?")),
        false => (Verdict::Ok, what),
    };
    found.push(Finding::new(CHECK, verdict, middle, usual, text));
    found.extend(frozen(all));
    found
}

/// Kinds of tensors that changed in some layers and stayed, number by number, in others.
fn frozen(all: &[Moved]) -> Vec<Finding> {
    const CHECK: &str = "against.frozen";
    let mut kinds: BTreeMap<String, [BTreeSet<usize>; 2]> = BTreeMap::new();
    for it in all {
        if let Some((layer, kind)) = layer_of(&it.name) {
            kinds.entry(kind).or_default()[usize::from(it.share > 0.0)].insert(layer);
        }
    }
    // What stayed in the same layers is told of once.
    let mut alike: BTreeMap<&BTreeSet<usize>, Vec<&str>> = BTreeMap::new();
    for (kind, [stayed, moved]) in &kinds {
        if !stayed.is_empty() && !moved.is_empty() {
            alike.entry(stayed).or_default().push(kind);
        }
    }
    let finding = |(layers, kinds): (&BTreeSet<usize>, Vec<&str>)| {
        let text = format!(
            "{} did not change in {} and did in the others: frozen on purpose, or a part of the merge or the save was skipped",
            list(kinds.iter().map(|kind| format!("`{}`", excerpt(kind))), 3).unwrap_or_default(),
            list(layers.iter().map(|layer| format!("layer {layer}")), 4).unwrap_or_default()
        );
        Finding::new(CHECK, Verdict::Warn, layers.len() as f64, "all layers, or none", text)
    };
    alike.into_iter().map(finding).collect()
}

/// What changed in the loss on a text: `gain` is by how much it is lower than in the other.
pub fn loss(base: &str, text: &str, gain: Gain) -> Finding {
    const CHECK: &str = "against.loss";
    /// Nats that training on other text may cost.
    const MUCH: f64 = 0.5;
    let is_sure = gain.mean.abs() > ERRORS * gain.error;
    let (verdict, what) = match (is_sure, gain.mean) {
        (false, _) => (Verdict::Ok, "no more than chance"),
        (true, 0.0..) => (Verdict::Ok, "it reads the text better"),
        (true, gain) if gain > -MUCH => (Verdict::Note, "it reads the text worse"),
        _ => {
            (Verdict::Warn, "it reads the text far worse: see what it was trained on, and the other findings")
        }
    };
    let side = if gain.mean < 0.0 { "higher" } else { "lower" };
    let told = format!(
        "the loss is {:.3} ± {:.3} nats a token {side} than that of {base}: {what}",
        gain.mean.abs(),
        gain.error
    );
    Finding::new(CHECK, verdict, -gain.mean, format!("below {MUCH}"), told).at(text)
}

/// What changed in the copying of repeated tokens.
pub fn repeats(base: &str, now: Repeat, before: Repeat) -> Finding {
    const CHECK: &str = "against.repeats";
    let (now, before) = (f64::from(now.gain()), f64::from(before.gain()));
    let (verdict, what) = match before > 1.0 && now < before / 2.0 {
        true => (Verdict::Warn, ": it copies far less than before"),
        false => (Verdict::Ok, ""),
    };
    let text =
        format!("the second copy of random tokens gains {now:.2} nats a token, in {base} {before:.2}{what}");
    Finding::new(CHECK, verdict, now - before, "above half of what it was", text)
}

/// Scores of heads with their standard errors.
pub type Scored = (PerHead<HeadScores>, PerHead<Doubt>);

/// What changed in a score of the heads, measured on the same sequences: how many changed by more than the draws explain, and
/// the one that changed most. `None` for scores that are not asked about.
pub fn heads(base: &str, score: Score, now: &Scored, before: &Scored) -> Option<Finding> {
    const CHECK: &str = "against.heads";
    /// How much of the score's range the best head may lose.
    const MUCH: f32 = 0.3;
    let best = |scored: &Scored| {
        let known = scored.0.values().iter().filter_map(|of| of.measured(score));
        known.max_by(f32::total_cmp)
    };
    let (best_now, best_before) = (best(now)?, best(before)?);
    let change = |(head, of): (Head, &HeadScores)| {
        let change = of.measured(score)? - before.0.get(head)?.measured(score)?;
        let error = |scored: &Scored| scored.1.get(head).map_or(f32::NAN, |doubt| doubt.errors.get(score));
        let error = error(now).hypot(error(before));
        Some((head, change, error))
    };
    let changes: Vec<(Head, f32, f32)> = now.0.iter().filter_map(change).collect();
    let is_sure = |(_, change, error): &&(Head, f32, f32)| change.abs() > 0.01 && change.abs() > 4.0 * error;
    let sure = changes.iter().filter(is_sure).count();
    let (head, change, error) = *changes.iter().max_by(|one, other| one.1.abs().total_cmp(&other.1.abs()))?;
    let lost = best_before - best_now > MUCH;
    let what = if lost { ": the best head of before no longer does it" } else { "" };
    let error = if error.is_nan() { String::new() } else { format!(" ± {error:.3}") };
    let most = if sure > 0 { format!(", most {head} by {change:+.3}{error}") } else { String::new() };
    let text = format!(
        "{} of the best head is {best_now:.3}, in {base} {best_before:.3}{what}; {sure} of {} changed by more than the draws \
         explain{most}",
        score.name(),
        count(changes.len(), "head")
    );
    let verdict = if lost { Verdict::Warn } else { Verdict::Ok };
    let value = f64::from(best_now - best_before);
    let finding = Finding::new(CHECK, verdict, value, format!("above -{MUCH}"), text);
    Some(if sure > 0 { finding.at(format!("head {head}")) } else { finding })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(shares: &[(&str, f64)]) -> Vec<Moved> {
        shares.iter().map(|&(name, share)| Moved { name: name.into(), share }).collect()
    }

    #[test]
    fn a_copy_is_a_red_flag_and_a_part_that_was_left_out_is_named() {
        let verdicts = |found: &[Finding]| found.iter().map(|it| (it.check, it.verdict)).collect::<Vec<_>>();
        let copy = weights("base", &moved(&[("layers.0.q", 0.0), ("layers.1.q", 0.0)]), &[]);
        assert_eq!(verdicts(&copy), [("against.weights", Verdict::Fail)]);
        let trained = weights("base", &moved(&[("layers.0.q", 0.01), ("layers.1.q", 0.02)]), &[]);
        assert_eq!(verdicts(&trained), [("against.weights", Verdict::Ok)]);
        let partly =
            weights("base", &moved(&[("layers.0.q", 0.01), ("layers.1.q", 0.0), ("norm", 0.0)]), &[]);
        assert_eq!(verdicts(&partly), [("against.weights", Verdict::Ok), ("against.frozen", Verdict::Warn)]);
        assert!(partly[1].text.contains("did not change in layer 1 and"), "{}", partly[1].text);
        let other = weights("base", &moved(&[("a", 1.4), ("b", 1.4)]), &["c".into()]);
        assert_eq!(
            verdicts(&other),
            [("against.weights", Verdict::Note), ("against.weights", Verdict::Warn)]
        );
    }

    #[test]
    fn a_loss_is_judged_beyond_its_error() {
        let of = |mean, error| loss("base", "Austen", Gain { mean, error }).verdict;
        assert_eq!(
            [of(0.3, 0.01), of(-0.1, 0.05), of(-0.1, 0.01), of(-0.9, 0.01)],
            [Verdict::Ok, Verdict::Ok, Verdict::Note, Verdict::Warn]
        );
    }
}
