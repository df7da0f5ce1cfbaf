//! What a head does at one token of a prompt: where it looks, what that key is to the query, what it writes.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{
    rank::entropy,
    score::{HeadScores, Score},
};
use crate::{
    head::{Head, PerHead},
    model::{
        decoder::{Control, Decoder},
        spec::NormPlace,
        trace::Trace,
    },
};

/// What the token that a head looks at most is to the query token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The token after an earlier copy of the query token, which stands at `earlier`.
    Induction {
        /// Position of the earlier copy.
        earlier: usize,
    },
    /// The token just before.
    Previous,
    /// An earlier copy of the query token.
    Duplicate,
    /// Position 0.
    Sink,
    /// The query token itself.
    Itself,
    /// None of these.
    Other,
}

/// What key `key` is to query `query` in the prompt `ids`; where it is several things, the rarer one.
pub fn role(ids: &[u32], query: usize, key: usize) -> Role {
    if key > 0 && key - 1 < query && ids[key - 1] == ids[query] && key < query {
        Role::Induction { earlier: key - 1 }
    } else if key == query {
        Role::Itself
    } else if ids[key] == ids[query] {
        Role::Duplicate
    } else if key == 0 {
        Role::Sink
    } else if key + 1 == query {
        Role::Previous
    } else {
        Role::Other
    }
}

/// The key that a row attends to most, and how much.
pub fn strongest(row: &[f32]) -> (usize, f32) {
    let best = row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    best.unwrap_or((0, 0.0))
}

/// What a row gives to no key: `1 - sum A[q, ..]`, the share of the head's sink in models that have sinks.
pub fn sink_share(row: &[f32]) -> f32 {
    (1.0 - row.iter().map(|&weight| f64::from(weight)).sum::<f64>()).clamp(0.0, 1.0) as f32
}

/// The scores of a single row of any prompt: attention summed over the keys that each score is about. `prefix` and `tl`
/// need blocks and are left out.
pub fn row_scores(ids: &[u32], query: usize, row: &[f32]) -> HeadScores {
    let mut scores = HeadScores::default();
    let earlier = || (0..query).filter(|&key| ids[key] == ids[query]);
    scores.set(Score::Induction, earlier().map(|key| row[key + 1]).sum());
    scores.set(Score::Duplicate, earlier().map(|key| row[key]).sum());
    scores.set(Score::Previous, if query > 0 { row[query - 1] } else { 0.0 });
    scores.set(Score::Sink, row[0]);
    scores.set(Score::Itself, row[query]);
    scores.set(Score::Entropy, entropy(row, query).unwrap_or(0.0));
    scores
}

/// The scores of row `query` of every head.
pub fn at_query(
    decoder: &Decoder,
    trace: &Trace,
    query: usize,
    control: &Control<'_>,
) -> Result<PerHead<HeadScores>> {
    let spec = &decoder.spec;
    let mut scores = Vec::with_capacity(spec.layers * spec.heads);
    for layer in 0..spec.layers {
        control.check()?;
        let rows = trace.rows_of_heads(layer, query)?;
        scores.extend(rows.iter().map(|row| row_scores(&trace.ids, query, row)));
    }
    Ok(PerHead::new(spec.heads, scores))
}

/// Direct logit attribution: what the head's output at `query` adds to the logit of `target` by itself, less the mean
/// over the vocabulary, with the last normalisation's divisor as it was (Elhage et al. 2021). `None` in models that normalise
/// the residual stream after every block: nothing in them reaches the logits as it was written.
pub fn attribution(
    decoder: &Decoder,
    trace: &Trace,
    head: Head,
    query: usize,
    target: u32,
) -> Result<Option<f32>> {
    if decoder.spec.norm.place == NormPlace::Sum {
        return Ok(None);
    }
    let spec = &decoder.spec;
    let outputs = |wanted: &dyn Fn(usize) -> bool| -> Result<Tensor> {
        let mut all = Vec::with_capacity(spec.heads * spec.value_size);
        for index in 0..spec.heads {
            match wanted(index) {
                true => all.extend(trace.output(Head::new(head.layer, index), query..query + 1)?),
                false => all.resize(all.len() + spec.value_size, 0.0),
            }
        }
        let size = all.len();
        Ok(Tensor::from_vec(all, (1, size), &Device::Cpu)?.to_device(&decoder.device)?)
    };
    let part = outputs(&|index| index == head.head)?;
    // The other heads matter only where what they write is normalised together.
    let whole = if spec.norm.place.is_after() { outputs(&|_| true)? } else { part.clone() };
    let written = decoder.write(head.layer, &part, &whole)?;
    let last = trace.last.view()?.narrow(0, query, 1)?;
    let logits = decoder.direct_logits(&written, &last)?;
    let logits = logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?;
    let mean = logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / logits.len() as f64;
    Ok(Some((f64::from(logits[target as usize]) - mean) as f32))
}

/// Probabilities of every next token from its logits.
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    logits.iter().map(|&logit| (f64::from(logit - largest).exp() / total) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_for_what_it_is_to_the_query() {
        // <bos> a b c a
        let ids = [0, 5, 6, 7, 5];
        assert_eq!(role(&ids, 4, 2), Role::Induction { earlier: 1 });
        assert_eq!(role(&ids, 4, 1), Role::Duplicate);
        assert_eq!(role(&ids, 4, 3), Role::Previous);
        assert_eq!(role(&ids, 4, 4), Role::Itself);
        assert_eq!(role(&ids, 4, 0), Role::Sink);
        assert_eq!(role(&ids, 3, 1), Role::Other);
    }

    #[test]
    fn what_no_key_gets_is_the_sink_s() {
        assert!((sink_share(&[0.25, 0.3]) - 0.45).abs() < 1e-6);
        assert_eq!(sink_share(&[0.5, 0.500_000_1]), 0.0);
    }

    #[test]
    fn row_scores_sum_over_every_earlier_copy() {
        // a b a c a
        let ids = [5, 6, 5, 7, 5];
        let row = [0.1, 0.2, 0.15, 0.3, 0.25];
        let scores = row_scores(&ids, 4, &row);
        assert!((scores.get(Score::Induction) - 0.5).abs() < 1e-6);
        assert!((scores.get(Score::Duplicate) - 0.25).abs() < 1e-6);
        assert_eq!(scores.get(Score::Previous), 0.3);
        assert_eq!(scores.get(Score::Itself), 0.25);
    }
}
