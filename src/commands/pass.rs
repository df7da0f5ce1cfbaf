//! Running the prompt of a command, with what is changed in the pass.

use std::{cell::RefCell, fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{open, progress::Bar};
use crate::{
    cli::{
        Common,
        pass::{EditArgs, PassArgs},
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
};

/// A model, and what a prompt leaves in it.
pub struct Passed {
    pub model: Model,
    /// The run, with edits where some are asked for.
    pub trace: Trace,
    pub edits: Edits,
    /// Whether numbers that are not finite were told of.
    pub is_broken: bool,
}

/// Opens the model, and runs the prompt once `check` has seen the model and the ids.
///
/// # Errors
/// Also what `check` says.
pub fn run(
    args: &PassArgs,
    common: &Common,
    check: impl FnOnce(&Model, &[u32]) -> Result<()>,
) -> Result<Passed> {
    let common = &common.reading(&args.reading);
    let input = open::input(&args.input)?;
    let model = open::model(args.model.as_ref(), common)?;
    let ids = open::ids(&model, &input, args.bos, common.quiet)?;
    check(&model, &ids)?;
    let bar = RefCell::new(Bar::new(common));
    let progress = |done, total| bar.borrow_mut().show("running the prompt", done, total);
    let control = Control { progress: &progress, cancelled: &|| false };
    let clean = edits::run(&model, &ids, &control)?;
    let (trace, edits) = edited(&model, clean, &args.edits, args.bos, &control)?;
    bar.borrow_mut().clear();
    let is_broken = open::note_break(&model, &trace, common.quiet)?;
    Ok(Passed { model, trace, edits, is_broken })
}

fn edited(
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

/// The prompt of `--from-prompt` or `--from-ids`.
pub fn other(prompt: Option<&String>, ids: Option<&Vec<u32>>) -> Option<PromptInput> {
    ids.cloned().map(PromptInput::Ids).or_else(|| prompt.cloned().map(PromptInput::Text))
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("--reference-text {}", path.display()))?;
    String::from_utf8(bytes)
        .with_context(|| format!("--reference-text {} is not UTF-8: convert it first", path.display()))
}

/// The position that `--token` names, the last where it names none.
///
/// # Errors
/// When the prompt has no such token.
pub fn position(token: Option<usize>, tokens: usize) -> Result<usize> {
    let query = token.unwrap_or(tokens - 1);
    if query >= tokens {
        bail!("--token {query}: the prompt has {tokens} tokens, counted from 0");
    }
    Ok(query)
}
