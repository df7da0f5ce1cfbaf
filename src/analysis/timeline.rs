//! How scores change over training: where the change is steepest, and when a head begins to do what it ends up doing.

use super::score::{HeadScores, Score};
use crate::head::{Head, PerHead};

/// The highest `score` of any head, where it was measured.
pub fn best(scores: &PerHead<HeadScores>, score: Score) -> Option<f32> {
    scores.values().iter().filter_map(|head| head.measured(score)).reduce(f32::max)
}

/// The stretch of training in which a quantity changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The last step before it.
    pub from: u64,
    /// The first step after it.
    pub to: u64,
}

/// Least change of a quantity in units of its own (nats, probability) that a window is looked for in.
const LEAST: f32 = 0.2;
/// Part of the final value at which a head has begun.
const BEGUN: f32 = 0.1;

/// The window of change of a quantity that grows: the steps around the steepest stretch in which
/// `d value / d ln(step)` is at least half of its maximum (Olsson et al. 2022 choose theirs by that derivative).
///
/// `None` for fewer than three points, and where the quantity rises by less than 0.2.
pub fn window(curve: &[(u64, f32)]) -> Option<Window> {
    let rise = curve.last()?.1 - curve.iter().map(|point| point.1).fold(f32::INFINITY, f32::min);
    if curve.len() < 3 || rise < LEAST {
        return None;
    }
    let slopes: Vec<f64> = curve
        .windows(2)
        .map(|pair| {
            let time = ((pair[1].0 + 1) as f64).ln() - ((pair[0].0 + 1) as f64).ln();
            f64::from(pair[1].1 - pair[0].1) / time
        })
        .collect();
    let steepest = (0..slopes.len()).max_by(|&a, &b| slopes[a].total_cmp(&slopes[b]))?;
    let steep = |&at: &usize| slopes[at] >= slopes[steepest] / 2.0;
    let from = (0..=steepest).rev().take_while(steep).last()?;
    let to = (steepest..slopes.len()).take_while(steep).last()?;
    Some(Window { from: curve[from].0, to: curve[to + 1].0 })
}

/// The first step from which on a score stays above a tenth of the way from its first value to its last; `None` where
/// it never rises by 0.2.
pub fn onset(curve: &[(u64, f32)]) -> Option<u64> {
    let (first, last) = (curve.first()?.1, curve.last()?.1);
    if last - first < LEAST {
        return None;
    }
    let level = first + BEGUN * (last - first);
    let late = curve.iter().rev().take_while(|point| point.1 >= level).last()?;
    Some(late.0)
}

/// A score over the run, at the steps at which it was measured: of one head, or the best of all.
pub fn curve<'a>(
    points: impl Iterator<Item = (u64, &'a PerHead<HeadScores>)>,
    head: Option<Head>,
    score: Score,
) -> Vec<(u64, f32)> {
    let value = |scores: &PerHead<HeadScores>| match head {
        Some(head) => scores.get(head)?.measured(score),
        None => best(scores, score),
    };
    points.filter_map(|(step, scores)| Some((step, value(scores)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A curve that is flat, rises between steps 500 and 600, and is flat again, as papers of the field show it.
    const CURVE: [(u64, f32); 8] = [
        (0, 0.02),
        (100, 0.02),
        (300, 0.02),
        (400, 0.05),
        (500, 0.30),
        (600, 0.64),
        (800, 0.68),
        (1500, 0.80),
    ];

    #[test]
    fn the_window_is_where_the_curve_is_steep() {
        assert_eq!(window(&CURVE), Some(Window { from: 400, to: 600 }));
        let flat: Vec<(u64, f32)> = CURVE.iter().map(|&(step, _)| (step, 0.05)).collect();
        assert_eq!(window(&flat), None);
        assert_eq!(window(&CURVE[..2]), None);
        assert_eq!(window(&[]), None);
    }

    #[test]
    fn a_head_begins_where_it_leaves_its_first_value_for_good() {
        assert_eq!(onset(&CURVE), Some(500));
        let mut bumpy = CURVE;
        bumpy[1].1 = 0.5;
        assert_eq!(onset(&bumpy), Some(500), "a bump before is none");
        assert_eq!(onset(&CURVE[..3]), None);
    }
}
