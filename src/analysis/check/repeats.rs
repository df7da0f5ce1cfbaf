//! What a model makes of repeated random tokens: the copying that the papers are about.

use super::{Finding, Verdict};
use crate::{
    analysis::{
        doubt::Doubt,
        loss::Repeat,
        score::{HeadScores, Score},
    },
    head::PerHead,
};

/// The gain of the second copy over the first.
pub fn gain(repeat: Repeat, trained: bool) -> Finding {
    const CHECK: &str = "repeats.gain";
    let gain = f64::from(repeat.gain());
    if !gain.is_finite() {
        let text = "losses on random tokens are no numbers".to_owned();
        return Finding::new(CHECK, Verdict::Fail, gain, "above 1 with two layers or more", text);
    }
    let (verdict, what) = match (gain > 1.0, gain > 0.1, trained) {
        (true, ..) => (Verdict::Ok, "it copies what came before"),
        (_, true, _) => {
            (Verdict::Note, "it copies a little, as one layer does, or the beginning of induction")
        }
        (_, _, false) => (Verdict::Note, "an untrained model copies nothing"),
        _ => (Verdict::Note, "it does not copy: one layer, or training before induction formed"),
    };
    let text = format!(
        "the second copy of random tokens costs {:.2} nats a token, the first {:.2}: {what}",
        repeat.second, repeat.first
    );
    Finding::new(CHECK, verdict, gain, "above 1 with two layers or more", text)
}

/// Whether the tokens are those that the model was trained with: one that copies has been trained, and `reads` text about as
/// well as its tokens' shares tell unless they stand for something else. `None` where nothing tells.
pub fn fit(repeat: Repeat, reads: bool) -> Option<Finding> {
    const CHECK: &str = "vocabulary.fit";
    let gain = f64::from(repeat.gain());
    let (verdict, text) = match reads {
        true => (Verdict::Ok, "it reads text as its tokens are meant".to_owned()),
        false if gain > 1.0 => (
            Verdict::Fail,
            format!(
                "it copies repeated tokens (a gain of {gain:.2} nats) and reads text far worse than how often its tokens come tells: the tokenizer is not \
                 the one that it was trained with, or rows of the embedding were moved"
            ),
        ),
        false => return None,
    };
    Some(Finding::new(CHECK, verdict, gain, "a model that copies reads text too", text))
}

/// The best head by a score, with its standard error and what chance would give.
pub fn best(score: Score, scores: &PerHead<HeadScores>, doubts: &PerHead<Doubt>) -> Option<Finding> {
    let check = match score {
        Score::Induction => "repeats.induction",
        Score::Previous => "repeats.previous",
        Score::Duplicate => "repeats.duplicate",
        _ => return None,
    };
    let known = scores.iter().filter_map(|(head, of)| Some((head, of.measured(score)?)));
    let (head, value) = known.max_by(|one, other| one.1.total_cmp(&other.1))?;
    let error = doubts.get(head).map_or(f32::NAN, |doubt| doubt.errors.get(score));
    let chance = match score {
        Score::Induction => format!(" (chance {:.3})", scores[head].chance),
        _ => String::new(),
    };
    let error = if error.is_nan() { String::new() } else { format!(" ± {error:.3}") };
    let text = format!("head {head} does most of it: {value:.3}{error}{chance}");
    // Sound models have heads that look at the same token before, or none.
    let is_usual = value > 0.3 || score == Score::Duplicate;
    let verdict = if is_usual { Verdict::Ok } else { Verdict::Note };
    Some(
        Finding::new(
            check,
            verdict,
            f64::from(value),
            "above 0.3 in trained models of two layers or more",
            text,
        )
        .at(format!("head {head}")),
    )
}
