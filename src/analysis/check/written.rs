//! What heads write: heads that write nothing, and heads of a layer that write the same.

use anyhow::Result;
use candle_core::{D, Device, Tensor};

use super::{Finding, Verdict};
use crate::{
    head::Head,
    model::{
        decoder::{Control, Decoder},
        edit::Part,
        trace::Trace,
    },
    text::{count, list},
};

/// Tokens of a text, its last, that heads are looked at on.
const TOKENS: usize = 8;

/// The heads that write next to nothing and the pairs that write the same, on the last tokens of a text.
pub fn findings(decoder: &Decoder, trace: &Trace, control: &Control<'_>) -> Result<Vec<Finding>> {
    let (mut silent, mut alike) = (Vec::new(), Vec::new());
    let tokens = trace.len().saturating_sub(TOKENS)..trace.len();
    for layer in 0..decoder.spec.layers {
        control.check()?;
        let outputs = decoder.values(trace, layer, Part::Heads, tokens.clone())?;
        let written = written(decoder, layer, &outputs)?;
        silent.extend(silent_of(&written).into_iter().map(|head| Head::new(layer, head)));
        alike.extend(alike_of(&written).into_iter().map(|pair| pair.map(|head| Head::new(layer, head))));
    }
    let all = decoder.spec.layers * decoder.spec.heads;
    let mut found = Vec::new();
    if all == 0 {
        return Ok(found);
    }
    let text = match list(silent.iter().map(Head::to_string), 4) {
        None => "every head writes something".to_owned(),
        Some(names) => {
            let heads = count(silent.len(), "head");
            format!(
                "{heads} of {all} write next to nothing: {names}; they were pruned, or never came to do anything"
            )
        }
    };
    let verdict = if silent.is_empty() { Verdict::Ok } else { Verdict::Note };
    let finding = Finding::new("inside.silent", verdict, silent.len() as f64 / all as f64, "few", text);
    found.push(match silent.first() {
        Some(head) => finding.at(format!("head {head}")),
        None => finding,
    });
    let text = match list(alike.iter().map(|[one, other]| format!("{one} and {other}")), 4) {
        None => "no two heads of a layer write the same".to_owned(),
        Some(pairs) => {
            format!("heads that write the same: {pairs}; one of two could be left out, or was copied")
        }
    };
    let verdict = if alike.is_empty() { Verdict::Ok } else { Verdict::Note };
    let finding = Finding::new("inside.alike", verdict, alike.len() as f64, "none", text);
    found.push(match alike.first() {
        Some([head, _]) => finding.at(format!("head {head}")),
        None => finding,
    });
    Ok(found)
}

/// What each head adds to the residual stream, `[heads][tokens * width]`, of the outputs of all, `[tokens, heads * head_size]`.
fn written(decoder: &Decoder, layer: usize, outputs: &Tensor) -> Result<Vec<Vec<f32>>> {
    let (tokens, all) = outputs.dims2()?;
    let size = all / decoder.spec.heads;
    let mut written = Vec::with_capacity(decoder.spec.heads);
    for head in 0..decoder.spec.heads {
        let part = outputs.narrow(D::Minus1, head * size, size)?;
        let blank = |columns: usize| Tensor::zeros((tokens, columns), outputs.dtype(), outputs.device());
        let part = Tensor::cat(&[&blank(head * size)?, &part, &blank(all - (head + 1) * size)?], 1)?;
        let part = decoder.write(layer, &part.contiguous()?, outputs)?;
        written.push(part.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?);
    }
    Ok(written)
}

fn dot(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other)).sum()
}

/// The heads whose writing is less than a hundredth as long as that of the middle one.
fn silent_of(written: &[Vec<f32>]) -> Vec<usize> {
    const LITTLE: f64 = 0.01;
    let lengths: Vec<f64> = written.iter().map(|it| dot(it, it).sqrt()).collect();
    let mut sorted = lengths.clone();
    sorted.sort_by(f64::total_cmp);
    let usual = sorted[sorted.len() / 2];
    (0..lengths.len()).filter(|&head| lengths[head] < LITTLE * usual || lengths[head] == 0.0).collect()
}

/// The pairs of heads that write the same, up to a factor.
fn alike_of(written: &[Vec<f32>]) -> Vec<[usize; 2]> {
    const SAME: f64 = 0.99;
    let mut pairs = Vec::new();
    for (one, a) in written.iter().enumerate() {
        for (other, b) in written.iter().enumerate().skip(one + 1) {
            let lengths = (dot(a, a) * dot(b, b)).sqrt();
            if lengths > 0.0 && dot(a, b) / lengths > SAME {
                pairs.push([one, other]);
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silent_heads_and_copies_are_found() {
        let heads = vec![vec![1.0, 2.0], vec![0.001, 0.0], vec![-2.0, 1.0], vec![2.0, 4.0], vec![0.0, 0.0]];
        assert_eq!(silent_of(&heads), [1, 4]);
        assert_eq!(alike_of(&heads), [[0, 3]]);
        assert_eq!(silent_of(&[vec![0.0], vec![0.0]]), [0, 1]);
    }
}
