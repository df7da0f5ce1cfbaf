//! Commands about the prompt and the head that are shown.

use super::{prompt, state::Source};
use crate::{
    analysis::score::Score,
    app::{App, Effect, prompt::parse_ids, screen::Screen, table::Command},
    engine::protocol::PromptInput,
    head::Head,
};

pub(super) const COMMANDS: &[Command] = &[
    Command { name: "head", argument: "L.H", help: "show a head, such as 5.3", run: head },
    Command { name: "token", argument: "N", help: "query the token at a position", run: token },
    Command { name: "prompt", argument: "TEXT", help: "run another prompt", run: text },
    Command {
        name: "ids",
        argument: "1,2,3",
        help: "run a prompt given as token ids, taken exactly as they are",
        run: ids,
    },
    Command { name: "score", argument: "NAME", help: "colour the grid by a score", run: score },
];

fn head(app: &mut App, name: &str) -> Result<Vec<Effect>, String> {
    let info = app.model()?;
    if info.layers == 0 {
        return Err("a model without layers has no heads".into());
    }
    let head: Head = name.parse().map_err(|problem| format!("{problem:#}"))?;
    if !info.has(head) {
        let last = Head::new(info.layers.saturating_sub(1), info.heads.saturating_sub(1));
        return Err(format!("no head {head}: they go from 0.0 to {last}"));
    }
    app.select_head(head);
    app.screen = Screen::Explore;
    Ok(Vec::new())
}

fn token(app: &mut App, position: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    let last = app.session.len().saturating_sub(1);
    let at = position.parse().ok().filter(|&at| at <= last);
    app.select_query(at.ok_or_else(|| format!("no token `{position}`: they go from 0 to {last}"))?);
    app.screen = Screen::Explore;
    Ok(Vec::new())
}

fn text(app: &mut App, text: &str) -> Result<Vec<Effect>, String> {
    let input = match app.model()?.has_tokenizer {
        _ if text.is_empty() => return Ok(edit(app)),
        true => PromptInput::Text(text.to_owned()),
        false => parse_ids(text)?,
    };
    app.screen = Screen::Explore;
    Ok(app.run_prompt(input))
}

fn ids(app: &mut App, ids: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    if ids.is_empty() {
        return Ok(edit(app));
    }
    let input = parse_ids(ids)?;
    app.screen = Screen::Explore;
    Ok(app.run_prompt(input))
}

/// Edits the prompt, where none is given.
fn edit(app: &mut App) -> Vec<Effect> {
    app.selection.chosen = true;
    prompt::edit(app);
    Vec::new()
}

fn score(app: &mut App, name: &str) -> Result<Vec<Effect>, String> {
    app.model()?;
    let score = Score::from_name(name).ok_or_else(|| {
        let names = Score::ALL.map(Score::name).join(", ");
        format!("no score `{name}`: {names}")
    })?;
    let explore = &mut app.rooms.explore;
    explore.score = score;
    if !explore.scores().contains(&score) {
        explore.source = Source::Ranking;
    }
    Ok(Vec::new())
}
