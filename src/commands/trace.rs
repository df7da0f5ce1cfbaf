//! `trace`: writes ids, logits and patterns to a safetensors file, one tensor at a time.

use std::{borrow::Cow, cell::RefCell, collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::Device;
use safetensors::{Dtype, View};

use super::{open, progress::Bar};
use crate::{
    cli::{Common, TraceArgs},
    engine::open::Model,
    head::Head,
    memory,
    model::{decoder::Control, trace::Trace},
    text::size,
};

/// Rows of logits that are computed at once.
const ROWS: usize = 64;

/// Runs the command.
pub fn run(args: &TraceArgs, common: &Common) -> Result<()> {
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
    let ids = open::ids(&model, &input, args.bos, common.quiet)?;
    check_disk(args, &model, ids.len(), layers.len())?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the prompt", done, total);
    let mut trace = model.decoder.trace();
    let control = Control { progress: &progress, cancelled: &|| false };
    model.decoder.extend(&mut trace, &ids, &BTreeSet::new(), &control)?;
    bar.borrow_mut().clear();

    let failed = RefCell::new(None);
    let part = |what| Part::new(what, &model, &trace, &failed);
    let mut parts = vec![("ids".to_string(), part(What::Ids)), ("logits".to_string(), part(What::Logits))];
    parts.extend(layers.into_iter().map(|layer| (format!("pattern.{layer}"), part(What::Pattern(layer)))));
    // Under another name until it is whole.
    let partial = args.out.with_extension("partial");
    let written = safetensors::serialize_to_file(parts, None, &partial)
        .map_err(|_| match fs::File::create(&partial) {
            // The library's message names a file of its own.
            Err(error) => anyhow::anyhow!("{} cannot be written: {error}", args.out.display()),
            Ok(_) => anyhow::anyhow!("{} cannot be written: is the disk full?", args.out.display()),
        })
        .and_then(|()| failed.take().map_or(Ok(()), Err))
        .and_then(|()| {
            fs::rename(&partial, &args.out)
                .with_context(|| format!("{} cannot be written", args.out.display()))
        });
    if written.is_err() {
        // What went wrong is told already.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Refuses to begin what the disk has no room for, where the system tells.
fn check_disk(args: &TraceArgs, model: &Model, tokens: usize, layers: usize) -> Result<()> {
    let bytes = 4 * tokens as u64 * (model.info.vocabulary + layers * model.info.heads * tokens) as u64;
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
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

/// A tensor of the file, computed when it is written: only one is in memory at a time.
struct Part<'a> {
    what: What,
    shape: Vec<usize>,
    model: &'a Model,
    trace: &'a Trace,
    /// The first error; the writer has no way to tell of one.
    failed: &'a RefCell<Option<anyhow::Error>>,
}

impl<'a> Part<'a> {
    fn new(
        what: What,
        model: &'a Model,
        trace: &'a Trace,
        failed: &'a RefCell<Option<anyhow::Error>>,
    ) -> Self {
        let (info, tokens) = (&model.info, trace.len());
        let shape = match what {
            What::Ids => vec![tokens],
            What::Logits => vec![tokens, info.vocabulary],
            What::Pattern(_) => vec![info.heads, tokens, tokens],
        };
        Self { what, shape, model, trace, failed }
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.data_len());
        let mut numbers =
            |numbers: &[f32]| bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        match self.what {
            What::Ids => bytes.extend(self.trace.ids.iter().flat_map(|&id| i64::from(id).to_le_bytes())),
            What::Logits => {
                let last = self.trace.last.view()?;
                for start in (0..self.trace.len()).step_by(ROWS) {
                    let rows = last.narrow(0, start, ROWS.min(self.trace.len() - start))?;
                    let logits = self.model.decoder.logits(&rows)?.to_device(&Device::Cpu)?;
                    numbers(&logits.flatten_all()?.to_vec1::<f32>()?);
                }
            }
            What::Pattern(layer) => {
                for head in 0..self.model.info.heads {
                    numbers(&self.trace.matrix(Head::new(layer, head))?);
                }
            }
        }
        Ok(bytes)
    }
}

impl View for Part<'_> {
    fn dtype(&self) -> Dtype {
        match self.what {
            What::Ids => Dtype::I64,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes().unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            vec![0; self.data_len()]
        }))
    }

    fn data_len(&self) -> usize {
        let width = if matches!(self.what, What::Ids) { 8 } else { 4 };
        self.shape.iter().product::<usize>() * width
    }
}
