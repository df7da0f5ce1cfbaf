//! One pass over the stored weights, without running the model: what no training leaves behind.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;

use super::{Finding, Verdict};
use crate::{
    checkpoint::weights::StoredTensor,
    text::{count, excerpt},
};

/// Numbers that are widened at once.
const PIECE: usize = 1 << 16;
/// Numbers of a tensor that are kept to compare it with others.
const SAMPLES: usize = 256;
/// The largest number of f16.
const F16_MOST: f32 = 65504.0;

/// What one tensor holds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// The type that it is stored in.
    pub kind: String,
    /// How many numbers it holds.
    pub count: usize,
    /// How many of them are NaN.
    pub nans: usize,
    /// How many are infinite.
    pub infinite: usize,
    /// The smallest and the largest of the others.
    pub range: [f32; 2],
    /// Root mean square of the others.
    pub rms: f64,
    /// Rows of a matrix that are zero throughout.
    zero_rows: usize,
    /// Numbers from all over it.
    samples: Vec<f32>,
}

impl Survey {
    /// Of a stored tensor.
    pub fn of(tensor: &StoredTensor) -> Self {
        let count = tensor.count();
        // Whole blocks of packed types, and rows, so that scales find their tiles.
        let row = tensor.shape.last().copied().unwrap_or(1).max(1);
        let piece = row * (PIECE / row).max(1);
        let parts = (0..count.div_ceil(piece)).into_par_iter().map(|at| {
            let mut numbers = vec![0.0; piece.min(count - at * piece)];
            tensor.widen_from(at * piece, &mut numbers);
            let mut part = Part::default();
            numbers.iter().for_each(|&number| part.add(number));
            part.zero_rows = numbers.chunks_exact(row).filter(|row| row.iter().all(|&it| it == 0.0)).count();
            part
        });
        let all = parts.reduce(Part::default, Part::join);
        let step = (count / SAMPLES).max(1);
        let mut samples = Vec::new();
        let mut line = vec![0.0; row];
        let mut read = usize::MAX;
        for at in (0..count).step_by(step).take(SAMPLES) {
            if read != at / row {
                read = at / row;
                tensor.widen_from(read * row, &mut line);
            }
            samples.push(line[at % row]);
        }
        let finite = (count - all.nans - all.infinite).max(1);
        Self {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            kind: tensor.kind.name(),
            count,
            nans: all.nans,
            infinite: all.infinite,
            range: all.range.unwrap_or_default(),
            rms: (all.squares / finite as f64).sqrt(),
            zero_rows: if tensor.shape.len() > 1 { all.zero_rows } else { 0 },
            samples,
        }
    }

    fn is_matrix(&self) -> bool {
        self.shape.iter().filter(|&&side| side > 1).count() > 1
    }

    fn is_finite(&self) -> bool {
        self.nans + self.infinite == 0
    }

    /// Whether all its numbers are the same.
    fn is_constant(&self) -> bool {
        self.count > 1 && self.is_finite() && self.range[0] == self.range[1]
    }

    fn named(&self) -> String {
        format!("`{}`", excerpt(&self.name))
    }
}

/// What a part of a tensor holds.
#[derive(Default)]
struct Part {
    nans: usize,
    infinite: usize,
    range: Option<[f32; 2]>,
    squares: f64,
    zero_rows: usize,
}

impl Part {
    fn add(&mut self, number: f32) {
        if number.is_nan() {
            self.nans += 1;
        } else if number.is_infinite() {
            self.infinite += 1;
        } else {
            let [low, high] = self.range.unwrap_or([number; 2]);
            self.range = Some([low.min(number), high.max(number)]);
            self.squares += f64::from(number) * f64::from(number);
        }
    }

    fn join(self, other: Self) -> Self {
        let range = match (self.range, other.range) {
            (Some([low, high]), Some([lower, higher])) => Some([low.min(lower), high.max(higher)]),
            (one, another) => one.or(another),
        };
        Self {
            nans: self.nans + other.nans,
            infinite: self.infinite + other.infinite,
            range,
            squares: self.squares + other.squares,
            zero_rows: self.zero_rows + other.zero_rows,
        }
    }
}

/// The layer of a tensor, the first number in its dotted name, and what its fellows in other layers are called:
/// `model.layers.5.mlp.up.weight` is layer 5 of `model.layers.*.mlp.up.weight`.
pub(super) fn layer_of(name: &str) -> Option<(usize, String)> {
    let mut layer = None;
    let parts: Vec<&str> = name
        .split('.')
        .map(|part| match (layer, part.parse::<usize>()) {
            (None, Ok(number)) => {
                layer = Some(number);
                "*"
            }
            _ => part,
        })
        .collect();
    layer.map(|layer| (layer, parts.join(".")))
}

/// Tensors of the same name in every layer.
type Fellows<'a> = BTreeMap<String, BTreeMap<usize, &'a Survey>>;

fn fellows(all: &[Survey]) -> Fellows<'_> {
    let mut fellows = Fellows::new();
    for survey in all {
        if let Some((layer, kind)) = layer_of(&survey.name) {
            fellows.entry(kind).or_default().insert(layer, survey);
        }
    }
    fellows
}

/// Everything that the weights alone say. `trained` is whether the model predicts text better than chance, where that is
/// known: at initialisation zeros and ones are as they should be. `gain` is the stored gain of a normalisation that changes nothing.
pub fn findings(all: &[Survey], trained: Option<bool>, gain: f32) -> Vec<Finding> {
    let fellows = fellows(all);
    let mut found = finite(all);
    found.extend(constant(all, &fellows, trained != Some(false), gain));
    found.extend(zero_rows(&fellows));
    found.extend(scales(&fellows));
    found.extend(repeated(&fellows));
    found.extend(range(all));
    found
}

/// Numbers that are none.
fn finite(all: &[Survey]) -> Vec<Finding> {
    const CHECK: &str = "weights.finite";
    let broken: Vec<&Survey> = all.iter().filter(|survey| !survey.is_finite()).collect();
    if broken.is_empty() {
        let text = format!("all numbers of {} are finite", count(all.len(), "tensor"));
        return vec![Finding::new(CHECK, Verdict::Ok, 0.0, "none", text)];
    }
    let finding = |survey: &&Survey| {
        let odd = survey.nans + survey.infinite;
        let text = format!(
            "{} holds {} NaN and {} infinite of {} numbers: take a checkpoint from before training broke, or fetch the file \
             again",
            survey.named(),
            survey.nans,
            survey.infinite,
            survey.count
        );
        Finding::new(CHECK, Verdict::Fail, odd as f64, "none", text).at(survey.name.clone())
    };
    broken.iter().map(finding).collect()
}

/// Tensors whose numbers are all the same.
fn constant(all: &[Survey], fellows: &Fellows<'_>, trained: bool, gain: f32) -> Vec<Finding> {
    let mut found = Vec::new();
    let unusual = if trained { Verdict::Warn } else { Verdict::Note };
    let is_gain = |survey: &Survey| !survey.is_matrix() && survey.name.ends_with("weight");
    let gains_vary = all.iter().any(|survey| is_gain(survey) && survey.count > 1 && !survey.is_constant());
    for survey in all.iter().filter(|survey| survey.is_constant()) {
        let of_layers = layer_of(&survey.name).and_then(|(_, kind)| fellows.get(&kind));
        let alike = of_layers.map_or(1, |layers| layers.values().filter(|it| it.is_constant()).count());
        let alone = of_layers.is_none_or(|layers| layers.len() > 1 && alike * 2 <= layers.len());
        let number = survey.range[0];
        let others = of_layers.map_or(String::new(), |layers| match alone {
            true => format!(", while {} other layers have numbers of their own there", layers.len() - alike),
            false => format!(", in {alike} of {} layers", layers.len()),
        });
        let finding = |check, verdict, usual: &str, what: &str| {
            let text = format!("{} {what}{others}", survey.named());
            Finding::new(check, verdict, f64::from(number), usual, text).at(survey.name.clone())
        };
        // Whatever a model begins with, its layers begin alike.
        let severe = if of_layers.is_some() || trained { Verdict::Fail } else { Verdict::Note };
        let is_gain = is_gain(survey);
        found.push(match (survey.is_matrix(), number == 0.0) {
            (true, true) if alone => {
                finding("weights.zero", severe, "no matrix of zeros", "is all zero: it was lost, or never trained")
            }
            (true, true) => finding(
                "weights.zero",
                unusual,
                "no matrix of zeros",
                "is all zero, as at the start of models whose outputs begin at zero: it was never trained, or lost",
            ),
            (true, false) => {
                finding("weights.constant", severe, "no constant matrix", &format!("is {number} throughout"))
            }
            _ if is_gain && number == gain && alone && gains_vary => finding(
                "weights.norm_gain",
                Verdict::Fail,
                "gains of their own",
                "leaves everything as it is: its gains were lost",
            ),
            _ if is_gain && number == gain => {
                let why = match survey.kind.as_str() {
                    "bf16" | "f16" => ", or steps were too small for that type",
                    _ => "",
                };
                let what = format!("is exactly {number} throughout: it was never trained{why}");
                finding("weights.norm_gain", Verdict::Note, "gains of their own", &what)
            }
            _ if is_gain => finding(
                "weights.constant",
                unusual,
                "gains of their own",
                &format!("is {number} throughout"),
            ),
            // Biases of zero are as they begin, and stay so where nothing trains them.
            _ if number == 0.0 && alone && of_layers.is_some() => {
                finding("weights.zero", unusual, "biases of their own", "is all zero")
            }
            _ => continue,
        });
    }
    found
}

/// Matrices that are zero in part, as a save leaves them that did not gather every shard.
fn zero_rows(fellows: &Fellows<'_>) -> Vec<Finding> {
    const CHECK: &str = "weights.zero_rows";
    /// The share of rows from which on a part is missing; single rows may be switched off.
    const MANY: f64 = 0.05;
    let share = |survey: &Survey| {
        let rows = survey.count / survey.shape.last().copied().unwrap_or(1).max(1);
        survey.zero_rows as f64 / rows.max(1) as f64
    };
    let mut found = Vec::new();
    for layers in fellows.values() {
        let mut shares: Vec<f64> = layers.values().map(|survey| share(survey)).collect();
        let usual = middle(&mut shares);
        for survey in layers.values().filter(|it| it.is_matrix() && !it.is_constant()) {
            let share = share(survey);
            if share > usual + MANY {
                let text = format!(
                    "{:.0}% of the rows of {} are zero, and {:.0}% in most layers: a part of it was not saved",
                    100.0 * share,
                    survey.named(),
                    100.0 * usual
                );
                let usual = format!("{usual:.2}, as in other layers");
                found.push(Finding::new(CHECK, Verdict::Fail, share, usual, text).at(survey.name.clone()));
            }
        }
    }
    found
}

/// Pairs of layers that may have been exchanged: with the sizes of a layer's tensors as a point, and the layers as a path
/// through them, those whose exchange makes the path a tenth shorter, the most first.
pub fn exchanged(all: &[Survey]) -> Vec<[usize; 2]> {
    const SHORTER: f64 = 0.9;
    const MOST: usize = 4;
    let fellows = fellows(all);
    let layers = fellows.values().flat_map(|layers| layers.keys()).max().map_or(0, |last| last + 1);
    let whole: Vec<_> = fellows.values().filter(|it| it.len() == layers).collect();
    let points: Vec<Vec<f64>> = (0..layers)
        .map(|layer| whole.iter().map(|layers| layers[&layer].rms.max(1e-12).ln()).collect())
        .collect();
    let length = |order: &[usize]| -> f64 {
        let far = |pair: &[usize]| {
            let sides = points[pair[0]].iter().zip(&points[pair[1]]);
            sides.map(|(one, other)| (one - other) * (one - other)).sum::<f64>().sqrt()
        };
        order.windows(2).map(far).sum()
    };
    let mut order: Vec<usize> = (0..layers).collect();
    let usual = length(&order);
    let mut pairs = Vec::new();
    for one in 0..layers {
        for other in one + 2..layers {
            order.swap(one, other);
            pairs.push((length(&order) / usual, [one, other]));
            order.swap(one, other);
        }
    }
    pairs.retain(|(length, _)| *length < SHORTER);
    pairs.sort_by(|one, other| one.0.total_cmp(&other.0));
    pairs.into_iter().take(MOST).map(|(_, pair)| pair).collect()
}

/// How large a tensor is beside its fellows in the layers around it.
fn scales(fellows: &Fellows<'_>) -> Vec<Finding> {
    const CHECK: &str = "weights.scale";
    /// Times that a tensor is larger or smaller than its fellows in the two layers beside it.
    const ODD: f64 = 4.0;
    const BROKEN: f64 = 20.0;
    let mut found = Vec::new();
    for layers in fellows.values().filter(|layers| layers.len() >= 4) {
        let known: Vec<(&usize, &&Survey)> =
            layers.iter().filter(|(_, it)| it.is_finite() && it.rms > 0.0 && !it.is_constant()).collect();
        let mut all: Vec<f64> = known.iter().map(|(_, it)| it.rms.ln()).collect();
        if all.len() < 4 {
            continue;
        }
        let usual = middle(&mut all);
        let mut spread: Vec<f64> = all.iter().map(|it| (it - usual).abs()).collect();
        let spread = middle(&mut spread).max(0.05);
        for (at, (layer, survey)) in known.iter().enumerate() {
            let from = |other: Option<&(&usize, &&Survey)>| other.map(|(_, it)| (survey.rms / it.rms).ln());
            let before = at.checked_sub(1).and_then(|at| from(known.get(at)));
            let after = from(known.get(at + 1));
            // The nearer of both; of the first and the last layer, which differ in sound models, the distance from the middle.
            let away = match (before, after) {
                (Some(before), Some(after)) if before.signum() == after.signum() => {
                    before.abs().min(after.abs())
                }
                (Some(_), Some(_)) => 0.0,
                _ => (survey.rms.ln() - usual).abs() / 2.0,
            };
            let off = (survey.rms.ln() - usual).abs() / (1.4826 * spread);
            if away.exp() < ODD || off < 6.0 {
                continue;
            }
            let verdict = if away.exp() >= BROKEN { Verdict::Fail } else { Verdict::Warn };
            let times = (survey.rms.ln() - usual).exp();
            let text = format!(
                "{} is {times:.2} times as large as in other layers (root mean square {:.2e}, usually {:.2e}): look at how layer \
                 {layer} was saved or merged",
                survey.named(),
                survey.rms,
                usual.exp()
            );
            let usual = format!("{:.2e}", usual.exp());
            found.push(Finding::new(CHECK, verdict, survey.rms, usual, text).at(survey.name.clone()));
        }
    }
    if found.is_empty() {
        let text = match fellows.values().any(|layers| layers.len() >= 4) {
            true => "every tensor is about as large as in the layers beside it".to_owned(),
            false => "not compared: that takes four layers or more".to_owned(),
        };
        found.push(Finding::new(CHECK, Verdict::Ok, 0.0, "none", text));
    }
    found
}

/// The median.
fn middle(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Layers, and single tensors of layers, that are the same as others.
fn repeated(fellows: &Fellows<'_>) -> Vec<Finding> {
    const CHECK: &str = "weights.repeated";
    /// Cosine of samples from which on matrices are nearly the same; those of different layers are all but orthogonal.
    const NEAR: f64 = 0.98;
    // Pairs of layers with the number of matrices that are the same, or nearly.
    let mut pairs: BTreeMap<[usize; 2], usize> = BTreeMap::new();
    let mut matrices: HashMap<usize, usize> = HashMap::new();
    let mut single: Vec<([usize; 2], &Survey)> = Vec::new();
    for layers in fellows.values() {
        let layers: Vec<(usize, &Survey)> = layers
            .iter()
            .filter(|(_, it)| it.is_matrix() && !it.is_constant())
            .map(|(&l, &it)| (l, it))
            .collect();
        layers.iter().for_each(|(layer, _)| *matrices.entry(*layer).or_default() += 1);
        for (at, &(layer, survey)) in layers.iter().enumerate() {
            for &(other, fellow) in &layers[at + 1..] {
                if cosine(&survey.samples, &fellow.samples) > NEAR {
                    *pairs.entry([layer, other]).or_default() += 1;
                    single.push(([layer, other], fellow));
                }
            }
        }
    }
    let are_whole = |pair: &[usize; 2]| pairs[pair] == matrices[&pair[0]].min(matrices[&pair[1]]);
    let mut found: Vec<Finding> = Vec::new();
    let mut told = BTreeSet::new();
    for pair in pairs.keys().filter(|pair| are_whole(pair)) {
        let [layer, other] = *pair;
        // Of three that are the same, the second and the third are told of once each.
        if !told.insert(other) {
            continue;
        }
        let text = format!(
            "layer {other} is the same as layer {layer}, or all but the same: meant where layers were stacked or merged on purpose, else one was saved \
             twice and another is lost"
        );
        found.push(
            Finding::new(CHECK, Verdict::Warn, other as f64, "layers of their own", text)
                .at(format!("layer {other}")),
        );
    }
    for (pair, survey) in single.iter().filter(|(pair, _)| !are_whole(pair)) {
        let text = format!(
            "{} is the same as that of layer {}, or all but the same, and the rest of the two layers is not: one was written over the other",
            survey.named(),
            pair[0]
        );
        let finding = Finding::new(CHECK, Verdict::Fail, pair[1] as f64, "matrices of their own", text);
        found.push(finding.at(survey.name.clone()));
    }
    if found.is_empty() {
        let text = "no two layers are the same".to_owned();
        found.push(Finding::new(CHECK, Verdict::Ok, 0.0, "none", text));
    }
    found
}

fn cosine(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() || one.len() < 64 {
        return 0.0;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    if lengths > 0.0 { dot(one, other) / lengths } else { 0.0 }
}

/// What smaller types could not hold.
fn range(all: &[Survey]) -> Vec<Finding> {
    const CHECK: &str = "weights.range";
    let most = |survey: &Survey| survey.range[0].abs().max(survey.range[1].abs());
    let Some(largest) = all.iter().max_by(|one, other| most(one).total_cmp(&most(other))) else {
        return Vec::new();
    };
    let value = most(largest);
    let (verdict, what) = match value > F16_MOST {
        true => (Verdict::Note, "f16 cannot hold it: use bf16 or f32"),
        false => (Verdict::Ok, "every type holds it"),
    };
    let text = format!("the largest weight is {value:.3} in {}; {what}", largest.named());
    vec![
        Finding::new(CHECK, verdict, f64::from(value), format!("below {F16_MOST}"), text)
            .at(largest.name.clone()),
    ]
}
