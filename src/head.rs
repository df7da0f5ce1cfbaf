//! The name of an attention head, `L.H`, zero-based: `5.1` is head 1 of layer 5; and what there is one of for each head.

use std::{fmt, ops::Index, str::FromStr, sync::Arc};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// One attention head of a model; both numbers count from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Layer, from the embedding upwards.
    pub layer: usize,
    /// Query head within the layer.
    pub head: usize,
}

impl Head {
    /// The head `layer.head`.
    pub const fn new(layer: usize, head: usize) -> Self {
        Self { layer, head }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.layer, self.head))
    }
}

impl FromStr for Head {
    type Err = anyhow::Error;

    /// Reads `5.1`, and `L5H1` as other tools write it.
    fn from_str(text: &str) -> Result<Self> {
        let tidy = text.trim().trim_start_matches(['L', 'l']);
        let Some((layer, head)) = tidy.split_once(['.', 'H', 'h']) else {
            bail!("`{text}` is no head: write layer.head, counted from zero, such as 5.1");
        };
        let number = |part: &str, what: &str| {
            part.parse::<usize>()
                .with_context(|| format!("`{text}` is no head: its {what} `{part}` is no number"))
        };
        Ok(Self::new(number(layer, "layer")?, number(head, "head")?))
    }
}

/// One value for each head of a model, `[layers, heads]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PerHead<T> {
    /// Heads in a layer.
    heads: usize,
    values: Arc<[T]>,
}

impl<T> PerHead<T> {
    /// The values of all heads in the order of the model, with `heads` in each layer.
    pub fn new(heads: usize, values: Vec<T>) -> Self {
        Self { heads, values: values.into() }
    }

    /// What `value` gives for each head of so many layers with `heads` in each.
    pub fn from_fn(layers: usize, heads: usize, value: impl FnMut(Head) -> T) -> Self {
        let all = (0..layers).flat_map(|layer| (0..heads).map(move |head| Head::new(layer, head)));
        Self::new(heads, all.map(value).collect())
    }

    /// Heads in a layer.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Heads in all.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no head.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a head; `None` where the model has no such head.
    pub fn get(&self, head: Head) -> Option<&T> {
        let layer = self.values.get(head.layer.checked_mul(self.heads)?..)?;
        layer.get(..self.heads)?.get(head.head)
    }

    /// Every head with its value, in the order of the model.
    pub fn iter(&self) -> impl Iterator<Item = (Head, &T)> {
        let name = |index: usize| Head::new(index / self.heads, index % self.heads);
        self.values.iter().enumerate().map(move |(index, value)| (name(index), value))
    }

    /// The values alone, in the order of the model.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// What `change` makes of each value.
    pub fn map<U>(&self, change: impl FnMut(&T) -> U) -> PerHead<U> {
        PerHead::new(self.heads, self.values.iter().map(change).collect())
    }
}

/// Of no head.
impl<T> Default for PerHead<T> {
    fn default() -> Self {
        Self::new(0, Vec::new())
    }
}

impl<T> Index<Head> for PerHead<T> {
    type Output = T;

    /// The value of a head that the model has.
    fn index(&self, head: Head) -> &T {
        assert!(head.head < self.heads, "no head {head} in layers of {}", self.heads);
        &self.values[head.layer * self.heads + head.head]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_has_its_value() {
        let names = PerHead::new(3, vec!["a", "b", "c", "d", "e", "f"]);
        assert_eq!((names.heads(), names.len(), names.is_empty()), (3, 6, false));
        assert_eq!((names[Head::new(0, 2)], names[Head::new(1, 0)]), ("c", "d"));
        let said: Vec<String> = names.iter().map(|(head, name)| format!("{head} {name}")).collect();
        assert_eq!(said, ["0.0 a", "0.1 b", "0.2 c", "1.0 d", "1.1 e", "1.2 f"]);
        let same = PerHead::from_fn(2, 3, |head| names[head]);
        assert_eq!((same.clone(), same.values()), (names.clone(), names.values()));
        assert_eq!(names.map(|name| name.len()), PerHead::new(3, vec![1; 6]));
        assert_ne!(names, PerHead::new(2, names.values().to_vec()));
    }

    #[test]
    fn a_head_that_the_model_has_not_has_no_value() {
        let numbers = PerHead::new(3, vec![0, 1, 2, 3, 4, 5]);
        assert_eq!(numbers.get(Head::new(1, 2)), Some(&5));
        for head in [Head::new(0, 3), Head::new(2, 0), Head::new(usize::MAX, 0)] {
            assert_eq!(numbers.get(head), None, "{head}");
        }
        let none = PerHead::<usize>::default();
        assert_eq!((none.len(), none.iter().count(), none.get(Head::new(0, 0))), (0, 0, None));
    }

    #[test]
    #[should_panic(expected = "no head 0.3 in layers of 3")]
    fn a_head_of_the_next_layer_is_not_meant() {
        let _ = PerHead::new(3, vec![0; 6])[Head::new(0, 3)];
    }

    #[test]
    fn reads_what_it_writes() {
        let head = Head::new(18, 6);
        assert_eq!(head.to_string(), "18.6");
        assert_eq!("18.6".parse::<Head>().unwrap(), head);
        assert_eq!("L18H6".parse::<Head>().unwrap(), head);
        assert!("18".parse::<Head>().is_err());
        assert!("a.b".parse::<Head>().is_err());
    }
}
