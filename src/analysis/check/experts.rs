//! How a mixture's experts share the tokens of a text.

use anyhow::Result;

use super::{Finding, Verdict};
use crate::{
    model::{
        decoder::{Control, Decoder},
        trace::Trace,
    },
    text::{count, list},
};

/// The experts that no token of a text goes to, and layers in which one has nearly all; nothing of models without experts.
pub fn findings(decoder: &Decoder, trace: &Trace, control: &Control<'_>) -> Result<Vec<Finding>> {
    const CHECK: &str = "inside.experts";
    /// The share of a layer's experts that may have nothing to do, and that of tokens that one may have.
    const IDLE: f64 = 0.5;
    const GREEDY: f64 = 0.9;
    let (mut idle, mut all, mut worst) = (Vec::new(), 0, (0.0, 0));
    let (mut greedy, mut tokens) = (Vec::new(), 0);
    for layer in 0..decoder.spec.layers {
        control.check()?;
        let Some((experts, picked)) = decoder.picked(trace, layer)? else { continue };
        tokens = picked.len();
        let mut counts = vec![0usize; experts];
        picked.iter().flatten().for_each(|(expert, _)| counts[*expert] += 1);
        let none: Vec<String> =
            (0..experts).filter(|&at| counts[at] == 0).map(|at| format!("{layer}.{at}")).collect();
        let share = none.len() as f64 / experts as f64;
        if share > worst.0 {
            worst = (share, layer);
        }
        let most = counts.iter().max().copied().unwrap_or_default() as f64 / tokens.max(1) as f64;
        let each = picked.first().map_or(1, Vec::len);
        if most > GREEDY && experts > 2 * each {
            greedy.push(layer);
        }
        all += experts;
        idle.extend(none);
    }
    if all == 0 {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let share = idle.len() as f64 / all as f64;
    let of = count(all, "expert");
    let (verdict, text) = match list(idle.iter().cloned(), 4) {
        None => (Verdict::Ok, format!("every one of {of} works on some of {tokens} tokens")),
        Some(names) => {
            let text =
                format!("{} of {of} work on none of {tokens} tokens (layer.expert): {names}", idle.len());
            match worst.0 > IDLE {
                true => {
                    (Verdict::Warn, format!("{text}; in layer {} most do: its router may be broken", worst.1))
                }
                false => (Verdict::Note, format!("{text}; others may be for other text")),
            }
        }
    };
    let finding = Finding::new(CHECK, verdict, share, "few", text);
    found.push(if worst.0 > IDLE { finding.at(format!("layer {}", worst.1)) } else { finding });
    if let (Some(layer), Some(layers)) =
        (greedy.first(), list(greedy.iter().map(|layer| format!("layer {layer}")), 4))
    {
        let text =
            format!("nearly all tokens go to one expert in {layers}: its router may be broken or collapsed");
        found.push(
            Finding::new(CHECK, Verdict::Warn, greedy.len() as f64, "none", text)
                .at(format!("layer {layer}")),
        );
    }
    Ok(found)
}
