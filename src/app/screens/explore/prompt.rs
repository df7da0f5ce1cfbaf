//! Keys that change the prompt, and what is ablated in it.

use crate::{
    app::{App, Effect, overlay::Field, prompt::parse_ids, screen::Screen, session::Change},
    engine::protocol::{Bos, PromptInput},
};

/// Puts up the field in which the prompt is edited.
pub(super) fn edit(app: &mut App) {
    app.screen = Screen::Explore;
    let text = match app.session.with_generated() {
        Some(PromptInput::Text(text)) => text,
        Some(PromptInput::Ids(ids)) => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
        None => String::new(),
    };
    app.ask(Field { lines: true, ..Field::new(Screen::Explore, text) });
}

/// Runs what was typed into it.
pub(super) fn accept(app: &mut App, text: &str) -> Result<Vec<Effect>, String> {
    let ids = matches!(app.session.input, Some(PromptInput::Ids(_)))
        || app.info().is_some_and(|info| !info.has_tokenizer);
    let input = if ids { parse_ids(text)? } else { PromptInput::Text(text.to_owned()) };
    Ok(app.run_prompt(input))
}

/// Ablates the head that is selected, or restores it.
pub(super) fn ablate(app: &mut App) {
    let head = app.selection.head;
    if app.info().is_some_and(|info| info.layers > 0) && !app.session.ablated.remove(&head) {
        app.session.ablated.insert(head);
    }
}

/// Restores every head.
pub(super) fn restore(app: &mut App) {
    if app.info().is_some_and(|info| info.layers > 0) {
        app.session.ablated.clear();
    }
}

pub(super) fn append_candidate(app: &mut App) -> Vec<Effect> {
    let Some(answer) = &app.session.candidates else { return Vec::new() };
    let chosen = answer.value.top.get(app.selection.candidate).map(|candidate| candidate.token.id);
    if !app.session.is_current(answer) || answer.value.query != app.selection.query {
        return Vec::new();
    }
    if answer.value.query + 1 != app.session.len() {
        app.say("a choice can be appended at the last token: $ goes there".into());
        return Vec::new();
    }
    chosen.map_or_else(Vec::new, |id| app.change(Change::Append(Some(id))))
}

pub(super) fn step_back(app: &mut App) -> Vec<Effect> {
    let generated = app.session.shown.as_ref().is_some_and(|shown| shown.tokens.len() > shown.prompt);
    if !generated && !app.session.is_running() {
        app.say("no generated token to take back".into());
        return Vec::new();
    }
    app.change(Change::StepBack)
}

pub(super) fn toggle_bos(app: &mut App) -> Vec<Effect> {
    let Some(info) = app.info().cloned() else { return Vec::new() };
    let (Some(bos), Some(PromptInput::Text(text))) = (info.bos, app.session.with_generated()) else {
        let problem = if info.bos.is_none() {
            "the vocabulary has no BOS token"
        } else {
            "ids are taken exactly as given"
        };
        app.say(problem.into());
        return Vec::new();
    };
    let first = app.session.shown.as_ref().and_then(|shown| shown.tokens.first()).map(|token| token.id);
    app.session.bos = if first == Some(bos) { Bos::Off } else { Bos::On };
    app.run_prompt(PromptInput::Text(text))
}
