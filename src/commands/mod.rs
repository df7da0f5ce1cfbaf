//! What each command does, from parsed arguments to what it prints.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

#[cfg(feature = "hub")]
pub mod cache;
pub mod check;
mod checks;
pub mod circuits;
pub mod doctor;
pub mod explore;
mod open;
mod pass;
mod progress;
pub mod rank;
#[cfg(feature = "hub")]
pub mod revisions;
pub mod show;
mod tensors;
pub mod timeline;
pub mod trace;
pub mod verify;
pub mod watch;
pub mod what_if;

/// Writes a line to standard error. Nobody may be there to read it, which is no error.
fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes data to standard output. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output: check where it goes")
        }
        _ => Ok(()),
    }
}

/// Prints the completion script of a shell.
pub fn completions(shell: Shell) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "attnscope", &mut script);
    print(&String::from_utf8(script)?)
}

/// Prints the manual page, in roff, of the program or of one command.
pub fn man(command: Option<&str>) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => {
            let command = program.find_subcommand(name);
            let names =
                || program.get_subcommands().map(clap::Command::get_name).collect::<Vec<_>>().join(", ");
            command
                .cloned()
                .with_context(|| format!("there is no command `{name}`: the commands are {}", names()))?
        }
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff)?;
    print(&String::from_utf8(roff)?)
}
