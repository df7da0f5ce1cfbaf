//! `trace`: writes ids, logits and patterns to a safetensors file, one tensor at a time.

use std::{collections::BTreeSet, io::Write};

use anyhow::{Result, bail};
use candle_core::Device;
use safetensors::Dtype;

use super::{
    pass::{self, Passed},
    tensors::{self, Computed},
};
use crate::{
    cli::{Common, TraceArgs},
    engine::open::Model,
    head::Head,
    model::trace::Trace,
};

/// Rows of logits that are computed at once.
const ROWS: usize = 64;

/// Runs the command.
pub fn run(args: &TraceArgs, common: &Common) -> Result<()> {
    let mut layers = BTreeSet::new();
    let passed = pass::run(&args.pass, common, |model, ids| {
        layers = layers_of(args, model)?;
        tensors::check_target(&args.out, model)?;
        let (vocabulary, heads) = (model.info.vocabulary, model.info.heads);
        let bytes = 4 * ids.len() as u64 * (vocabulary + layers.len() * heads * ids.len()) as u64;
        tensors::check_disk(&args.out, bytes, "name some layers with --layers, or give a shorter prompt")
    })?;
    let Passed { model, trace, is_broken, .. } = &passed;
    // A model without an unembedding was remarked on when it was opened.
    let logits = model.decoder.has_unembedding().then_some(What::Logits);
    let parts: Vec<Part> = [What::Ids]
        .into_iter()
        .chain(logits)
        .chain(layers.into_iter().map(What::Pattern))
        .map(|what| Part { what, model, trace, is_told: *is_broken || common.quiet })
        .collect();
    let parts: Vec<&dyn Computed> = parts.iter().map(|part| part as &dyn Computed).collect();
    tensors::write(&args.out, &parts)
}

/// The layers whose patterns are written.
fn layers_of(args: &TraceArgs, model: &Model) -> Result<BTreeSet<usize>> {
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
    Ok(layers)
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

impl Computed for Part<'_> {
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

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        let mut numbers = |numbers: &[f32]| tensors::numbers(out, numbers);
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
