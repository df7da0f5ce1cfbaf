//! Models: the first one, and others in its place.

use std::{mem, sync::Arc};

use super::{App, Effect, Stage, screens, selection::Selection, table::Command};
use crate::{
    engine::protocol::{ModelInfo, PromptInput, Request},
    head::Head,
};

/// `:open`.
pub(super) const OPEN: Command = Command {
    name: "open",
    argument: "MODEL",
    help: "open another model: a path, a name of the hub or of a shipped one; the prompt stays",
    run: |app, model| {
        app.model()?;
        match model {
            "" => Err("open what? a path or a name goes after it".into()),
            model => Ok(app.open(model.to_owned())),
        }
    },
};

impl App {
    /// The model, where it is open.
    pub(crate) fn info(&self) -> Option<&Arc<ModelInfo>> {
        match &self.stage {
            Stage::Open(info) => Some(info),
            _ => None,
        }
    }

    /// The same for what cannot be done without one.
    pub(crate) fn model(&self) -> Result<Arc<ModelInfo>, String> {
        self.info().cloned().ok_or_else(|| "the model is not open yet".into())
    }

    /// Opens another model in the place of this one; prompt, head and screen stay as far as it has them.
    pub(crate) fn open(&mut self, model: String) -> Vec<Effect> {
        self.opening = true;
        self.rooms.training.asked = None;
        vec![Effect::Send(Request::Open { model: Some(model) })]
    }

    /// A model is open: its prompt is due, and what the rooms want of it.
    pub(super) fn opened(&mut self, info: Arc<ModelInfo>) -> Vec<Effect> {
        let prompt = self.first_prompt(&info);
        if matches!(self.options.prompt, Some(PromptInput::Text(_))) && !info.has_tokenizer {
            self.say("give token ids for a prompt (i): the model has no tokenizer to read text with".into());
        }
        self.opening = false;
        self.options.rank.length = info.block;
        match self.info().cloned() {
            None => self.keep_notes(),
            Some(before) => self.reopened(&before, &info),
        }
        self.stage = Stage::Open(info);
        let mut effects = self.run_prompt(prompt);
        effects.extend(screens::opened(self));
        effects
    }

    /// Another model takes the place of the one before: what is about that one only is forgotten.
    fn reopened(&mut self, before: &ModelInfo, info: &ModelInfo) {
        let heads = (info.layers, info.heads) == (before.layers, before.heads);
        self.session.reopened(info.vocabulary == before.vocabulary, heads);
        screens::reopened(self, info);
        self.session.ablated.retain(|&head| info.has(head));
        if !info.has(self.selection.head) {
            self.selection = Selection { head: Head::new(0, 0), chosen: false, ..self.selection };
        }
    }

    /// A request failed: what it has changed is taken back, and said.
    pub(super) fn failed(&mut self, message: String) -> Vec<Effect> {
        if mem::take(&mut self.opening) {
            self.rooms.kept();
        }
        if let Some(prompt) = self.other_prompt() {
            return self.run_prompt(prompt);
        }
        self.session.failed();
        self.rooms.failed();
        self.complain(message);
        self.dirty = true;
        Vec::new()
    }
}
