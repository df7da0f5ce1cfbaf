//! Whether the two sides of an MLP belong together. Training with weight decay makes the way in and the way out of each hidden
//! channel alike in size; one side that was put in another order, or begun anew, is not.

use anyhow::Result;
use candle_core::{Device, Tensor};

use super::{Finding, Verdict};
use crate::model::{
    decoder::{Control, Decoder},
    mlp::Body,
};

/// How alike the sizes of a layer's hidden channels are on both sides: the correlation of the logarithms of their norms.
/// `None` for experts, and where there is no MLP.
fn correlation(decoder: &Decoder, layer: usize) -> Result<Option<f64>> {
    let Some(Body::Dense(projections)) = decoder.layers[layer].mlp.as_ref().map(|mlp| &mlp.body) else {
        return Ok(None);
    };
    let norms = |linear: &crate::model::linear::Linear, across: usize| -> Result<Vec<f32>> {
        let outputs: Vec<u32> = (0..linear.outputs() as u32).collect();
        let all: Tensor = linear.rows(&outputs, &decoder.device)?;
        Ok(all.sqr()?.sum(across)?.to_device(&Device::Cpu)?.to_vec1()?)
    };
    let (way_in, way_out) = (norms(&projections.up, 1)?, norms(&projections.down, 0)?);
    let pairs: Vec<[f64; 2]> = way_in
        .iter()
        .zip(&way_out)
        .filter(|(one, other)| **one > 0.0 && **other > 0.0)
        .map(|(one, other)| [f64::from(one.ln()), f64::from(other.ln())])
        .collect();
    let mean = |at: usize| pairs.iter().map(|pair| pair[at]).sum::<f64>() / pairs.len() as f64;
    let means = [mean(0), mean(1)];
    let sum = |a: usize, b: usize| {
        pairs.iter().map(|pair| (pair[a] - means[a]) * (pair[b] - means[b])).sum::<f64>()
    };
    Ok(Some(sum(0, 1) / (sum(0, 0) * sum(1, 1)).sqrt()).filter(|value| value.is_finite()))
}

/// The layers whose MLP's sides do not belong together, where those of the others do.
pub fn findings(decoder: &Decoder, control: &Control<'_>) -> Result<Vec<Finding>> {
    const CHECK: &str = "weights.channels";
    /// What most layers have to show before one is accused, how far below it has to be, and below what.
    const USUAL: f64 = 0.5;
    const BELOW: f64 = 0.5;
    const LITTLE: f64 = 0.2;
    let mut known = Vec::new();
    for layer in 0..decoder.spec.layers {
        control.check()?;
        (control.progress)(layer, decoder.spec.layers);
        known.extend(correlation(decoder, layer)?.map(|value| (layer, value)));
    }
    if known.len() < 4 {
        return Ok(Vec::new());
    }
    let mut values: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let usual = values[values.len() / 2];
    let odd = known.iter().filter(|(_, value)| usual > USUAL && *value < usual - BELOW && *value < LITTLE);
    let mut found: Vec<Finding> = odd
        .map(|(layer, value)| {
            let text = format!(
                "the two sides of layers.{layer}.mlp do not belong together: the sizes of their channels correlate by \
                 {value:.2}, in most layers by {usual:.2}; one side is in another order, or of another model"
            );
            let finding = Finding::new(CHECK, Verdict::Fail, *value, format!("about {usual:.2}"), text);
            finding.at(format!("layer {layer}"))
        })
        .collect();
    if found.is_empty() {
        let text = format!("the two sides of every MLP belong together (usually {usual:.2})");
        found.push(Finding::new(CHECK, Verdict::Ok, usual, "alike in all layers", text));
    }
    Ok(found)
}
