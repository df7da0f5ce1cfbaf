//! The name of an attention head, `L.H`, zero-based: `5.1` is head 1 of layer 5.

use std::{fmt, str::FromStr};

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

#[cfg(test)]
mod tests {
    use super::*;

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
