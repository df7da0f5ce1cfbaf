//! Other readings of the same weights: most broken checkpoints are sound weights that are read wrongly, and a text that is
//! read better under another reading proves it.
//!
//! A reading is a copy of the decoder that shares the weights; nothing is loaded again, and nothing is changed on disk.

use std::{mem::swap, sync::Arc};

use anyhow::Result;

use super::{Finding, Verdict};
use crate::{
    analysis::{doubt, loss},
    model::{
        attention::Rule,
        decoder::{Control, Decoder, LayerWeights, Pass},
        linear::Linear,
        mlp::Body,
        norm::NormWeights,
        rotary::{self, Frequencies, Rotary},
        spec::{Activation, NormKind, Positions, Spec},
        trace::Trace,
    },
};

/// Nats a token that another reading has to gain, on each text, to accuse the one that is used. Of SmolLM2's and the shipped
/// models' other readings none gains as much; of wrong readings of SmolLM2 a base ten times off costs least, 0.07 in 512 tokens.
pub const GAIN: f64 = 0.05;
/// Standard errors that the gain has to be, on each text.
pub const ERRORS: f64 = 4.0;

/// Another way to read the weights.
#[derive(Clone)]
pub struct Reading {
    /// The check that it belongs to.
    pub check: &'static str,
    /// The key and the value that are used: `rope_theta: 10000`.
    pub used: String,
    /// What this one puts in the place of the value.
    pub instead: String,
    /// The first layer that it changes.
    pub layer: usize,
    change: Arc<dyn Fn(&mut Decoder) + Send + Sync>,
}

impl Reading {
    fn new(
        check: &'static str,
        used: impl Into<String>,
        instead: impl Into<String>,
        change: impl Fn(&mut Decoder) + Send + Sync + 'static,
    ) -> Self {
        Self { check, used: used.into(), instead: instead.into(), layer: 0, change: Arc::new(change) }
    }

    /// A reading that changes the specification alone.
    fn spec(
        check: &'static str,
        used: impl Into<String>,
        instead: impl Into<String>,
        change: impl Fn(&mut Spec) + Send + Sync + 'static,
    ) -> Self {
        Self::new(check, used, instead, move |decoder| {
            let mut spec = (*decoder.spec).clone();
            change(&mut spec);
            decoder.spec = Arc::new(spec);
        })
    }

    /// Whether it changes little among tokens that are near each other.
    fn is_far(&self) -> bool {
        ["probe.rotary_base", "probe.rotary_scaling", "probe.window"].contains(&self.check)
    }

    /// The decoder under this reading.
    pub fn of(&self, decoder: &Decoder) -> Decoder {
        let mut other = decoder.clone();
        (self.change)(&mut other);
        other
    }
}

/// Every reading that can matter for a model but for the order of its layers, those that cost most when they are wrong first.
pub fn all(decoder: &Decoder) -> Vec<Reading> {
    let mut all = norms(decoder);
    all.extend(rotations(decoder));
    all.extend(mlps(decoder));
    all.extend(ends(decoder));
    all.extend(attention(decoder));
    all.extend(transposed(decoder));
    all
}

fn norms(decoder: &Decoder) -> Vec<Reading> {
    const CHECK: &str = "probe.norm_gain";
    let spec = &decoder.spec;
    let mut all = Vec::new();
    if spec.norm.kind != NormKind::None {
        for (by, instead) in [(1.0, "one more"), (-1.0, "one less")] {
            all.push(Reading::new(
                CHECK,
                "gains of normalisations as they are stored",
                instead,
                move |decoder| {
                    for norm in norms_of(decoder) {
                        if let Ok(gain) = &norm.gain + by {
                            norm.gain = gain;
                        }
                    }
                },
            ));
        }
    }
    if spec.norm.last && decoder.norm.kind != NormKind::None {
        all.push(Reading::new(
            "probe.final_norm",
            "a normalisation before the unembedding",
            "none",
            |decoder| {
                decoder.norm.kind = NormKind::None;
            },
        ));
    }
    all
}

/// Every normalisation whose gains are stored.
fn norms_of(decoder: &mut Decoder) -> impl Iterator<Item = &mut NormWeights> {
    let Decoder { layers, norm, .. } = decoder;
    layers
        .iter_mut()
        .flat_map(|layer| {
            let LayerWeights { norm, post_norm, mlp, .. } = layer;
            let of_mlp = mlp.iter_mut().flat_map(|mlp| [&mut mlp.norm].into_iter().chain(&mut mlp.post_norm));
            [norm].into_iter().chain(post_norm).chain(of_mlp)
        })
        .chain([norm])
        .filter(|norm| norm.kind != NormKind::None)
}

fn rotations(decoder: &Decoder) -> Vec<Reading> {
    let Positions::Rotary { tables, .. } = &decoder.spec.positions else { return Vec::new() };
    let mut all = Vec::new();
    let rotated = |check, used: &str, instead: &str, change: fn(&mut Rotary)| {
        Reading::spec(check, used, instead, move |spec| each_rotation(spec, change))
    };
    all.push(rotated(
        "probe.rotary_pairing",
        "rotary pairs of q and k as stored",
        "the other pairing",
        |rotary| {
            rotary.pairing = rotary.pairing.other();
        },
    ));
    all.push(rotated("probe.rotary_pairing", "rotary pairs of q as stored", "the other pairing", |rotary| {
        rotary.pairing = rotary.pairing.other();
        rotary.keys_otherwise = !rotary.keys_otherwise;
    }));
    all.push(rotated("probe.rotary_pairing", "rotary pairs of k as stored", "the other pairing", |rotary| {
        rotary.keys_otherwise = !rotary.keys_otherwise;
    }));
    // Several rotations, of layers that slide and others, are each other's alternatives no longer: the widest is asked about.
    let Some(table) = tables.last() else { return all };
    let (theta, scaling) = base_of(table);
    let Some(theta) = theta else { return all };
    let mut bases: Vec<f64> = [0.1, 1.0 / 3.0, 3.0, 10.0].map(|times| theta * times).to_vec();
    for usual in [1e4, 1e5, 5e5, 1e6] {
        if bases.iter().all(|base| (base / usual).ln().abs() > 0.2) {
            bases.push(usual);
        }
    }
    bases.retain(|base| (base / theta).ln().abs() > 0.2);
    let used = format!("rope_theta: {}", number(theta));
    for base in bases {
        all.push(Reading::spec("probe.rotary_base", used.clone(), number(base), move |spec| {
            each_rotation(spec, |rotary| {
                let size = rotary.size;
                let ratio: Vec<f64> = rotary::plain(theta, size)
                    .iter()
                    .zip(rotary::plain(base, size))
                    .map(|(old, new)| f64::from(new) / f64::from(*old))
                    .collect();
                rotary.frequencies = match &rotary.frequencies {
                    Frequencies::Fixed(angles) => Frequencies::Fixed(times(angles, &ratio)),
                    Frequencies::ByLength { limit, short, long } => Frequencies::ByLength {
                        limit: *limit,
                        short: times(short, &ratio),
                        long: times(long, &ratio),
                    },
                    Frequencies::Dynamic { limit, factor, .. } => {
                        Frequencies::Dynamic { limit: *limit, theta: base, factor: *factor }
                    }
                };
            });
        }));
    }
    if scaling {
        all.push(Reading::spec("probe.rotary_scaling", "rope_scaling as configured", "none", move |spec| {
            each_rotation(spec, |rotary| {
                rotary.frequencies = Frequencies::Fixed(rotary::plain(theta, rotary.size));
                (rotary.factor, rotary.factor_beyond) = (1.0, None);
            });
        }));
    } else {
        for factor in [2.0f32, 4.0, 8.0] {
            let instead = format!("linear by {factor}");
            all.push(Reading::spec("probe.rotary_scaling", "rope_scaling: none", instead, move |spec| {
                each_rotation(spec, |rotary| {
                    let plain = rotary::plain(theta, rotary.size);
                    rotary.frequencies =
                        Frequencies::Fixed(plain.into_iter().map(|angle| angle / factor).collect());
                });
            }));
        }
    }
    all
}

fn each_rotation(spec: &mut Spec, change: impl Fn(&mut Rotary)) {
    if let Positions::Rotary { tables, .. } = &mut spec.positions {
        tables.iter_mut().for_each(change);
    }
}

/// The base of a rotation, as its first two angles tell it, and whether it is stretched.
fn base_of(rotary: &Rotary) -> (Option<f64>, bool) {
    let angles = match &rotary.frequencies {
        Frequencies::Fixed(angles) => angles,
        Frequencies::ByLength { short, .. } => short,
        Frequencies::Dynamic { theta, .. } => return (Some(*theta), true),
    };
    let (Some(first), Some(second)) = (angles.first(), angles.get(1)) else { return (None, false) };
    let theta = (f64::from(*first) / f64::from(*second)).powf(rotary.size as f64 / 2.0);
    let plain = rotary::plain(theta, rotary.size);
    let is_plain = angles.iter().zip(plain).all(|(angle, plain)| (angle / plain - 1.0).abs() < 1e-2);
    (Some(theta).filter(|theta| theta.is_finite() && *theta > 1.0), !is_plain || rotary.factor != 1.0)
}

fn times(angles: &[f32], ratio: &[f64]) -> Vec<f32> {
    angles.iter().zip(ratio).map(|(angle, ratio)| (f64::from(*angle) * ratio) as f32).collect()
}

/// A number of a configuration, without what a root of it has left behind the third digit.
fn number(value: f64) -> String {
    let unit = 10f64.powf(value.abs().log10().floor() - 2.0);
    format!("{}", (value / unit).round() * unit)
}

fn mlps(decoder: &Decoder) -> Vec<Reading> {
    let Some(mlp) = decoder.spec.mlp.first() else { return Vec::new() };
    let mut all = Vec::new();
    if mlp.gated {
        all.push(Reading::new(
            "probe.gate",
            "gate and up as they are named",
            "the other way round",
            |decoder| {
                for layer in &mut decoder.layers {
                    match layer.mlp.as_mut().map(|mlp| &mut mlp.body) {
                        Some(Body::Dense(projections)) => swap_gate(projections),
                        Some(Body::Experts(mixture)) => {
                            mixture.experts.iter_mut().chain(&mut mixture.shared).for_each(swap_gate)
                        }
                        None => {}
                    }
                }
            },
        ));
    }
    let names = [
        (Activation::Silu, "silu"),
        (Activation::GeluTanh, "gelu_pytorch_tanh"),
        (Activation::Relu, "relu"),
        (Activation::ReluSquared, "relu2"),
    ];
    let like = |one: Activation, other: Activation| {
        // The ways to compute GELU differ by less than any text shows.
        let gelu = |it| matches!(it, Activation::Gelu | Activation::GeluTanh | Activation::GeluSigmoid);
        one == other || gelu(one) && gelu(other)
    };
    if matches!(mlp.activation, Activation::Solu | Activation::ClippedGate { .. }) {
        return all;
    }
    let used = match mlp.activation {
        Activation::Silu => "silu",
        Activation::Relu => "relu",
        Activation::ReluSquared => "relu2",
        _ => "gelu",
    };
    for (activation, name) in names.into_iter().filter(|&(other, _)| !like(other, mlp.activation)) {
        all.push(Reading::spec("probe.activation", format!("activation: {used}"), name, move |spec| {
            spec.mlp.iter_mut().for_each(|mlp| mlp.activation = activation);
        }));
    }
    all
}

fn swap_gate(projections: &mut crate::model::mlp::Projections) {
    if let Some(gate) = &mut projections.gate {
        swap(gate, &mut projections.up);
    }
}

fn ends(decoder: &Decoder) -> Vec<Reading> {
    let spec = &decoder.spec;
    let mut all = Vec::new();
    let root = (spec.width as f32).sqrt();
    let (used, scale) = match spec.embedding.scale {
        1.0 => ("embedding multiplier: none", root),
        _ => ("embedding multiplier as configured", 1.0),
    };
    let instead = if scale == 1.0 { "none".to_owned() } else { format!("the root of the width, {scale:.1}") };
    all.push(Reading::spec("probe.embedding_scale", used, instead, move |spec| spec.embedding.scale = scale));
    if spec.residual_scale != 1.0 {
        let used = format!("residual multiplier: {}", spec.residual_scale);
        all.push(Reading::spec("probe.residual_scale", used, "none", |spec| spec.residual_scale = 1.0));
    }
    if spec.logits.scale != 1.0 {
        let used = format!("logits multiplier: {}", spec.logits.scale);
        all.push(Reading::spec("probe.logit_scale", used, "none", |spec| spec.logits.scale = 1.0));
    }
    if decoder.has_own_unembedding() && spec.embedding.width == decoder.unembedding_width() {
        all.push(Reading::new(
            "probe.tied_head",
            "the unembedding as stored",
            "the embedding (tied)",
            |decoder| {
                decoder.tie();
            },
        ));
    }
    all
}

fn attention(decoder: &Decoder) -> Vec<Reading> {
    let spec = &decoder.spec;
    let mut all = Vec::new();
    if spec.layers == 0 {
        return all;
    }
    let size = spec.head_size as f32;
    let usual = [("1 / sqrt(head size)", 1.0 / size.sqrt()), ("1 / head size", 1.0 / size), ("1", 1.0)];
    let scale = decoder.rules[0].scale;
    for (name, other) in usual.into_iter().filter(|(_, other)| (other / scale).ln().abs() > 0.05) {
        let used = format!("attention scale: {scale:.4}");
        all.push(rules("probe.attention_scale", used, name.to_owned(), move |rule| {
            rule.scale *= other / scale
        }));
    }
    if decoder.rules.iter().any(|rule| rule.window.is_some()) {
        all.push(rules("probe.window", "sliding_window as configured".into(), "none".into(), |rule| {
            rule.window = None;
        }));
    }
    all
}

/// The square matrices of attention read with rows and columns exchanged: nothing but the numbers themselves tells that they
/// were stored the other way round.
fn transposed(decoder: &Decoder) -> Vec<Reading> {
    type Of = fn(&mut LayerWeights) -> &mut Linear;
    let parts: [(&str, Of); 4] = [
        ("q", |layer| &mut layer.query),
        ("k", |layer| &mut layer.key),
        ("v", |layer| &mut layer.value),
        ("o", |layer| &mut layer.output),
    ];
    let Some(mut first) = decoder.layers.first().cloned() else { return Vec::new() };
    let square: Vec<(&str, Of)> =
        parts.into_iter().filter(|(_, part)| part(&mut first).transposed().is_some()).collect();
    let mut groups: Vec<Vec<(&str, Of)>> = square.iter().map(|part| vec![*part]).collect();
    let outer = |(name, _): &(&str, Of)| ["q", "o"].contains(name);
    groups.extend([square.iter().copied().filter(outer).collect(), square.clone()]);
    groups.retain(|group| !group.is_empty());
    groups.dedup_by_key(|group| group.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let reading = |group: Vec<(&str, Of)>| {
        let names = group.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let parts: Vec<Of> = group.into_iter().map(|(_, part)| part).collect();
        Reading::new("probe.transposed", format!("{names} as stored"), "rows for columns", move |decoder| {
            for layer in &mut decoder.layers {
                for part in &parts {
                    let linear = part(layer);
                    *linear = linear.transposed().unwrap_or_else(|| linear.clone());
                }
            }
        })
    };
    groups.into_iter().map(reading).collect()
}

fn rules(
    check: &'static str,
    used: String,
    instead: String,
    change: impl Fn(&mut Rule) + Send + Sync + 'static,
) -> Reading {
    Reading::new(check, used, instead, move |decoder| {
        let mut rules = decoder.rules.to_vec();
        rules.iter_mut().for_each(&change);
        decoder.rules = rules.into();
    })
}

/// Two layers in the other order: each two neighbours, and `suspects`, pairs that the weights say may be exchanged.
pub fn order(decoder: &Decoder, suspects: &[[usize; 2]]) -> Vec<Reading> {
    let swapped = |[one, other]: [usize; 2]| {
        let used = format!("layers {one} and {other} as they are numbered");
        let mut reading = Reading::new("probe.layer_order", used, "the other way round", move |decoder| {
            decoder.layers.swap(one, other);
        });
        reading.layer = one;
        reading
    };
    let alike = |[one, other]: &[usize; 2]| {
        let mlp = &decoder.spec.mlp;
        decoder.rules[*one] == decoder.rules[*other] && mlp.get(*one) == mlp.get(*other)
    };
    let neighbours = (1..decoder.spec.layers).map(|layer| [layer - 1, layer]);
    let apart = suspects.iter().copied().filter(|[one, other]| other - one > 1);
    apart.chain(neighbours).filter(alike).map(swapped).collect()
}

/// What a reading gains over the one that is used, in nats a token, on one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// The mean over the tokens.
    pub mean: f64,
    /// Its standard error, of the paired differences.
    pub error: f64,
}

impl Gain {
    /// From losses on the same tokens.
    pub fn of(used: &[f32], other: &[f32]) -> Self {
        let differences: Vec<f64> =
            used.iter().zip(other).map(|(used, other)| f64::from(*used) - f64::from(*other)).collect();
        Self { mean: doubt::mean(&differences), error: doubt::standard_error(&differences) }
    }

    /// Whether it is more than any reading of a sound model gains.
    pub fn accuses(self) -> bool {
        self.mean > GAIN && self.mean > ERRORS * self.error
    }
}

/// A text as the model reads it.
pub struct Text {
    /// Its tokens.
    pub ids: Vec<u32>,
    /// What a pass over all but the last has left.
    pub trace: Trace,
    /// The loss on each token but the first.
    pub losses: Vec<f32>,
}

impl Text {
    /// Reads a text of two tokens at least.
    pub fn read(decoder: &Decoder, ids: Vec<u32>, control: &Control<'_>) -> Result<Self> {
        let mut trace = decoder.trace();
        decoder.extend(&mut trace, &ids[..ids.len() - 1], &Pass::plain(control))?;
        let losses = loss::of_trace(decoder, &trace, &ids[1..], control)?;
        Ok(Self { ids, trace, losses })
    }

    /// What a reading gains on its first `tokens` tokens.
    fn gain(&self, reading: &Reading, other: &Decoder, tokens: usize, control: &Control<'_>) -> Result<Gain> {
        let ids = &self.ids[..tokens.min(self.ids.len())];
        let read = ids.len() - 1;
        let mut trace = other.trace();
        if reading.layer == 0 {
            other.extend(&mut trace, &ids[..read], &Pass::plain(control))?;
        } else {
            // Below the first layer that it changes everything is as it was.
            let mut base = self.trace.clone();
            base.truncate(read);
            other.follow(&mut trace, &base, reading.layer, &Pass::plain(control))?;
        }
        let losses = loss::of_trace(other, &trace, &ids[1..], control)?;
        let gain = Gain::of(&self.losses, &losses);
        // A guess is no reading: zeros read better than random weights.
        Ok(match loss::beats_a_guess(loss::mean(&losses), other.spec.vocabulary) {
            true => gain,
            false => Gain { mean: 0.0, ..gain },
        })
    }
}

/// Tokens of the first text that a reading is tried on before it is given all of every text.
const FIRST: usize = 192;

/// What a reading gains on every text; `None` where it gains too little to accuse.
pub fn gains(
    reading: &Reading,
    decoder: &Decoder,
    texts: &[Text],
    control: &Control<'_>,
) -> Result<Option<Vec<Gain>>> {
    let other = reading.of(decoder);
    if let (Some(first), false) = (texts.first(), reading.is_far())
        && first.gain(reading, &other, FIRST, control)?.mean < GAIN / 5.0
    {
        return Ok(None);
    }
    let mut gains = Vec::new();
    for text in texts {
        let gain = text.gain(reading, &other, usize::MAX, control)?;
        if gain.mean <= GAIN {
            return Ok(None);
        }
        gains.push(gain);
    }
    Ok(Some(gains))
}

/// A reading that accuses, and what it gains on each text.
struct Accuser<'a> {
    reading: &'a Reading,
    gains: Vec<Gain>,
}

impl Accuser<'_> {
    fn mean(&self) -> f64 {
        self.gains.iter().map(|gain| gain.mean).sum::<f64>() / self.gains.len() as f64
    }

    fn finding(&self, usual: String) -> Finding {
        let Reading { check, used, instead, .. } = self.reading;
        let squares = self.gains.iter().map(|gain| gain.error * gain.error).sum::<f64>();
        let error = squares.sqrt() / self.gains.len() as f64;
        let text = format!("{used} reads worse than {instead} by {:.2} ± {error:.2} nats", self.mean());
        Finding::new(check, Verdict::Fail, self.mean(), usual, text).at(used.clone())
    }
}

/// The findings of the readings that were tried. The best of all accuses; that of another check only where it still gains beside
/// those that accuse already, as several readings may mend a little of what one fault has spoilt.
pub fn findings(
    tried: &[(Reading, Option<Vec<Gain>>)],
    decoder: &Decoder,
    texts: &[Text],
    control: &Control<'_>,
) -> Result<Vec<Finding>> {
    let mut checks: Vec<&'static str> = tried.iter().map(|(reading, _)| reading.check).collect();
    checks.dedup();
    let usual = format!("no other reading gains {GAIN} nats");
    let (mut found, mut accusers) = (Vec::new(), Vec::new());
    for check in checks {
        let of_check: Vec<_> = tried.iter().filter(|(reading, _)| reading.check == check).collect();
        // Of readings of one thing the best is named, where one at least is beyond the noise.
        let accuses = |gains: &Option<Vec<Gain>>| {
            gains.as_ref().is_some_and(|gains| gains.iter().all(|gain| gain.accuses()))
        };
        let is_accused = of_check.iter().any(|(_, gains)| accuses(gains));
        let accusing =
            of_check.iter().filter_map(|(reading, gains)| Some(Accuser { reading, gains: gains.clone()? }));
        match accusing.max_by(|one, other| one.mean().total_cmp(&other.mean())) {
            Some(accuser) if is_accused => accusers.push(accuser),
            _ => {
                let text = match of_check.len() {
                    1 => "the other reading is no better".to_owned(),
                    count => format!("none of {count} other readings is better"),
                };
                found.push(Finding::new(check, Verdict::Ok, 0.0, usual.clone(), text));
            }
        }
    }
    accusers.sort_by(|one, other| other.mean().total_cmp(&one.mean()));
    let mut mended = decoder.clone();
    let mut losses: Vec<Vec<f32>> = texts.iter().map(|text| text.losses.clone()).collect();
    for (at, accuser) in accusers.into_iter().enumerate() {
        let reading = accuser.reading;
        let other = reading.of(&mended);
        let others = texts.iter().map(|text| loss::per_token(&other, &text.ids, control));
        let others = others.collect::<Result<Vec<_>>>()?;
        let gains: Vec<Gain> =
            losses.iter().zip(&others).map(|(used, other)| Gain::of(used, other)).collect();
        if at == 0 || gains.iter().all(|gain| gain.accuses()) {
            found.push(Accuser { gains, ..accuser }.finding(usual.clone()));
            (mended, losses) = (other, others);
        } else {
            let text = format!("{} is better alone, and not beside what is found above", reading.instead);
            found.push(Finding::new(reading.check, Verdict::Ok, accuser.mean(), usual.clone(), text));
        }
    }
    Ok(found)
}
