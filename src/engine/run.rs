//! What one prompt has left in one model: the run as the model is, and, where edits stand, the run with them.

use std::sync::Arc;

use anyhow::{Result, bail};

use super::open::Model;
use crate::{
    head::Head,
    model::{
        decoder::{Control, Pass},
        edit::{self, Edit, Edits, Value},
        trace::Trace,
    },
};

/// A prompt that was run on a model. Both runs of it always have the same tokens; a verb that fails or is cancelled leaves
/// them as they were.
pub struct Run {
    model: Arc<Model>,
    clean: Trace,
    /// Tokens of the prompt, which means are taken over; the others were generated.
    prompt: usize,
    edits: Vec<Edit>,
    /// Where edits stand.
    edited: Option<Edited>,
}

/// The run with edits; layers below the first that they change are those of the clean one.
struct Edited {
    edits: Edits,
    trace: Trace,
}

impl Run {
    /// Of no prompt yet.
    pub fn new(model: Arc<Model>) -> Self {
        Self { clean: model.decoder.trace(), model, prompt: 0, edits: Vec::new(), edited: None }
    }

    /// Another prompt, with the same edits.
    pub fn of(&self, ids: &[u32], control: &Control<'_>) -> Result<Self> {
        let mut run = Self { prompt: ids.len(), ..Self::new(self.model.clone()) };
        run.model.decoder.extend(&mut run.clean, ids, &Pass::plain(control))?;
        run.edit(self.edits.clone(), control)?;
        Ok(run)
    }

    /// The run without edits.
    pub fn clean(&self) -> &Trace {
        &self.clean
    }

    /// The run with the edits, or as the model is where there are none.
    pub fn shown(&self) -> &Trace {
        self.edited.as_ref().map_or(&self.clean, |edited| &edited.trace)
    }

    /// Whether edits stand.
    pub fn is_edited(&self) -> bool {
        self.edited.is_some()
    }

    /// Tokens of the prompt; the others were generated.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// Adds a token.
    pub fn append(&mut self, token: u32, control: &Control<'_>) -> Result<()> {
        // A copy shares the memory.
        let mut clean = self.clean.clone();
        self.model.decoder.extend(&mut clean, &[token], &Pass::plain(control))?;
        self.edited = self.following(&clean, self.prompt, control)?;
        self.clean = clean;
        Ok(())
    }

    /// Keeps the first `length` tokens, at least one. Means are then taken over what is left of the prompt.
    pub fn shorten(&mut self, length: usize, control: &Control<'_>) -> Result<()> {
        let length = length.max(1);
        let mut clean = self.clean.clone();
        self.model.decoder.shorten(&mut clean, length, &Pass::plain(control))?;
        let prompt = self.prompt.min(length);
        self.edited = self.following(&clean, prompt, control)?;
        (self.clean, self.prompt) = (clean, prompt);
        Ok(())
    }

    /// Puts these edits in the place of those that stand, from the first layer on that they change differently.
    ///
    /// # Errors
    /// Also when the model does not have what is to be edited.
    pub fn edit(&mut self, edits: Vec<Edit>, control: &Control<'_>) -> Result<()> {
        edits.iter().try_for_each(|edit| edit.site.check(&self.model.decoder.spec))?;
        if let Some(layer) = edit::first_difference(&self.edits, &edits)
            && !self.clean.is_empty()
        {
            self.edited = match edits.is_empty() {
                true => None,
                false => {
                    let edits = self.model.decoder.edits(&edits, &self.clean, self.prompt)?;
                    Some(self.run_edited(edits, self.shown(), layer, control)?)
                }
            };
        }
        self.edits = edits;
        Ok(())
    }

    /// The run with edits as it has to be beside another clean run, whose first `prompt` tokens are the prompt.
    fn following(&self, clean: &Trace, prompt: usize, control: &Control<'_>) -> Result<Option<Edited>> {
        let Some(Edited { edits, trace }) = &self.edited else { return Ok(None) };
        // Means over other tokens, or over what was rotated otherwise, are other ones.
        let so_far = self.edits.iter().any(|edit| edit.value == Value::MeanSoFar);
        if prompt != self.prompt || so_far || !clean.is_rotated_like(&self.clean) {
            let edits = self.model.decoder.edits(&self.edits, clean, prompt)?;
            let layer = edits.first_layer().unwrap_or_default();
            return self.run_edited(edits, clean, layer, control).map(Some);
        }
        let mut edited = Edited { edits: edits.clone(), trace: trace.clone() };
        let layer = edits.first_layer().unwrap_or_default();
        self.model.decoder.follow(&mut edited.trace, clean, layer, &Pass::edited(edits, control))?;
        Ok(Some(edited))
    }

    /// Runs edits from a layer on of a run that is the same below.
    fn run_edited(&self, edits: Edits, base: &Trace, layer: usize, control: &Control<'_>) -> Result<Edited> {
        let decoder = &self.model.decoder;
        let mut trace = decoder.trace();
        decoder.follow(&mut trace, base, layer, &Pass::edited(&edits, control))?;
        Ok(Edited { edits, trace })
    }

    /// The residual stream after the last layer at token `query`, `[1, width]`, were the output of `head` its mean over the
    /// prompt, beside the edits that stand.
    pub fn last_without(
        &self,
        head: Head,
        query: usize,
        control: &Control<'_>,
    ) -> Result<candle_core::Tensor> {
        let decoder = &self.model.decoder;
        if query >= self.clean.len() {
            bail!("there is no token {query} to look at");
        }
        let standing = self.edited.as_ref().map_or(&edit::NONE, |edited| &edited.edits);
        let mut edits = standing.clone();
        decoder.add_edit(&mut edits, &Edit::ablation(head), &self.clean, self.prompt)?;
        decoder.last_of(self.shown(), head.layer, query, &Pass::edited(&edits, control))
    }
}
