//! Commands: what a person types, and what they read back.

pub mod args;
pub mod check;
pub mod data_folder;
pub mod keys;
pub mod run;
pub mod schema;
pub mod token;

use crate::cli::args::Arguments;
use crate::cli::args::Command;
use clap::Parser;
use std::process::ExitCode;

/// Runs one command. Exit codes: 0 done, 1 refused or failed with the reason on stderr, 2 not understood.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Run(run) => run::run(&run),
        Command::Check { file } => return check::check(&file, &mut std::io::stdout(), &mut std::io::stderr()),
        Command::Schema => {
            println!("{}", schema::schema());
            Ok(())
        }
        Command::Keys(keys) => run::keys(&keys),
        Command::Token(token) => token::token(&token),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keygate: {error}");
            ExitCode::FAILURE
        }
    }
}
