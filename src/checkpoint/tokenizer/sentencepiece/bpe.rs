//! Pieces by merging neighbours.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};

use super::{Kind, Pieces};

/// A part of the text, linked to its neighbours; merged parts are empty.
struct Symbol {
    start: usize,
    end: usize,
    previous: Option<usize>,
    next: Option<usize>,
    /// Whether it stays as it is.
    fixed: bool,
}

/// Two neighbours that make a piece, the best first: the score, then the place.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both; a pair whose parts have grown since is out of date.
    size: usize,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Pair {}

/// Cuts `text` into pieces with their ids; characters that are no piece have none.
pub(super) fn segment<'a>(pieces: &Pieces, text: &'a str) -> Vec<(&'a str, Option<u32>)> {
    let mut symbols = symbols(pieces, text);
    let mut pairs = BinaryHeap::new();
    // Where unused pieces were merged: they are taken apart again if nothing grew out of them.
    let mut unused = HashMap::new();
    let mut look =
        |symbols: &[Symbol], pairs: &mut BinaryHeap<Pair>, left: Option<usize>, right: Option<usize>| {
            let (Some(left), Some(right)) = (left, right) else { return };
            let (one, other) = (&symbols[left], &symbols[right]);
            if one.fixed || other.fixed {
                return;
            }
            let joined = &text[one.start..other.end];
            let Some(id) = pieces.ids.get(joined) else { return };
            if pieces.kind(id) == Kind::Unused {
                unused.insert(joined, one.end - one.start);
            }
            pairs.push(Pair { score: pieces.score(id), left, right, size: joined.len() });
        };
    for right in 1..symbols.len() {
        look(&symbols, &mut pairs, Some(right - 1), Some(right));
    }
    while let Some(Pair { left, right, size, .. }) = pairs.pop() {
        let (start, middle, end) = (symbols[left].start, symbols[left].end, symbols[right].end);
        let is_current =
            start < middle && middle < end && symbols[right].start == middle && end - start == size;
        if !is_current {
            continue;
        }
        let (previous, next) = (symbols[left].previous, symbols[right].next);
        (symbols[left].end, symbols[left].next) = (end, next);
        symbols[right].end = symbols[right].start;
        if let Some(next) = next {
            symbols[next].previous = Some(left);
        }
        look(&symbols, &mut pairs, previous, Some(left));
        look(&symbols, &mut pairs, Some(left), next);
    }
    let mut cut = Vec::new();
    for symbol in symbols.iter().filter(|symbol| symbol.start < symbol.end) {
        let mut parts = vec![&text[symbol.start..symbol.end]];
        while let Some(part) = parts.pop() {
            match unused.get(part) {
                Some(&middle) => parts.extend([&part[middle..], &part[..middle]]),
                None => cut.push((part, pieces.ids.get(part))),
            }
        }
    }
    cut
}

/// The characters of `text`, and its user-defined pieces whole.
fn symbols(pieces: &Pieces, text: &str) -> Vec<Symbol> {
    let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
    let mut start = 0;
    while let Some(letter) = text[start..].chars().next() {
        let whole = pieces.user_defined.longest_prefix(&text[start..]);
        let end = start + whole.map_or(letter.len_utf8(), |(length, _)| length);
        let at = symbols.len();
        let next = (end < text.len()).then_some(at + 1);
        symbols.push(Symbol { start, end, previous: at.checked_sub(1), next, fixed: whole.is_some() });
        start = end;
    }
    symbols
}
