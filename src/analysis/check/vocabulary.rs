//! Rows of the embedding that no training has moved.

use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use super::{Finding, Verdict};
use crate::{
    checkpoint::weights::StoredTensor,
    text::{excerpt, list},
};

/// Rows of the embedding, of tokens by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// Rows that lie at less than half the usual distance from the mean row: the ones that begin small, or as the mean.
    pub near: Vec<u32>,
    /// Rows that are there more than once, number by number, but for those that are near.
    pub twice: Vec<u32>,
}

/// The rows of a table `[vocabulary, width]` that look as if they had never been trained.
pub fn untrained(table: &StoredTensor) -> Rows {
    /// The share of the median distance.
    const NEAR: f64 = 0.5;
    let &[rows, width] = &table.shape[..] else { return Rows::default() };
    let mut row = vec![0.0f32; width];
    let mut mean = vec![0.0f64; width];
    let mut first: HashMap<u64, u32> = HashMap::new();
    let mut twice = Vec::new();
    for index in 0..rows {
        table.widen_from(index * width, &mut row);
        mean.iter_mut().zip(&row).for_each(|(mean, value)| *mean += f64::from(*value) / rows as f64);
        let mut hasher = DefaultHasher::new();
        row.iter().for_each(|value| value.to_bits().hash(&mut hasher));
        let id = index as u32;
        match *first.entry(hasher.finish()).or_insert(id) {
            before if before == id => {}
            before => twice.extend([before, id]),
        }
    }
    let mut distances = Vec::with_capacity(rows);
    for index in 0..rows {
        table.widen_from(index * width, &mut row);
        let away = mean.iter().zip(&row).map(|(mean, value)| (f64::from(*value) - mean).powi(2)).sum::<f64>();
        distances.push(away.sqrt());
    }
    let mut sorted = distances.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted.get(rows / 2).copied().unwrap_or_default();
    let is_near = |id: u32| distances[id as usize] < NEAR * usual;
    twice.sort_unstable();
    twice.dedup();
    twice.retain(|&id| !is_near(id));
    Rows { near: (0..rows as u32).filter(|&id| is_near(id)).collect(), twice }
}

/// What is to be said of such rows. `piece` names a token, `None` where the tokenizer has none of that id; `matters` is whether
/// texts cannot do without it.
pub fn rows(
    rows: &Rows,
    vocabulary: usize,
    piece: &dyn Fn(u32) -> Option<String>,
    matters: &dyn Fn(u32) -> bool,
) -> Finding {
    const CHECK: &str = "vocabulary.rows";
    let usual = "those of tokens that are never used";
    let all: Vec<u32> = rows.near.iter().chain(&rows.twice).copied().collect();
    if all.is_empty() {
        let text = "every row of the embedding was trained".to_owned();
        return Finding::new(CHECK, Verdict::Ok, 0.0, usual, text);
    }
    let named: Vec<(u32, String)> = all.iter().filter_map(|&id| Some((id, piece(id)?))).collect();
    let needed: Vec<&(u32, String)> = named.iter().filter(|(id, _)| matters(*id)).collect();
    let token = |(id, name): &(u32, String)| format!("`{}` ({id})", excerpt(name));
    let what = match (needed.is_empty(), named.is_empty()) {
        (false, _) => {
            let tokens = list(needed.iter().map(|it| token(it)), 4).unwrap_or_default();
            format!("; texts need {tokens}: train with them, or leave them out")
        }
        (true, false) => {
            let tokens = list(named.iter().map(token), 4).unwrap_or_default();
            format!("; {} are tokens that the tokenizer has: {tokens}", named.len())
        }
        (true, true) => "; the tokenizer has no token for any of them".to_owned(),
    };
    let text = format!(
        "{} of {vocabulary} rows of the embedding look untrained ({} near the mean row, {} there more than once){what}",
        all.len(),
        rows.near.len(),
        rows.twice.len()
    );
    let verdict = if needed.is_empty() { Verdict::Note } else { Verdict::Warn };
    Finding::new(CHECK, verdict, all.len() as f64, usual, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::weights::WeightType;

    #[test]
    fn rows_that_were_added_and_not_trained_are_found() {
        let width = 8;
        let mut numbers: Vec<f32> = (0..40 * width)
            .map(|at| ((at * 37 % 101) as f32 - 50.0) * if at % 3 == 0 { 1.0 } else { -1.0 })
            .collect();
        // A row of zeros, one that is small, and two that are another's copy.
        numbers[3 * width..4 * width].fill(0.0);
        numbers[39 * width..].iter_mut().for_each(|it| *it /= 1000.0);
        numbers.copy_within(5 * width..6 * width, 7 * width);
        let bytes = WeightType::F32.narrow(&numbers).unwrap();
        let table = StoredTensor::owned("w".into(), WeightType::F32, vec![40, width], bytes).unwrap();
        let found = untrained(&table);
        assert_eq!(found, Rows { near: vec![3, 39], twice: vec![5, 7] });
        let piece = |id: u32| (id < 39).then(|| format!("t{id}"));
        let note = rows(&found, 40, &piece, &|_| false);
        assert_eq!(note.verdict, Verdict::Note);
        assert!(note.text.contains("3 are tokens that the tokenizer has: `t3` (3)"), "{}", note.text);
        let warn = rows(&found, 40, &piece, &|id| id == 7);
        assert_eq!(warn.verdict, Verdict::Warn);
        assert!(warn.text.contains("texts need `t7` (7)"), "{}", warn.text);
    }
}
