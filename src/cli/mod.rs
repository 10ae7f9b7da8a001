//! Commands: what a person types, and what they read back.

pub mod args;
pub mod check;
pub mod data_folder;
pub mod issuers;
pub mod explain;
pub mod keys;
pub mod run;
pub mod schema;
pub mod token;

use crate::cli::args::Arguments;
use crate::cli::args::Command;
use clap::Parser;
use std::error::Error;
use std::io::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// Runs one command. Exit codes: 0 done, 1 refused or failed with the reason on stderr, 2 not understood; 3 of `check`:
/// good, and weaker than before. `explain` has its own: 0 allowed, 1 refused, 2 cannot be told.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Check { file, diff } => {
            let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
            return check::check(&file, diff.as_deref(), &mut out, &mut err);
        }
        Command::Explain(asked) => return explain::explain(&asked, &mut std::io::stdout(), &mut std::io::stderr()),
        Command::Schema(asked) => print(&schema::schema(asked.included)),
        Command::Keys(keys) => run::keys(&keys),
        Command::Issuers(asked) => issuers::issuers(&asked, &mut std::io::stdout(), &mut std::io::stderr()),
        Command::Token(asked) => token::token(&asked).and_then(|token| print(&format!("{token}\n"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keygate: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Not `println!`, which panics when whoever reads has read enough (`keygate schema | head -1`).
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to stdout: {error}").into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
