//! The binary: reads the arguments, runs the command, turns what went wrong into one line and an exit code.

use std::{
    io::{Write, stderr},
    process::ExitCode,
};

use anyhow::Result;
use attnscope::{
    cli::{self, Cli, Command},
    commands, error, term, text, train,
};

/// Exit code of an error.
const ERROR: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(answer) if answer.use_stderr() => return fail(&cli::usage_line(&answer)),
        Err(answer) => {
            // The help or the version: a reader that went away is no error.
            let _ = answer.print();
            return ExitCode::SUCCESS;
        }
    };
    run(cli).unwrap_or_else(|error| fail(&error::told(&error)))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let common = &cli.common;
    let Some(command) = cli.command else {
        return commands::explore::run(cli.explore, common);
    };
    // Training settles the environment of threads, which has to come before the first of them, and stops in its own way.
    if !matches!(command, Command::Train(_)) {
        term::signals::interrupt_ends()?;
    }
    match command {
        Command::Tour => return commands::explore::tour(common),
        Command::Rank(args) => commands::rank::run(&args, common),
        Command::Check(args) => return commands::check::run(&args, common),
        Command::Watch(args) => return commands::watch::run(&args, common),
        Command::Show(args) => commands::show::run(&args, common),
        Command::Timeline(args) => commands::timeline::run(&args, common),
        Command::Circuits(args) => commands::circuits::run(&args, common),
        Command::Trace(args) => commands::trace::run(&args, common),
        Command::Lens(args) => commands::what_if::lens(&args, common),
        Command::Attribute(args) => commands::what_if::attribute(&args, common),
        Command::Patch(args) => commands::what_if::patch(&args, common),
        Command::Verify(args) => return commands::verify::run(&args, common),
        #[cfg(feature = "hub")]
        Command::Revisions(args) => commands::revisions::run(&args, common),
        #[cfg(feature = "hub")]
        Command::Cache(args) => commands::cache::run(&args, common),
        Command::Train(args) => return train::command::run(&args, common.device, common.quiet),
        Command::Doctor(args) => commands::doctor::run(&args, common),
        Command::Completions { shell } => commands::completions(shell),
        Command::Man { command } => commands::man(command.as_deref()),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Whether a line is one of a backtrace, which libraries put into their messages where RUST_BACKTRACE is set.
fn is_frame(line: &str) -> bool {
    let line = line.trim_start();
    let number = line.split_once(": ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    number || line.starts_with("at ") && line.contains(".rs:") || line.starts_with("at ./")
}

/// Says on one line what went wrong; control characters, from a path or a file, must not reach the terminal.
fn fail(message: &str) -> ExitCode {
    let mut lines = message.lines();
    let first = lines.next().into_iter();
    let kept: Vec<&str> = first.chain(lines.filter(|line| !is_frame(line))).collect();
    let clean: String =
        text::bounded(&kept.join(" ")).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let _ = writeln!(stderr(), "attnscope: {clean}");
    ExitCode::from(ERROR)
}
