//! How far a score can be trusted that is a mean over random draws, and which heads' scores can be told apart.

use std::{f64::consts::FRAC_PI_2, fmt};

use super::score::{HeadScores, Score};

/// The probability that an interval covers the true mean, and that equal heads are not told apart.
const CONFIDENCE: f64 = 0.95;

/// The doubt about the scores of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Doubt {
    /// The [standard error](standard_error) of each score and of the chance level; not a number where it was measured on
    /// one draw or none.
    pub errors: HeadScores,
    /// In the order of [`Score::ALL`].
    ranks: [Option<Ranks>; Score::ALL.len()],
}

impl Doubt {
    /// Standard errors, and no ranks yet.
    pub const fn new(errors: HeadScores) -> Self {
        Self { errors, ranks: [None; Score::ALL.len()] }
    }

    /// The ranks that the head may have by `score`; `None` where it was measured on one draw or none.
    pub fn ranks(&self, score: Score) -> Option<Ranks> {
        self.ranks[score as usize]
    }

    /// Puts `ranks` in the place of `score`.
    pub fn set_ranks(&mut self, score: Score, ranks: Option<Ranks>) {
        self.ranks[score as usize] = ranks;
    }
}

/// The ranks that a head may have, counted from 1; shown as `2-4`, or `3` where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranks {
    /// 1 and the number of heads that are told apart above it.
    pub low: usize,
    /// The number of heads, less those that are told apart below it.
    pub high: usize,
}

impl Ranks {
    /// The one rank `rank`.
    pub const fn one(rank: usize) -> Self {
        Self { low: rank, high: rank }
    }
}

impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.low == self.high {
            true => f.pad(&self.low.to_string()),
            false => f.pad(&format!("{}-{}", self.low, self.high)),
        }
    }
}

/// The mean; not a number for no numbers.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard error of the mean of `n` independent draws: `s / sqrt(n)`, where `s^2` is the sum of their squared distances
/// from the mean over `n - 1`. Not a number for fewer than two.
pub fn standard_error(draws: &[f64]) -> f64 {
    let mean = mean(draws);
    error_of(draws.iter().map(|value| value - mean), draws.len())
}

/// The standard error of a mean from the distances of `count` draws from it.
fn error_of(distances: impl Iterator<Item = f64>, count: usize) -> f64 {
    if count < 2 {
        return f64::NAN;
    }
    let squares: f64 = distances.map(|distance| distance * distance).sum();
    (squares / (count - 1) as f64 / count as f64).sqrt()
}

/// The 0.975 quantile of Student's t with `degrees` degrees of freedom: what `|t|` stays below with probability 0.95.
/// Infinite for none.
///
/// With `angle = atan(t / sqrt(degrees))` that probability is a finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4),
/// which grows with the angle; halving finds it.
pub fn student(degrees: usize) -> f64 {
    if degrees == 0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    // As many halvings as an f64 has binary digits.
    for _ in 0..f64::MANTISSA_DIGITS {
        let middle = (low + high) / 2.0;
        *(if within(middle, degrees) < CONFIDENCE { &mut low } else { &mut high }) = middle;
    }
    low.tan() * (degrees as f64).sqrt()
}

/// The probability that `|t| < sqrt(degrees) * tan(angle)`.
fn within(angle: f64, degrees: usize) -> f64 {
    let (sine, cosine) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    let (mut sum, mut term) = (0.0, if is_odd { cosine } else { 1.0 });
    for factor in (2 + degrees % 2..=degrees).step_by(2) {
        sum += term;
        term *= cosine * cosine * (factor - 1) as f64 / factor as f64;
    }
    if is_odd { (angle + sine * sum) / FRAC_PI_2 } else { sine * sum }
}

/// Half the width of the interval that covers the true mean with probability 0.95: `student(n - 1) * standard_error`. Not a
/// number for fewer than two draws.
pub fn half_width(draws: &[f64]) -> f64 {
    student(draws.len().saturating_sub(1)) * standard_error(draws)
}

/// The ranks that each head may have: `draws[head]` is what each draw measured, the same draws for all heads. `None` for
/// fewer than two draws, and for a head whose score is no number; those rank below all others.
///
/// Two heads are told apart by the paired t test: where the mean of their differences, draw by draw, is more than
/// [`student`]`(n - 1)` times its standard error from 0. Each pair is tested at 95% by itself: of heads that are equal one
/// pair in twenty is told apart. Means are rounded to f32, as the scores that a ranking is sorted by.
pub fn ranks(draws: &[Vec<f64>]) -> Vec<Option<Ranks>> {
    let count = draws.first().map_or(0, Vec::len);
    let mut ranks = vec![None; draws.len()];
    if count < 2 {
        return ranks;
    }
    let bound = student(count - 1);
    let means: Vec<f64> = draws.iter().map(|draws| mean(draws)).collect();
    let centred = |head: usize| draws[head].iter().map(|value| value - means[head]).collect::<Vec<_>>();
    let heads: Vec<(usize, f64, Vec<f64>)> = (0..draws.len())
        .filter(|&head| !means[head].is_nan())
        .map(|head| (head, f64::from(means[head] as f32), centred(head)))
        .collect();
    let mut found = vec![Ranks { low: 1, high: heads.len() }; heads.len()];
    for (one, (_, mean, distances)) in heads.iter().enumerate() {
        for (other, (_, other_mean, other_distances)) in heads[..one].iter().enumerate() {
            let pairs = distances.iter().zip(other_distances);
            let error = error_of(pairs.map(|(distance, other)| distance - other), count);
            if (mean - other_mean).abs() > bound * error {
                let (above, below) = if mean > other_mean { (one, other) } else { (other, one) };
                found[below].low += 1;
                found[above].high -= 1;
            }
        }
    }
    for ((head, ..), found) in heads.iter().zip(found) {
        ranks[*head] = Some(found);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{RngCore, SeedableRng},
    };

    use super::*;

    #[test]
    fn the_standard_error_is_numpy_s() {
        // numpy.std(draws, ddof=1) / 2, numpy 2.4.
        let draws = [0.61, 0.66, 0.71, 0.645];
        assert!((standard_error(&draws) - 0.020754015675687115).abs() < 1e-15);
        assert!(standard_error(&draws[..1]).is_nan() && standard_error(&[]).is_nan());
        assert_eq!(standard_error(&[0.5; 3]), 0.0);
        assert!(half_width(&draws[..1]).is_nan());
    }

    #[test]
    fn quantiles_are_scipy_s() {
        // scipy.stats.t.ppf(0.975, degrees), scipy 1.17.
        let quantiles = [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (3, 3.1824463052837078),
            (4, 2.7764451051977934),
            (7, 2.364624251592784),
            (15, 2.131449545559776),
            (100, 1.9839715185235518),
            (1023, 1.962285619647268),
        ];
        for (degrees, expected) in quantiles {
            let found = student(degrees);
            assert!((found - expected).abs() < 1e-12 * expected, "{degrees}: {found} for {expected}");
        }
        assert_eq!(student(0), f64::INFINITY);
    }

    #[test]
    fn heads_are_told_apart_by_their_differences_and_not_by_their_spread() {
        // The first two move together and are told apart, the third moves otherwise and is not: scipy.stats.ttest_rel finds
        // p = 0.014 for the first two, 0.92 and 0.97 for the third against them, and 0.022 at most against the fourth.
        let draws = [
            vec![0.30, 0.50, 0.70, 0.90],
            vec![0.28, 0.49, 0.68, 0.89],
            vec![0.90, 0.40, 0.60, 0.40],
            vec![0.01, 0.02, 0.01, 0.02],
            vec![f64::NAN, 0.5, 0.5, 0.5],
        ];
        assert_eq!(shown(&draws), ["1-2", "2-3", "1-3", "4", "-"]);
        // What is alike in every draw is not told apart, and what differs alike in every draw is.
        assert_eq!(shown(&[vec![0.5; 4], vec![0.5; 4], vec![0.25; 4]]), ["1-2", "1-2", "3"]);
        assert_eq!(shown(&[vec![0.1], vec![0.9]]), ["-", "-"]);
        assert!(shown(&[]).is_empty());
    }

    fn shown(draws: &[Vec<f64>]) -> Vec<String> {
        let shown = |ranks: Option<Ranks>| ranks.map_or("-".into(), |ranks| ranks.to_string());
        ranks(draws).into_iter().map(shown).collect()
    }

    /// A score of mean 0 in `count` draws: what the sequence does to all heads, and what it does to this one.
    fn draw(random: &mut ChaCha8Rng, shared: &[f64]) -> Vec<f64> {
        shared.iter().map(|shared| shared + 0.5 * normal(random)).collect()
    }

    /// The sum of twelve uniform numbers, less its mean of 6, has a variance of 1 and is all but normal.
    fn normal(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum::<f64>() - 6.0
    }

    #[test]
    fn intervals_and_ranks_cover_the_truth_nineteen_times_in_twenty() {
        const TRIALS: usize = 4000;
        let mut random = ChaCha8Rng::seed_from_u64(11);
        for count in [2, 4, 16] {
            let (mut covered, mut apart, mut ranked) = (0, 0, 0);
            for _ in 0..TRIALS {
                let shared: Vec<f64> = (0..count).map(|_| normal(&mut random)).collect();
                let mut heads: Vec<Vec<f64>> = (0..4).map(|_| draw(&mut random, &shared)).collect();
                covered += usize::from(mean(&heads[0]).abs() < half_width(&heads[0]));
                apart += usize::from(ranks(&heads[..2])[0] != Some(Ranks { low: 1, high: 2 }));
                // Heads that differ by little: the second one's true rank is 2.
                for (head, draws) in heads.iter_mut().enumerate() {
                    draws.iter_mut().for_each(|value| *value -= 0.3 * head as f64);
                }
                ranked +=
                    usize::from(ranks(&heads)[1].is_some_and(|ranks| ranks.low <= 2 && 2 <= ranks.high));
            }
            // The standard error of these shares is 0.0034.
            let share = |count: usize| count as f64 / TRIALS as f64;
            assert!((share(covered) - 0.95).abs() < 0.011, "{count} draws: {} covered", share(covered));
            assert!((share(apart) - 0.05).abs() < 0.011, "{count} draws: {} told apart", share(apart));
            assert!(share(ranked) > 0.95, "{count} draws: {} ranked", share(ranked));
        }
    }
}
