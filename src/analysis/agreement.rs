//! How far two computations of the same thing lie apart.

use serde::Serialize;

/// The largest difference of two arrays of one shape, and where it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `max |a - b|`; NaN where one of the two is no number and the other is.
    pub largest: f32,
    /// Index of that entry in the array as a whole.
    #[serde(skip)]
    pub at: usize,
}

impl Difference {
    /// Of no entries yet.
    pub const NONE: Self = Self { largest: 0.0, at: 0 };

    /// Takes in more of the arrays, whose first entry has the index `start`.
    pub fn add(&mut self, found: &[f32], expected: &[f32], start: usize) {
        for (index, (a, b)) in found.iter().zip(expected).enumerate() {
            let both_are_none = a.is_nan() && b.is_nan();
            let difference = if both_are_none || a == b { 0.0 } else { (a - b).abs() };
            // Once no number, it stays so: a comparison with one is never true.
            if difference > self.largest || difference.is_nan() && !self.largest.is_nan() {
                *self = Self { largest: difference, at: start + index };
            }
        }
    }

    /// Whether it is a number and not above `allowed`.
    pub fn is_within(&self, allowed: f32) -> bool {
        self.largest <= allowed
    }
}

/// The entry with the largest number; none where there is none.
pub fn top(numbers: &[f32]) -> Option<usize> {
    let best = numbers.iter().enumerate().filter(|(_, number)| !number.is_nan());
    best.max_by(|a, b| a.1.total_cmp(b.1)).map(|(index, _)| index)
}

/// The scale of logits, by which their differences are judged: the largest absolute value that is a number.
pub fn scale(numbers: &[f32]) -> f32 {
    numbers.iter().map(|number| number.abs()).filter(|number| number.is_finite()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_is_found_where_it_is() {
        let mut difference = Difference::NONE;
        difference.add(&[1.0, 2.0], &[1.0, 2.5], 0);
        difference.add(&[3.0, 4.0], &[3.25, 4.0], 2);
        assert_eq!(difference, Difference { largest: 0.5, at: 1 });
        assert!(difference.is_within(0.5) && !difference.is_within(0.4));
        difference.add(&[f32::NEG_INFINITY, f32::NAN], &[f32::NEG_INFINITY, f32::NAN], 4);
        assert_eq!(difference.at, 1);
        difference.add(&[f32::NAN, 9.0], &[0.0, 0.0], 6);
        assert!(difference.largest.is_nan() && difference.at == 6 && !difference.is_within(1e9));
        difference.add(&[9.0], &[0.0], 8);
        assert!(difference.largest.is_nan(), "a later number hides what is none");
    }

    #[test]
    fn scale_and_top_pass_over_what_is_no_number() {
        assert_eq!(scale(&[f32::NAN, -3.0, f32::INFINITY, 2.0]), 3.0);
        assert_eq!(top(&[f32::NAN, -3.0, 2.0]), Some(2));
        assert_eq!(top(&[]), None);
    }
}
