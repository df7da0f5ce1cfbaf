//! The explorer: opens the terminal on a model.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
};

use anyhow::{Result, bail};

use crate::{
    app::{App, Options, key::Key, tour::STOPS},
    checkpoint::embedded,
    cli::{Common, ExploreArgs},
    engine::{Engine, protocol::PromptInput},
    term::{self, color},
    ui::theme::{LEVELS, Theme},
};

/// Opens the explorer, or says which commands work without a terminal.
pub fn run(args: ExploreArgs, common: &Common) -> Result<ExitCode> {
    let keys = args.keys.as_deref().map(Key::sequence).transpose()?.unwrap_or_default();
    let title = args.model.clone().unwrap_or_else(|| embedded::DEFAULT.to_owned());
    let prompt = args.prompt.as_deref().map(super::open::prompt).transpose()?.map(PromptInput::Text);
    let options = Options { title, prompt, ..Options::default() };
    explore(args.model.as_deref(), options, keys, &common.reading(&args.reading))
}

/// Opens the explorer on the first stop of the tour.
pub fn tour(common: &Common) -> Result<ExitCode> {
    let first = &STOPS[0];
    let prompt = Some(PromptInput::Text(first.prompt.to_owned()));
    let options = Options { title: first.model.to_owned(), prompt, tour: true, ..Options::default() };
    explore(Some(first.model), options, Vec::new(), common)
}

fn explore(model: Option<&str>, options: Options, keys: Vec<Key>, common: &Common) -> Result<ExitCode> {
    let instead = "use `attnscope rank` or `attnscope show` here";
    if !io::stdout().is_terminal() {
        bail!("the explorer needs a terminal and standard output is none: {instead}");
    }
    if term::env("TERM").is_some_and(|name| name == "dumb") {
        bail!("the explorer cannot draw on a terminal with TERM=dumb: {instead}");
    }
    let theme = Theme::load("default-dark")?.at(color::decide(common.color, term::env).depth, LEVELS);
    let engine = Engine::spawn(common.open(model));
    let code = term::run::run(App::new(options), engine, theme, keys)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
