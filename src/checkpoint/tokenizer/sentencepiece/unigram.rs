//! Pieces by the best sum of scores.

use super::{Kind, Pieces};

/// How much worse than the worst piece a character without one is.
const UNKNOWN_PENALTY: f32 = 10.0;
/// What each byte of a user-defined piece after the first is worth: more than any piece, so that it is always taken.
const USER_DEFINED_BONUS: f32 = 0.1;

/// The best way to some place in the text.
#[derive(Clone, Copy, Default)]
struct Step {
    score: f32,
    /// Where its last piece begins; `None` where nothing leads.
    start: Option<usize>,
    id: Option<u32>,
}

/// Cuts `text` into pieces with their ids; characters that are no piece have none.
///
/// Scores are summed as the original sums them, in single precision, so that ties fall alike.
pub(super) fn segment<'a>(pieces: &Pieces, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
    let mut steps = vec![Step::default(); text.len() + 1];
    for (start, letter) in text.char_indices() {
        let before = steps[start].score;
        let mut reach = |end: usize, score: f32, id: Option<u32>| {
            let step = &mut steps[end];
            if step.start.is_none() || before + score > step.score {
                *step = Step { score: before + score, start: Some(start), id };
            }
        };
        let mut is_piece = false;
        for (length, id) in pieces.ids.prefixes(&text[start..]) {
            let score = match pieces.kind(id) {
                Kind::Unused => continue,
                Kind::UserDefined => USER_DEFINED_BONUS * (length - 1) as f32,
                _ => pieces.score(id),
            };
            reach(start + length, score, Some(id));
            is_piece |= length == letter.len_utf8();
        }
        if !is_piece {
            reach(start + letter.len_utf8(), pieces.worst - UNKNOWN_PENALTY, None);
        }
    }
    let mut cut = Vec::new();
    let mut end = text.len();
    while let Some(start) = steps[end].start {
        cut.push((&text[start..end], steps[end].id));
        end = start;
    }
    cut.reverse();
    cut
}
