//! A share of the work on a run, for a scheduler that runs several processes: `2/8`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// One of several shares of equal size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shard {
    /// Which of them, from 1.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Shard {
    /// The only one.
    pub const ALL: Self = Self { index: 1, of: 1 };

    /// That which has the snapshot at this place, counted from 0. Neighbours go to different ones, so that a run that grows
    /// meanwhile changes nothing about who has what.
    pub fn at(place: usize, of: usize) -> Self {
        Self { index: place % of + 1, of }
    }

    /// Whether the snapshot at this place belongs to it.
    pub fn has(self, place: usize) -> bool {
        Self::at(place, self.of) == self
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (index, of) = text.split_once('/').ok_or("write I/N, such as 2/8 for the second of eight")?;
        let number =
            |part: &str| part.trim().parse::<usize>().map_err(|_| format!("`{part}` is no whole number"));
        let shard = Self { index: number(index)?, of: number(of)? };
        match (1..=shard.of).contains(&shard.index) {
            true => Ok(shard),
            false => Err(format!("there is no such share: they go from 1/{of} to {of}/{of}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_belongs_to_one_share() {
        for of in 1..9 {
            let shards: Vec<Shard> = (1..=of).map(|index| format!("{index}/{of}").parse().unwrap()).collect();
            for place in 0..30 {
                assert_eq!(shards.iter().filter(|shard| shard.has(place)).count(), 1, "{place} of {of}");
                assert!(Shard::at(place, of).has(place));
            }
        }
        assert!((0..5).all(|place| Shard::ALL.has(place)));
    }

    #[test]
    fn what_is_no_share_is_told() {
        for (text, error) in
            [("2", "2/8"), ("0/8", "from 1/8 to 8/8"), ("9/8", "from 1/8"), ("1/0", "1/0"), ("a/8", "`a`")]
        {
            assert!(text.parse::<Shard>().unwrap_err().contains(error), "{text}");
        }
    }
}
