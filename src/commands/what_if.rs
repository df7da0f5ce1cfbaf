//! `lens`, `attribute` and `patch`: what a prediction is made of, and what a change does to it.

use std::{cell::RefCell, fs, io::Write, path::Path};

use anyhow::{Context, Result, bail};
use candle_core::Device;

use super::{
    open,
    progress::Bar,
    tensors::{self, Computed, Ready},
};
use crate::{
    analysis::{attribute, lens, patch},
    cli::{
        Common,
        what_if::{AttributeArgs, Direction, EditArgs, LensArgs, NumbersFormat, PatchArgs, PatchOver},
    },
    engine::{
        edits::{self, Asked},
        open::Model,
        protocol::{Bos, PromptInput},
    },
    model::{
        decoder::Control,
        edit::{self, Edits},
        trace::Trace,
    },
    report::what_if::{self as report, Numbers, Patched},
};

/// The run with the edits that a command asks for, and they themselves.
pub fn edited(
    model: &Model,
    clean: Trace,
    args: &EditArgs,
    bos: Bos,
    control: &Control<'_>,
) -> Result<(Trace, Edits)> {
    if args.edits.is_empty() {
        return Ok((clean, edit::NONE.clone()));
    }
    let from = other(args.from_prompt.as_ref(), args.from_ids.as_ref());
    let reference = args.reference_text.as_deref().map(text).transpose()?;
    let asked = Asked {
        edits: &args.edits,
        from: from.as_ref().map(|input| (input, bos)),
        reference: reference.as_deref(),
        frozen: args.frozen,
    };
    asked.run(model, &clean, control)
}

fn other(prompt: Option<&String>, ids: Option<&Vec<u32>>) -> Option<PromptInput> {
    ids.cloned().map(PromptInput::Ids).or_else(|| prompt.cloned().map(PromptInput::Text))
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("--reference-text {}", path.display()))?;
    String::from_utf8(bytes)
        .with_context(|| format!("--reference-text {} is not UTF-8: convert it first", path.display()))
}

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

/// The position that `--token` names.
fn position(token: Option<usize>, tokens: usize) -> Result<usize> {
    let query = token.unwrap_or(tokens - 1);
    if query >= tokens {
        bail!("--token {query}: the prompt has {tokens} tokens, counted from 0");
    }
    Ok(query)
}

fn needs_logits(model: &Model) -> Result<()> {
    if !model.decoder.has_unembedding() {
        bail!("{}: the model has no output head, so it predicts no tokens", model.info.name);
    }
    Ok(())
}

fn print(numbers: &Numbers<'_>, format: NumbersFormat) -> Result<()> {
    super::print(&match format {
        NumbersFormat::Table => numbers.table(),
        NumbersFormat::Json => numbers.json()?,
        NumbersFormat::Csv => numbers.csv(),
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
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let model = open::model(args.model.as_ref(), common)?;
    needs_logits(&model)?;
    let ids = open::ids(&model, &input, args.bos, common.quiet)?;
    let query = position(args.token, ids.len())?;
    let target = args.target.as_ref().map(|text| token(&model, "--target", text)).transpose()?;
    if let Some(out) = &args.out {
        tensors::check_target(out, &model)?;
    }
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the prompt", done, total);
    let control = Control { progress: &progress, cancelled: &|| false };
    let (trace, _) = edited(&model, edits::run(&model, &ids, &control)?, &args.edits, args.bos, &control)?;
    bar.borrow_mut().clear();
    open::note_break(&model, &trace, common.quiet)?;
    if let Some(out) = &args.out {
        let lens = Lens { model: &model, trace: &trace };
        tensors::check_disk(out, tensors::bytes(&[&lens]), "give a shorter prompt")?;
        return tensors::write(out, &[&lens]);
    }
    let (answer, guesses) = lens::guesses(&model.decoder, &trace, query, target, args.top)?;
    let answer = model.token(answer);
    print(
        &report::lens(&model.info, query, &answer, &guesses, &|id| model.token(id), &texts(&args.edits)),
        args.format,
    )
}

/// Runs `attribute`.
pub fn attribute(args: &AttributeArgs, common: &Common) -> Result<()> {
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let model = open::model(args.model.as_ref(), common)?;
    needs_logits(&model)?;
    let ids = open::ids(&model, &input, args.bos, common.quiet)?;
    let query = position(args.token, ids.len())?;
    if let Some(out) = &args.out {
        tensors::check_target(out, &model)?;
    }
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the prompt", done, total);
    let control = Control { progress: &progress, cancelled: &|| false };
    let (trace, edits) =
        edited(&model, edits::run(&model, &ids, &control)?, &args.edits, args.bos, &control)?;
    let target = match &args.target {
        Some(text) => token(&model, "--target", text)?,
        None => lens::guesses(&model.decoder, &trace, query, None, 0)?.0,
    };
    let against = args.against.as_ref().map(|text| token(&model, "--against", text)).transpose()?;
    let found = attribute::attribute(&model.decoder, &trace, &edits, query, target, against, &control)?;
    bar.borrow_mut().clear();
    open::note_break(&model, &trace, common.quiet)?;
    if let Some(out) = &args.out {
        let layers = model.info.layers;
        let one = |name, number| Ready { name, shape: vec![], numbers: vec![number] };
        let parts = [
            Ready {
                name: "heads",
                shape: vec![layers, model.info.heads],
                numbers: found.heads.values().to_vec(),
            },
            Ready { name: "attn_bias", shape: vec![layers], numbers: found.attn_bias },
            Ready { name: "mlps", shape: vec![layers], numbers: found.mlps },
            one("embedding", found.embedding),
            one("bias", found.bias),
            one("logit", found.logit),
            one("remainder", found.remainder),
        ];
        let parts: Vec<&dyn Computed> = parts.iter().map(|part| part as &dyn Computed).collect();
        return tensors::write(out, &parts);
    }
    let (target, against) = (model.token(target), against.map(|id| model.token(id)));
    let tokens = [Some(&target), against.as_ref()];
    print(
        &report::attribution(&model.info, query, tokens, &found, args.top, &texts(&args.edits)),
        args.format,
    )
}

/// Runs `patch`.
pub fn patch(args: &PatchArgs, common: &Common) -> Result<()> {
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let Some(from) = other(args.from_prompt.as_ref(), args.from_ids.as_ref()) else {
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
    let (base, source, direction) = match args.direction {
        Direction::Denoise => (corrupted, clean, "denoise"),
        Direction::Noise => (clean, corrupted, "noise"),
    };
    let map = patch::map(&model.decoder, base, source, args.over.into(), [target, against], &control)?;
    bar.borrow_mut().clear();
    if let Some(out) = &args.out {
        let shape = vec![map.len(), map.first().map_or(0, Vec::len)];
        let one = |name, number| Ready { name, shape: vec![], numbers: vec![number] };
        let parts = [
            Ready { name: "map", shape, numbers: map.concat() },
            one("clean", ends[0]),
            one("corrupted", ends[1]),
        ];
        let parts: Vec<&dyn Computed> = parts.iter().map(|part| part as &dyn Computed).collect();
        return tensors::write(out, &parts);
    }
    let over = match args.over {
        PatchOver::Heads => "heads",
        PatchOver::Mlps => "mlps",
        PatchOver::Attn => "attn",
        PatchOver::Resid => "resid",
    };
    let (tokens, prompt) = ([model.token(target), model.token(against)], model.tokens(&ids));
    let [target, against] = &tokens;
    let of = Patched { tokens: [target, against], over, direction, ends, map: &map, prompt: &prompt };
    print(&report::patched(&model.info, &of, args.top), args.format)
}
