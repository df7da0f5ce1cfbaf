//! `lens`, `attribute` and `patch`: what a prediction is made of, and what a change does to it.

use std::{cell::RefCell, io::Write, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::{
    open,
    pass::{self, Passed},
    progress::Bar,
    tensors::{self, Computed, Ready},
};
use crate::{
    analysis::{
        attribute, lens,
        patch::{self, Direction},
    },
    cli::{
        Common, TableFormat,
        pass::EditArgs,
        what_if::{AttributeArgs, LensArgs, PatchArgs},
    },
    engine::{edits, open::Model, protocol::PromptInput},
    model::{decoder::Control, trace::Trace},
    report::what_if::{self as report, Numbers, Patched},
};

/// The token that `--target` or `--against` names: an id, or the text of one.
fn token(model: &Model, option: &str, text: &str) -> Result<u32> {
    let id = match text.trim().parse::<u32>() {
        Ok(id) => id,
        Err(_) => {
            model.single(&PromptInput::Text(text.to_owned())).with_context(|| format!("{option} {text:?}"))?
        }
    };
    if id as usize >= model.info.vocabulary {
        bail!("{option} {id}: the model's tokens go from 0 to {}", model.info.vocabulary - 1);
    }
    Ok(id)
}

fn needs_logits(model: &Model) -> Result<()> {
    if !model.decoder.has_unembedding() {
        bail!("{}: the model has no output head, so it predicts no tokens", model.info.name);
    }
    Ok(())
}

fn print(numbers: &Numbers<'_>, format: TableFormat) -> Result<()> {
    super::print(&match format {
        TableFormat::Table => numbers.table(),
        TableFormat::Json => numbers.json()?,
        TableFormat::Csv => numbers.csv(),
    })
}

fn texts(args: &EditArgs) -> Vec<String> {
    args.edits.iter().map(|edit| edit.text.clone()).collect()
}

/// Every logit of the lens.
struct Lens<'a> {
    model: &'a Model,
    trace: &'a Trace,
}

impl Computed for Lens<'_> {
    fn name(&self) -> String {
        "lens".to_owned()
    }

    fn shape(&self) -> Vec<usize> {
        vec![self.model.info.layers + 1, self.trace.len(), self.model.info.vocabulary]
    }

    fn write(&self, out: &mut dyn Write) -> Result<()> {
        /// Rows of logits that are computed at once.
        const ROWS: usize = 64;
        for layer in 0..=self.model.info.layers {
            for start in (0..self.trace.len()).step_by(ROWS) {
                let tokens = start..(start + ROWS).min(self.trace.len());
                let logits = lens::logits(&self.model.decoder, self.trace, layer, tokens)?;
                tensors::numbers(out, &logits.flatten_all()?.to_device(&Device::Cpu)?.to_vec1::<f32>()?)?;
            }
        }
        Ok(())
    }
}

/// Runs `lens`.
pub fn lens(args: &LensArgs, common: &Common) -> Result<()> {
    let mut query = 0;
    let passed = pass::run(&args.pass, common, |model, ids| {
        needs_logits(model)?;
        query = pass::position(args.token, ids.len())?;
        args.out.iter().try_for_each(|out| tensors::check_target(out, model))
    })?;
    let Passed { model, trace, .. } = &passed;
    if let Some(out) = &args.out {
        let lens = Lens { model, trace };
        tensors::check_disk(out, tensors::bytes(&[&lens]), "give a shorter prompt")?;
        return tensors::write(out, &[&lens]);
    }
    let target = match &args.target {
        Some(text) => token(model, "--target", text)?,
        None => lens::predicted(&model.decoder, trace, query)?,
    };
    let guesses = lens::guesses(&model.decoder, trace, query, target, args.top)?;
    let answer = model.token(target);
    let edits = texts(&args.pass.edits);
    print(&report::lens(&model.info, query, &answer, &guesses, &|id| model.token(id), &edits), args.format)
}

/// Runs `attribute`.
pub fn attribute(args: &AttributeArgs, common: &Common) -> Result<()> {
    let mut query = 0;
    let passed = pass::run(&args.pass, common, |model, ids| {
        needs_logits(model)?;
        query = pass::position(args.token, ids.len())?;
        args.out.iter().try_for_each(|out| tensors::check_target(out, model))
    })?;
    let Passed { model, trace, edits, .. } = &passed;
    let target = match &args.target {
        Some(text) => token(model, "--target", text)?,
        None => lens::predicted(&model.decoder, trace, query)?,
    };
    let against = args.against.as_ref().map(|text| token(model, "--against", text)).transpose()?;
    let found = attribute::attribute(&model.decoder, trace, edits, query, target, against, &Control::FREE)?;
    if let Some(out) = &args.out {
        let layers = model.info.layers;
        return write(
            out,
            [
                ("heads", vec![layers, model.info.heads], found.heads.values().to_vec()),
                ("attn_bias", vec![layers], found.attn_bias),
                ("mlps", vec![layers], found.mlps),
                ("embedding", vec![], vec![found.embedding]),
                ("bias", vec![], vec![found.bias]),
                ("logit", vec![], vec![found.logit]),
                ("remainder", vec![], vec![found.remainder]),
            ],
        );
    }
    let (target, against) = (model.token(target), against.map(|id| model.token(id)));
    let edits = texts(&args.pass.edits);
    print(
        &report::attribution(&model.info, query, (&target, against.as_ref()), &found, args.top, &edits),
        args.format,
    )
}

/// Writes tensors that are there already.
fn write<const N: usize>(out: &Path, parts: [(&'static str, Vec<usize>, Vec<f32>); N]) -> Result<()> {
    let parts = parts.map(|(name, shape, numbers)| Ready { name, shape, numbers });
    let parts: Vec<&dyn Computed> = parts.iter().map(|part| part as &dyn Computed).collect();
    tensors::write(out, &parts)
}

/// Runs `patch`.
pub fn patch(args: &PatchArgs, common: &Common) -> Result<()> {
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let Some(from) = pass::other(args.from_prompt.as_ref(), args.from_ids.as_ref()) else {
        bail!("give --from-prompt or --from-ids, the corrupted prompt");
    };
    let model = open::model(args.model.as_ref(), common)?;
    model.has_heads()?;
    needs_logits(&model)?;
    let target = token(&model, "--target", &args.target)?;
    let against = token(&model, "--against", &args.against)?;
    if let Some(out) = &args.out {
        tensors::check_target(out, &model)?;
    }
    let [ids, others] = [open::ids(&model, &input, args.bos, common.quiet)?, model.encode(&from, args.bos)?];
    if ids.len() != others.len() {
        bail!(
            "the clean prompt has {} tokens and the corrupted one {}: give two of the same number",
            ids.len(),
            others.len()
        );
    }
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("patching", done, total);
    let control = Control { progress: &progress, cancelled: &|| false };
    let runs = [edits::run(&model, &ids, &control)?, edits::run(&model, &others, &control)?];
    let end = |trace: &Trace| -> Result<f32> {
        let last = trace.last.view()?.narrow(0, trace.len() - 1, 1)?;
        patch::difference(&model.decoder, &last, [target, against])
    };
    let ends = [end(&runs[0])?, end(&runs[1])?];
    let [clean, corrupted] = &runs;
    let (base, source) = match args.direction {
        Direction::Denoise => (corrupted, clean),
        Direction::Noise => (clean, corrupted),
    };
    let map = patch::map(&model.decoder, base, source, args.over, [target, against], &control)?;
    bar.borrow_mut().clear();
    if let Some(out) = &args.out {
        let shape = vec![map.len(), map.first().map_or(0, Vec::len)];
        return write(
            out,
            [
                ("map", shape, map.concat()),
                ("clean", vec![], vec![ends[0]]),
                ("corrupted", vec![], vec![ends[1]]),
            ],
        );
    }
    let (tokens, prompt) = ([model.token(target), model.token(against)], model.tokens(&ids));
    let [target, against] = &tokens;
    let (over, direction) = (args.over, args.direction);
    let of = Patched { tokens: [target, against], over, direction, ends, map: &map, prompt: &prompt };
    print(&report::patched(&model.info, &of, args.top), args.format)
}
