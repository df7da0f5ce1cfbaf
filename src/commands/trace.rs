//! `trace`: writes ids, logits and patterns to a safetensors file, one tensor at a time.

use std::{cell::RefCell, collections::BTreeSet, io::Write, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{open, progress::Bar};
use crate::{
    cli::{Common, TraceArgs},
    engine::open::Model,
    head::Head,
    mapped, memory,
    model::{
        decoder::{Control, Pass},
        trace::Trace,
    },
    output,
    text::size,
};

/// Rows of logits that are computed at once.
const ROWS: usize = 64;

/// Runs the command.
pub fn run(args: &TraceArgs, common: &Common) -> Result<()> {
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let model = open::model(args.model.as_ref(), common)?;
    let layers = match &args.layers {
        None => (0..model.info.layers).collect(),
        Some(layers) => layers.iter().copied().collect::<BTreeSet<usize>>(),
    };
    if let Some(layer) = layers.iter().find(|&&layer| layer >= model.info.layers) {
        match model.info.layers {
            0 => bail!("--layers {layer}: the model has no layers; leave it out to write the logits"),
            count => bail!("--layers {layer}: the model's layers go from 0 to {}", count - 1),
        }
    }
    check_target(&args.out, &model)?;
    let ids = open::ids(&model, &input, args.bos, common.quiet)?;
    check_disk(args, &model, ids.len(), layers.len())?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the prompt", done, total);
    let mut trace = model.decoder.trace();
    let control = Control { progress: &progress, cancelled: &|| false };
    model.decoder.extend(&mut trace, &ids, &Pass::plain(&control))?;
    bar.borrow_mut().clear();

    let is_broken = open::note_break(&model, &trace, common.quiet)?;
    // A model without an unembedding was remarked on when it was opened.
    let logits = model.decoder.has_unembedding().then_some(What::Logits);
    let parts: Vec<Part> = [What::Ids]
        .into_iter()
        .chain(logits)
        .chain(layers.into_iter().map(What::Pattern))
        .map(|what| Part { what, model: &model, trace: &trace, is_told: is_broken || common.quiet })
        .collect();
    output::write(&args.out, |out| write(&parts, out))
        .with_context(|| format!("{} cannot be written", args.out.display()))
}

/// Writes a safetensors file: the length of its header, the header, and the tensors one behind the other.
fn write(parts: &[Part<'_>], out: &mut dyn Write) -> Result<()> {
    let mut end = 0;
    let tensors = parts.iter().map(|part| {
        let start = end;
        end += part.length();
        let data_offsets = (start, end);
        (part.name(), TensorInfo { dtype: part.dtype(), shape: part.shape(), data_offsets })
    });
    let mut header = serde_json::to_vec(&Metadata::new(None, tensors.collect())?)?;
    // Tensors begin at a multiple of eight bytes.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    parts.iter().try_for_each(|part| part.write(out))
}

/// Refuses to write over a file of the model itself: its weights, under whatever name, and what describes them beside.
fn check_target(out: &Path, model: &Model) -> Result<()> {
    let folder = |path: &Path| path.canonicalize().ok().filter(|path| path.is_dir());
    let is_beside = || {
        let target = out.canonicalize().ok().filter(|target| target.is_file());
        let is_tensors = |target: &Path| target.extension().is_some_and(|kind| kind == "safetensors");
        target.is_some_and(|target| {
            !is_tensors(&target) && target.parent() == folder(Path::new(&model.info.source)).as_deref()
        })
    };
    if mapped::is_mapped(out) || is_beside() {
        bail!("--out {}: it is a file of the model that is traced; name another", out.display());
    }
    Ok(())
}

/// Refuses to begin what the disk has no room for, where the system tells.
fn check_disk(args: &TraceArgs, model: &Model, tokens: usize, layers: usize) -> Result<()> {
    let bytes = 4 * tokens as u64 * (model.info.vocabulary + layers * model.info.heads * tokens) as u64;
    let there = args.out.canonicalize();
    if there.as_ref().is_ok_and(|there| !there.is_file()) {
        // A device or a pipe takes what it takes.
        return Ok(());
    }
    let there = there.unwrap_or_else(|_| args.out.clone());
    let folder = there.parent().filter(|folder| !folder.as_os_str().is_empty());
    match memory::free_disk(folder.unwrap_or(Path::new("."))) {
        Some(free) if bytes > free => bail!(
            "{}: {} would be written, and the disk has {} free: name some layers with --layers, or give a shorter prompt",
            args.out.display(),
            size(bytes),
            size(free)
        ),
        _ => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum What {
    /// `[T]`, i64.
    Ids,
    /// `[T, vocabulary]`, f32.
    Logits,
    /// `[heads, T, T]`, f32.
    Pattern(usize),
}

/// A tensor of the file, computed when it is written: a part of it is in memory at a time.
struct Part<'a> {
    what: What,
    model: &'a Model,
    trace: &'a Trace,
    /// Whether nothing more is to be said of numbers that are not finite.
    is_told: bool,
}

impl Part<'_> {
    fn name(&self) -> String {
        match self.what {
            What::Ids => "ids".into(),
            What::Logits => "logits".into(),
            What::Pattern(layer) => format!("pattern.{layer}"),
        }
    }

    fn dtype(&self) -> Dtype {
        match self.what {
            What::Ids => Dtype::I64,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> Vec<usize> {
        let (info, tokens) = (&self.model.info, self.trace.len());
        match self.what {
            What::Ids => vec![tokens],
            What::Logits => vec![tokens, info.vocabulary],
            What::Pattern(_) => vec![info.heads, tokens, tokens],
        }
    }

    /// In bytes.
    fn length(&self) -> usize {
        let width = if matches!(self.what, What::Ids) { 8 } else { 4 };
        self.shape().iter().product::<usize>() * width
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut numbers = |numbers: &[f32]| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            out.write_all(&bytes)
        };
        match self.what {
            What::Ids => {
                let bytes: Vec<u8> =
                    self.trace.ids.iter().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
                out.write_all(&bytes)?;
            }
            What::Logits => {
                let (last, mut is_told) = (self.trace.last.view()?, self.is_told);
                for start in (0..self.trace.len()).step_by(ROWS) {
                    let rows = last.narrow(0, start, ROWS.min(self.trace.len() - start))?;
                    let logits = self.model.decoder.logits(&rows)?.to_device(&Device::Cpu)?;
                    let logits = logits.flatten_all()?.to_vec1::<f32>()?;
                    if !is_told && logits.iter().any(|logit| !logit.is_finite()) {
                        super::note(&self.model.where_logits_break(&rows)?);
                        is_told = true;
                    }
                    numbers(&logits)?;
                }
            }
            What::Pattern(layer) => {
                for head in 0..self.model.info.heads {
                    numbers(&self.trace.matrix(Head::new(layer, head))?)?;
                }
            }
        }
        Ok(())
    }
}
