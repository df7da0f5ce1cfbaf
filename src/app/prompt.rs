//! Prompts: the ones that are typed, and what is run where none is.

use super::{App, DEFAULT_PROMPT, Effect, session::Change};
use crate::engine::protocol::{ModelInfo, PromptInput};

impl App {
    /// Runs a prompt.
    pub(crate) fn run_prompt(&mut self, input: PromptInput) -> Vec<Effect> {
        self.change(Change::Prompt(input))
    }

    /// Asks the engine for a change.
    pub(crate) fn change(&mut self, change: Change) -> Vec<Effect> {
        self.session.change(change).map(Effect::Send).into_iter().collect()
    }

    /// What to run on a model that has been opened: the prompt on the screen, the one given, or another.
    pub(super) fn first_prompt(&self, info: &ModelInfo) -> PromptInput {
        let fits = |prompt: &PromptInput| fits(prompt, info);
        let given = || self.options.prompt.clone().filter(fits);
        self.session.with_generated().filter(fits).or_else(given).unwrap_or_else(|| default(info))
    }

    /// What to run instead of a default prompt that was refused: a context may be too short for it.
    pub(super) fn other_prompt(&self) -> Option<PromptInput> {
        let info = self.info()?;
        let default = default(info);
        let refused = self.options.prompt.is_none()
            && self.session.shown.is_none()
            && self.session.is_running()
            && self.session.input.as_ref() == Some(&default);
        Some(repeated_ids(info)).filter(|ids| refused && *ids != default)
    }
}

/// Whether a prompt of one model can be run on another.
fn fits(prompt: &PromptInput, info: &ModelInfo) -> bool {
    match prompt {
        PromptInput::Text(_) => info.has_tokenizer,
        PromptInput::Ids(ids) => ids.iter().all(|&id| (id as usize) < info.vocabulary),
    }
}

/// The first prompt where none is given; without a tokenizer, ids of which the first ones come again.
fn default(info: &ModelInfo) -> PromptInput {
    if info.has_tokenizer {
        return PromptInput::Text(DEFAULT_PROMPT.to_owned());
    }
    repeated_ids(info)
}

/// Ids of which the first ones come again.
fn repeated_ids(info: &ModelInfo) -> PromptInput {
    let vocabulary = info.vocabulary.max(1) as u32;
    let block = (1..=5).map(|index| (index * (vocabulary / 7).max(1)) % vocabulary);
    PromptInput::Ids(info.bos.into_iter().chain(block.clone()).chain(block.take(3)).collect())
}

/// Reads token ids that commas or spaces separate.
pub(crate) fn parse_ids(text: &str) -> Result<PromptInput, String> {
    let parts = text.split([',', ' ', '\n', '\t']).filter(|part| !part.is_empty());
    let ids: Result<Vec<u32>, String> =
        parts.map(|part| part.parse().map_err(|_| format!("`{part}` is no token id"))).collect();
    match ids? {
        ids if ids.is_empty() => Err("no token ids: write numbers such as 5, 17, 5".into()),
        ids => Ok(PromptInput::Ids(ids)),
    }
}
