//! What somebody expects of a model, in a line: `induction>=0.3`.

use std::{fmt, str::FromStr};

use super::{Finding, Verdict, catalogue};
use crate::text::nearest;

/// A number of the report and what it has to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The check whose number it is, by its whole name.
    pub check: &'static str,
    relation: Relation,
    bound: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    AtLeast,
    AtMost,
    Above,
    Below,
}

impl Relation {
    /// Longer signs first, so that `>=` is not read as `>`.
    const ALL: [(&'static str, Self); 4] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), (">", Self::Above), ("<", Self::Below)];

    fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(_, relation)| *relation == self).map_or("", |(sign, _)| sign)
    }

    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::AtLeast => value >= bound,
            Self::AtMost => value <= bound,
            Self::Above => value > bound,
            Self::Below => value < bound,
        }
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = |&(sign, relation): &(&str, Relation)| Some((text.split_once(sign)?, relation));
        let Some(((name, bound), relation)) = Relation::ALL.iter().find_map(split) else {
            return Err("write NAME>=NUMBER, or with <=, > or <, such as induction>=0.3".into());
        };
        let (name, bound) = (name.trim(), bound.trim());
        let number = bound.parse().ok().filter(|number: &f64| number.is_finite());
        let bound: f64 = number.ok_or_else(|| format!("`{bound}` is no number"))?;
        // `induction` is `repeats.induction`.
        let names = |id: &str| id == name || id.split_once('.').is_some_and(|(_, last)| last == name);
        let mut found = catalogue::ALL.iter().filter(|check| names(check.id));
        match (found.next(), found.next()) {
            (Some(check), None) => Ok(Self { check: check.id, relation, bound }),
            (Some(one), Some(other)) => Err(format!("`{name}` may be {} or {}", one.id, other.id)),
            _ => {
                let known = catalogue::ALL.iter().flat_map(|check| {
                    [check.id].into_iter().chain(check.id.split_once('.').map(|(_, last)| last))
                });
                let nearest = nearest(name, known).unwrap_or_default();
                Err(format!("no check is called `{name}`; the nearest is {nearest}"))
            }
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.check, self.relation.sign(), self.bound)
    }
}

impl Expectation {
    /// Whether it is met by every number of its check; not where there is none.
    pub fn judge(&self, findings: &[Finding]) -> Finding {
        const CHECK: &str = "expect";
        let of_check: Vec<&Finding> = findings.iter().filter(|finding| finding.check == self.check).collect();
        let known = of_check.iter().filter_map(|finding| Some((finding.value?, finding.place.as_deref())));
        // Of several, the one that is furthest from being met.
        let worst = match self.relation {
            Relation::AtLeast | Relation::Above => known.min_by(|one, other| one.0.total_cmp(&other.0)),
            Relation::AtMost | Relation::Below => known.max_by(|one, other| one.0.total_cmp(&other.0)),
        };
        let (verdict, value, text) = match worst {
            Some((value, place)) => {
                let of =
                    place.filter(|_| of_check.len() > 1).map_or(String::new(), |place| format!(" ({place})"));
                match self.relation.holds(value, self.bound) {
                    true => (Verdict::Ok, value, format!("{self} is met: it is {value:.4}{of}")),
                    false => (Verdict::Fail, value, format!("{self} is not met: it is {value:.4}{of}")),
                }
            }
            None => (Verdict::Fail, f64::NAN, format!("{self} is not met: it was not measured")),
        };
        Finding::new(CHECK, verdict, value, format!("{}{}", self.relation.sign(), self.bound), text)
            .at(self.check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_are_read_as_they_are_written() {
        for (text, written) in [
            ("induction>=0.3", "repeats.induction>=0.3"),
            (" text.loss < 3.5", "text.loss<3.5"),
            ("gain > 1", "repeats.gain>1"),
            ("bos<=0.05", "text.bos<=0.05"),
        ] {
            assert_eq!(text.parse::<Expectation>().unwrap().to_string(), written);
        }
        for (text, error) in [
            ("induction", "write NAME>=NUMBER"),
            ("induction>=many", "`many` is no number"),
            ("inductoin>=0.3", "the nearest is induction"),
            ("norm_gain>1", "may be weights.norm_gain or probe.norm_gain"),
        ] {
            assert!(text.parse::<Expectation>().unwrap_err().contains(error), "{text}");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_met() {
        let expectation: Expectation = "text.loss<3".parse().unwrap();
        let finding = |value| Finding::new("text.loss", Verdict::Ok, value, "", String::new());
        assert_eq!(expectation.judge(&[finding(2.0), finding(2.9)]).verdict, Verdict::Ok);
        assert_eq!(expectation.judge(&[finding(2.0), finding(3.0)]).verdict, Verdict::Fail);
        assert_eq!(expectation.judge(&[finding(f64::NAN)]).verdict, Verdict::Fail);
        assert_eq!(expectation.judge(&[]).verdict, Verdict::Fail);
    }
}
