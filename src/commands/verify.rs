//! `verify`: compares a model with reference tensors that another program made of the same tokens.

use std::{cell::RefCell, collections::BTreeMap, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{open, progress::Bar};
use crate::{
    analysis::agreement::{self, Difference},
    checkpoint::weights::{Backing, WeightType},
    cli::{Common, ListFormat, VerifyArgs},
    engine::{open::Model, protocol::Bos, protocol::PromptInput},
    head::Head,
    model::{
        decoder::{Control, Pass},
        place::DtypeChoice,
        trace::Trace,
    },
    report::verify::{Allowed, LogitReport, PatternReport, Verification},
    text::nearest,
};

/// Rows of logits that are computed at once.
const ROWS: usize = 64;
/// Exit code where the model and the reference differ by more than is allowed.
const FELL_SHORT: u8 = 1;

/// Runs the command.
pub fn run(args: &VerifyArgs, common: &Common) -> Result<ExitCode> {
    let origin = args.reference.display().to_string();
    let backing = Backing::map(&args.reference)?;
    let reference = Reference::read(&backing, &args.reference).with_context(|| origin.clone())?;
    let model = open::model(args.model.as_ref(), common)?;
    reference.check(&model).with_context(|| origin.clone())?;
    let ids =
        model.encode(&PromptInput::Ids(reference.ids.clone()), Bos::Off).with_context(|| origin.clone())?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the reference's tokens", done, total);
    let mut trace = model.decoder.trace();
    let control = Control { progress: &progress, cancelled: &|| false };
    model.decoder.extend(&mut trace, &ids, &Pass::plain(&control))?;
    bar.borrow_mut().clear();

    // Weights that are stored in a half type and not rounded are computed with in f32.
    let usual = match common.dtype {
        DtypeChoice::F16 if model.is_rounded => Allowed::F16,
        DtypeChoice::Bf16 if model.is_rounded => Allowed::BF16,
        _ => Allowed::EXACT,
    };
    let allowed = Allowed {
        patterns: args.patterns.unwrap_or(usual.patterns),
        logits: args.logits.unwrap_or(usual.logits),
    };
    let verification = Verification {
        model: &model.info,
        reference: &origin,
        tokens: ids.len(),
        allowed,
        patterns: patterns(&reference, &trace)?,
        logits: logits(&reference, &model, &trace)?,
    };
    super::print(&match args.format {
        ListFormat::Table => verification.table(),
        ListFormat::Json => verification.json()?,
    })?;
    Ok(if verification.holds() { ExitCode::SUCCESS } else { ExitCode::from(FELL_SHORT) })
}

/// Each layer's pattern against the reference's, head by head.
fn patterns(reference: &Reference<'_>, trace: &Trace) -> Result<Vec<PatternReport>> {
    let tokens = trace.len();
    let mut reports = Vec::new();
    for (&layer, pattern) in &reference.patterns {
        let mut difference = Difference::NONE;
        for head in 0..pattern.shape[0] {
            let size = tokens * tokens;
            let expected = pattern.part(head * size, size);
            difference.add(&trace.matrix(Head::new(layer, head))?, &expected, head * size);
        }
        let (head, place) = (difference.at / (tokens * tokens), difference.at % (tokens * tokens));
        let (query, key) = (place / tokens, place % tokens);
        reports.push(PatternReport { layer, difference, head: Head::new(layer, head), query, key });
    }
    Ok(reports)
}

/// The logits against the reference's, some rows at a time.
fn logits(reference: &Reference<'_>, model: &Model, trace: &Trace) -> Result<Option<LogitReport>> {
    let Some(expected) = &reference.logits else { return Ok(None) };
    let (tokens, vocabulary) = (trace.len(), model.info.vocabulary);
    let last = trace.last.view()?;
    let (mut difference, mut scale, mut same_top) = (Difference::NONE, 0.0f32, 0);
    for start in (0..tokens).step_by(ROWS) {
        let rows = ROWS.min(tokens - start);
        let found = model.decoder.logits(&last.narrow(0, start, rows)?)?.to_device(&Device::Cpu)?;
        let found = found.flatten_all()?.to_vec1::<f32>()?;
        let expected = expected.part(start * vocabulary, rows * vocabulary);
        difference.add(&found, &expected, start * vocabulary);
        scale = scale.max(agreement::scale(&expected));
        let pairs = found.chunks_exact(vocabulary).zip(expected.chunks_exact(vocabulary));
        same_top += pairs.filter(|(a, b)| agreement::top(a) == agreement::top(b)).count();
    }
    let (token, id) = (difference.at / vocabulary, difference.at % vocabulary);
    Ok(Some(LogitReport { difference, scale, token, id: id as u32, same_top, of: tokens }))
}

/// The tensors of a reference file, their numbers where they lie.
struct Reference<'a> {
    ids: Vec<u32>,
    /// `[tokens, vocabulary]`.
    logits: Option<Numbers<'a>>,
    /// `[heads, tokens, tokens]`, by layer.
    patterns: BTreeMap<usize, Numbers<'a>>,
}

/// A stored tensor of a type that widens to f32, without a leading dimension of one sequence.
struct Numbers<'a> {
    name: String,
    kind: WeightType,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Numbers<'a> {
    fn read(name: &str, view: &TensorView<'a>, rank: usize) -> Result<Self> {
        let kind = match view.dtype() {
            Dtype::F64 => WeightType::F64,
            Dtype::F32 => WeightType::F32,
            Dtype::F16 => WeightType::F16,
            Dtype::BF16 => WeightType::BF16,
            other => bail!("tensor `{name}` is {other:?}; save it in f32"),
        };
        let shape = match view.shape() {
            [1, rest @ ..] if rest.len() == rank => rest,
            shape if shape.len() == rank => shape,
            shape => bail!("tensor `{name}` is {shape:?}; it must have {rank} dimensions"),
        };
        Ok(Self { name: name.into(), kind, shape: shape.to_vec(), bytes: view.data() })
    }

    /// `count` numbers from number `start` on, as f32.
    fn part(&self, start: usize, count: usize) -> Vec<f32> {
        let mut numbers = vec![0.0; count];
        let size = self.kind.block_bytes();
        self.kind.widen(&self.bytes[start * size..][..count * size], &mut numbers);
        numbers
    }

    fn check(&self, wanted: &[usize]) -> Result<()> {
        if self.shape != wanted {
            bail!("tensor `{}` is {:?}, but the model and `ids` make it {wanted:?}", self.name, self.shape);
        }
        Ok(())
    }
}

impl<'a> Reference<'a> {
    fn read(backing: &'a Backing, path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|kind| kind != "safetensors") {
            bail!(
                "a reference is a .safetensors file with `ids`, `logits` and `pattern.L`; the README has the Python"
            );
        }
        let file = SafeTensors::deserialize(backing.bytes())
            .map_err(|error| anyhow::anyhow!("no whole safetensors file ({error}): write it again"))?;
        let (mut ids, mut logits, mut patterns) = (None, None, BTreeMap::new());
        for (name, view) in file.tensors() {
            let layer = name.strip_prefix("pattern.").and_then(|layer| layer.parse().ok());
            match (name.as_str(), layer) {
                ("ids", _) => ids = Some(token_ids(&view)?),
                ("logits", _) => logits = Some(Numbers::read(&name, &view, 2)?),
                (_, Some(layer)) => {
                    patterns.insert(layer, Numbers::read(&name, &view, 3)?);
                }
                _ => {
                    let known =
                        nearest(&name, ["ids", "logits", "pattern.0"].into_iter()).unwrap_or_default();
                    bail!("tensor `{}` is none that is compared; is it `{known}`?", name.escape_debug())
                }
            }
        }
        let ids = ids.context("tensor `ids` is missing: the tokens that the rest was computed of")?;
        if logits.is_none() && patterns.is_empty() {
            bail!("holds neither `logits` nor a `pattern.L`: there is nothing to compare");
        }
        Ok(Self { ids, logits, patterns })
    }

    /// Checks that every tensor has the shape that the model would give it.
    fn check(&self, model: &Model) -> Result<()> {
        let (info, tokens) = (&model.info, self.ids.len());
        if let Some(logits) = &self.logits {
            logits.check(&[tokens, info.vocabulary])?;
        }
        for (layer, pattern) in &self.patterns {
            if *layer >= info.layers {
                bail!("tensor `{}` is of a layer that the model lacks: it has {}", pattern.name, info.layers);
            }
            pattern.check(&[info.heads, tokens, tokens])?;
        }
        Ok(())
    }
}

/// Token ids of any type of whole numbers, `[tokens]` or `[1, tokens]`.
fn token_ids(view: &TensorView<'_>) -> Result<Vec<u32>> {
    let bytes = view.data();
    let numbers: Vec<i64> = match view.dtype() {
        Dtype::I64 => bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect(),
        Dtype::I32 => bytes.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect(),
        Dtype::U32 => bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes).into()).collect(),
        other => bail!("tensor `ids` is {other:?}; save it as int64"),
    };
    if !matches!(view.shape(), [_] | [1, _]) {
        bail!("tensor `ids` is {:?}; one sequence is compared, [tokens]", view.shape());
    }
    let id = |&id: &i64| u32::try_from(id).with_context(|| format!("tensor `ids` has {id}, no token id"));
    numbers.iter().map(id).collect()
}
