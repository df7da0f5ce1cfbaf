//! Rotary positions as configurations describe them, in the spelling of transformers 4 (`rope_theta`, `rope_scaling`) and of
//! 5 (`rope_parameters`, also one for each kind of layer).

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    model::{
        config::Config,
        rotary::{self, Frequencies, Pairing, Rotary},
        spec::{Positions, Shape},
    },
    text::excerpt,
};

/// What a family takes for granted where its configuration says nothing.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// `rope_theta`.
    pub theta: f64,
    /// `partial_rotary_factor`.
    pub share: f64,
    /// What the family calls these two outside of the object that describes the rotation.
    pub keys: [&'static str; 2],
    /// Which numbers of a head are rotated together.
    pub pairing: Pairing,
    /// Whether queries and keys are turned the other way.
    pub backwards: bool,
    /// Whether `alpha` beside the kind `dynamic` stretches the base once for all.
    pub alpha: bool,
    /// Whether a stretched rotation has a factor of its own for each side of the old context.
    pub factors: bool,
    /// Keys of the object that describes the rotation which the page reads for itself.
    pub others: &'static [&'static str],
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            theta: 10_000.0,
            share: 1.0,
            keys: ["rope_theta", "partial_rotary_factor"],
            pairing: Pairing::Halves,
            backwards: false,
            alpha: false,
            factors: false,
            others: &[],
        }
    }
}

/// The rotation of heads of `head_size` numbers in a model of that context.
pub fn read(config: &Config, head_size: usize, context: usize, defaults: Defaults) -> Result<Rotary> {
    let (key, scaling) = scaling(config)?;
    of(config, key, scaling, head_size, context, defaults)
}

/// The rotation of one kind of layer (`full_attention`, `sliding_attention`), where `rope_parameters` names each; `None`
/// where it does not.
pub fn read_kind(
    config: &Config,
    kind: &str,
    head_size: usize,
    context: usize,
    defaults: Defaults,
) -> Result<Option<Rotary>> {
    let Some(Value::Object(kinds)) = config.get("rope_parameters") else { return Ok(None) };
    let Some(scaling) = kinds.get(kind) else { return Ok(None) };
    let name = format!("rope_parameters.{kind}");
    of(config, &name, Some(scaling), head_size, context, defaults).map(Some)
}

/// The same with another base.
pub fn read_with(config: &Config, theta: f64, head_size: usize, context: usize) -> Result<Rotary> {
    let (key, scaling) = scaling(config)?;
    let mut scaling = scaling.cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(values) = &mut scaling {
        values.insert("rope_theta".into(), theta.into());
    }
    of(config, key, Some(&scaling), head_size, context, Defaults::default())
}

/// One rotation for the layers that do not slide and one for those that do, where `rope_parameters` names each kind. In
/// configurations that do not, only the former are scaled, and the latter have the base `local`, or that of the former.
pub fn by_kind(
    config: &Config,
    shape: Shape,
    slides: &[bool],
    defaults: Defaults,
    local: Option<f64>,
) -> Result<Positions> {
    let (size, context) = (shape.head_size, shape.context);
    let full = match read_kind(config, "full_attention", size, context, defaults)? {
        Some(rotary) => rotary,
        None => read(config, size, context, defaults)?,
    };
    let of_sliding = Defaults { theta: local.unwrap_or(defaults.theta), ..defaults };
    let sliding = match read_kind(config, "sliding_attention", size, context, of_sliding)? {
        Some(rotary) => rotary,
        None => {
            let (key, scaling) = scaling(config)?;
            let of_full = scaling.and_then(|scaling| scaling.get("rope_theta")).cloned();
            let unscaled = local.map(Value::from).or(of_full).map(|theta| json!({ "rope_theta": theta }));
            of(config, key, unscaled.as_ref(), size, context, defaults)?
        }
    };
    let of_layer = slides.iter().map(|&slides| Some(usize::from(slides))).collect();
    Ok(Positions::Rotary { tables: vec![full, sliding], of_layer })
}

/// The object that describes the rotation, empty where there is none; what is read of it here is not read there.
pub fn described(config: &Config) -> Result<Config> {
    let (key, scaling) = scaling(config)?;
    let values = scaling.and_then(Value::as_object).cloned().unwrap_or_default();
    Ok(config.rotation(values, key))
}

/// The object that describes the rotation, and its key.
fn scaling(config: &Config) -> Result<(&'static str, Option<&Value>)> {
    match (config.get("rope_parameters"), config.get("rope_scaling")) {
        (Some(new), Some(old)) if new != old => bail!(
            "{}: keys `rope_parameters` and `rope_scaling` say different things: leave one of them out",
            config.origin()
        ),
        (Some(scaling), _) => Ok(("rope_parameters", Some(scaling))),
        (None, scaling) => Ok(("rope_scaling", scaling)),
    }
}

fn of(
    config: &Config,
    key: &str,
    scaling: Option<&Value>,
    head_size: usize,
    context: usize,
    defaults: Defaults,
) -> Result<Rotary> {
    let theta = config.number(defaults.keys[0], defaults.theta)?;
    let share = config.number(defaults.keys[1], defaults.share)?;
    let old_context = config.optional_length("original_max_position_embeddings")?;
    let values = match scaling {
        None => serde_json::Map::new(),
        Some(Value::Object(values)) => values.clone(),
        Some(_) => bail!("{}: key `{key}` is no object", config.origin()),
    };
    let scaling = config.rotation(values, key);
    // Older configurations call the kind `type`.
    let kind = scaling.text("rope_type", scaling.text("type", "default")?)?;
    let theta = scaling.number("rope_theta", theta)?;
    let share = scaling.number("partial_rotary_factor", share)?;
    // Some families turn whole heads whatever is said, unless the rotation is stretched.
    let share = match scaling.is_read_in_rotation(kind, "partial_rotary_factor") {
        true => share,
        false => {
            if share != 1.0 {
                scaling.note("partial_rotary_factor", &share.into());
            }
            1.0
        }
    };
    if !(theta > 1.0 && share > 0.0 && share <= 1.0) {
        bail!("{}: a base of {theta} for a share of {share} is no rotation", scaling.origin());
    }
    let size = (head_size as f64 * share) as usize;
    if size == 0 || !size.is_multiple_of(2) {
        bail!(
            "{}: rotary positions need an even number of a head's {head_size}, not {size}",
            config.origin()
        );
    }
    for key in defaults.others {
        scaling.get(key);
    }
    let alpha = if defaults.alpha { scaling.number("alpha", 0.0)? } else { 0.0 };
    let reading = Reading { scaling: &scaling, theta, size, context, old_context };
    let (frequencies, factor) = match kind {
        "default" => (Frequencies::Fixed(rotary::plain(theta, size)), 1.0),
        "linear" => {
            let factor = reading.factor()?;
            let slower = |frequency: f32| frequency / factor as f32;
            (Frequencies::Fixed(rotary::plain(theta, size).into_iter().map(slower).collect()), 1.0)
        }
        "dynamic" if alpha > 0.0 => {
            scaling.get("factor");
            let stretch = alpha.powf(size as f64 / (size as f64 - 2.0));
            (Frequencies::Fixed(rotary::plain(theta * stretch, size)), 1.0)
        }
        "dynamic" => (Frequencies::Dynamic { limit: context, theta, factor: reading.factor()? }, 1.0),
        "llama3" => (Frequencies::Fixed(reading.llama3()?), 1.0),
        "yarn" => reading.yarn()?,
        // The name that the first Phi-3 models had for it.
        "longrope" | "su" => reading.longrope()?,
        other => bail!("{}: rotary scaling `{}` is not handled", scaling.origin(), excerpt(other)),
    };
    let Defaults { pairing, backwards, factors, .. } = defaults;
    let factor = factor as f32;
    let rotary = Rotary {
        pairing,
        keys_otherwise: false,
        backwards,
        start: 0,
        size,
        frequencies,
        factor,
        factor_beyond: None,
    };
    let rotary = if factors && kind != "default" { reading.with_factors(rotary)? } else { rotary };
    scaling.finish_rotation(kind)?;
    Ok(rotary)
}

/// What the ways of stretching have in common.
struct Reading<'a> {
    scaling: &'a Config,
    theta: f64,
    size: usize,
    context: usize,
    /// `original_max_position_embeddings` beside the object, which goes before the one in it.
    old_context: Option<usize>,
}

impl Reading<'_> {
    /// A number that the way of stretching cannot do without.
    fn needed(&self, key: &str) -> Result<f64> {
        match self.scaling.get(key) {
            Some(_) => self.scaling.number(key, 0.0),
            None => bail!("{}: key `{key}` is missing", self.scaling.origin()),
        }
    }

    fn factor(&self) -> Result<f64> {
        let factor = self.needed("factor")?;
        match factor >= 1.0 {
            true => Ok(factor),
            false => bail!("{}: key `factor` is {factor}; it must be 1 or more", self.scaling.origin()),
        }
    }

    /// Phi-3.5 MoE's way to stretch: with factors of its own for each side of the old context, and all lengths turned alike.
    fn with_factors(&self, rotary: Rotary) -> Result<Rotary> {
        let frequencies = match rotary.frequencies {
            Frequencies::ByLength { short, .. } => Frequencies::Fixed(short),
            Frequencies::Dynamic { theta, .. } => Frequencies::Fixed(rotary::plain(theta, self.size)),
            fixed => fixed,
        };
        let (factor, beyond) = (self.needed("short_mscale")? as f32, self.needed("long_mscale")? as f32);
        let factor_beyond = Some((self.old_context()? as usize, beyond));
        Ok(Rotary { frequencies, factor, factor_beyond, ..rotary })
    }

    /// The context before the model was stretched.
    fn old_context(&self) -> Result<f64> {
        let within = self.scaling.optional_length("original_max_position_embeddings")?;
        match self.old_context.or(within).unwrap_or(self.context) {
            0 => bail!("{}: key `original_max_position_embeddings` is 0", self.scaling.origin()),
            tokens => Ok(tokens as f64),
        }
    }

    /// Llama 3.1's: wavelengths beyond the old context are stretched by `factor`, short ones stay, and those between are
    /// blended.
    fn llama3(&self) -> Result<Vec<f32>> {
        let (factor, old_context) = (self.factor()?, self.old_context()?);
        let (low, high) = (self.needed("low_freq_factor")?, self.needed("high_freq_factor")?);
        if high < low {
            bail!("{}: key `high_freq_factor` is {high}, below {low}", self.scaling.origin());
        }
        let stretched = |frequency: f32| {
            let turns = old_context * f64::from(frequency) / std::f64::consts::TAU;
            let kept = match high == low {
                true => f64::from(turns > low),
                false => ((turns - low) / (high - low)).clamp(0.0, 1.0),
            };
            (f64::from(frequency) * (kept + (1.0 - kept) / factor)) as f32
        };
        Ok(rotary::plain(self.theta, self.size).into_iter().map(stretched).collect())
    }

    /// YaRN (Peng et al. 2023): pairs that turn more than `beta_fast` times within the old context stay, those that turn
    /// less than `beta_slow` times are stretched by `factor`, and those between are blended; scores grow a little.
    fn yarn(&self) -> Result<(Frequencies, f64)> {
        let (scaling, size, old_context) = (self.scaling, self.size as f64, self.old_context()?);
        // Only one that is null is told by the two contexts.
        let factor = match scaling.get("factor") {
            None if scaling.holds("factor") => self.context as f64 / old_context,
            _ => self.factor()?,
        };
        let fast = scaling.number("beta_fast", 32.0)?;
        let slow = scaling.number("beta_slow", 1.0)?;
        // The pair, counted from 0 and with fractions, that turns so many times within the old context.
        let pair = |turns: f64| {
            size * (old_context / (turns * std::f64::consts::TAU)).ln() / (2.0 * self.theta.ln())
        };
        let (mut low, mut high) = (pair(fast), pair(slow));
        if scaling.flag("truncate", true)? {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(size - 1.0));
        if low == high {
            high += 0.001;
        }
        let blended = |(pair, frequency): (usize, f32)| {
            let stretched = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
            (f64::from(frequency) * (1.0 - stretched + stretched / factor)) as f32
        };
        let frequencies = rotary::plain(self.theta, self.size).into_iter().enumerate().map(blended).collect();
        let growth = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let (scale, scale_all) = (scaling.number("mscale", 0.0)?, scaling.number("mscale_all_dim", 0.0)?);
        let usual = match scale != 0.0 && scale_all != 0.0 {
            true => growth(scale) / growth(scale_all),
            false => growth(1.0),
        };
        Ok((Frequencies::Fixed(frequencies), scaling.number("attention_factor", usual)?))
    }

    /// LongRoPE (Ding et al. 2024): each pair is stretched by a factor of its own, others within the old context than
    /// beyond.
    fn longrope(&self) -> Result<(Frequencies, f64)> {
        let (scaling, old_context) = (self.scaling, self.old_context()?);
        let stretched = |key: &str| -> Result<Vec<f32>> {
            let factors = scaling.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let factors: Option<Vec<f64>> = factors.iter().map(Value::as_f64).collect();
            let factors = factors.filter(|factors| factors.len() == self.size / 2).with_context(|| {
                format!("{}: key `{key}` is no list of {} numbers", scaling.origin(), self.size / 2)
            })?;
            let plain = rotary::plain(self.theta, self.size).into_iter();
            Ok(plain.zip(factors).map(|(frequency, factor)| (f64::from(frequency) / factor) as f32).collect())
        };
        let factor = match scaling.get("factor") {
            Some(_) => self.factor()?,
            None => self.context as f64 / old_context,
        };
        let usual = match factor <= 1.0 {
            true => 1.0,
            false => (1.0 + factor.ln() / old_context.ln()).sqrt(),
        };
        let frequencies = Frequencies::ByLength {
            limit: old_context as usize,
            short: stretched("short_factor")?,
            long: stretched("long_factor")?,
        };
        Ok((frequencies, scaling.number("attention_factor", usual)?))
    }
}
