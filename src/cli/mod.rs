//! Commands: what a person types, and what they read back.

pub mod args;
pub mod check;
pub mod data_folder;
pub mod explain;
pub mod run;
pub mod introduction;
pub mod http;
pub mod gate;
pub mod secret_text;
pub mod render;
pub mod keys;
pub mod clients;
pub mod client_keys;
pub mod organizations;
pub mod plans;
pub mod subscriptions;
pub mod signing_keys;
pub mod audit;
pub mod backup;
pub mod issuers;
pub mod schema;
pub mod token;

use crate::cli::args::Arguments;
use crate::cli::args::Command;
use crate::cli::gate::GateClient;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::token_client::TokenError;
use crate::runtime::local_admin::OpenError;
use clap::Parser;
use std::error::Error;
use std::io::ErrorKind;
use std::io::Write;
use std::process::ExitCode;

/// No gate answered.
const NOBODY_ANSWERED: u8 = 4;

/// Runs one command. Exit codes: 0 done, 1 refused or failed with the reason on stderr, 2 not understood, 4 no gate
/// answered; 3 of `check`: good, and weaker than before. `explain` has its own: 0 allowed, 1 refused, 2 cannot be told.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (out, err) = (&mut std::io::stdout(), &mut std::io::stderr());
    let done =
        match arguments.command {
            Command::Run(run) => run::run(&run),
            Command::Check { file, diff } => return check::check(&file, diff.as_deref(), out, err),
            Command::Explain(asked) => return explain::explain(&asked, out, err),
            Command::Schema(asked) => print(&schema::schema(asked.included)),
            Command::Keys(asked) => keys::keys(&asked, out, err),
            Command::Clients(asked) => {
                GateClient::open(&asked.gate, out, err).and_then(|mut gate| clients::run(&asked.command, &mut gate))
            }
            Command::Orgs(asked) => GateClient::open(&asked.gate, out, err)
                .and_then(|mut gate| organizations::run(&asked.command, &mut gate)),
            Command::Plans(asked) => {
                GateClient::open(&asked.gate, out, err).and_then(|mut gate| plans::run(&asked.command, &mut gate))
            }
            Command::Subscriptions(asked) => GateClient::open(&asked.gate, out, err)
                .and_then(|mut gate| subscriptions::run(&asked.command, &mut gate)),
            Command::SigningKeys(asked) => GateClient::open(&asked.gate, out, err)
                .and_then(|mut gate| signing_keys::run(&asked.command, &mut gate)),
            Command::Audit(asked) => {
                GateClient::open(&asked.gate, out, err).and_then(|mut gate| audit::run(&asked.command, &mut gate))
            }
            Command::Backup(asked) => {
                GateClient::open(&asked.gate, out, err).and_then(|mut gate| backup::run(&asked, &mut gate))
            }
            Command::Issuers(asked) => issuers::issuers(&asked, out, err),
            Command::Token(asked) => token::token(&asked, out, err),
        };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keygate: {error}");
            match nobody_answered(&*error) {
                true => ExitCode::from(NOBODY_ANSWERED),
                false => ExitCode::FAILURE,
            }
        }
    }
}

fn nobody_answered(error: &(dyn Error + 'static)) -> bool {
    let asked = error.downcast_ref().is_some_and(AdminError::nobody_answered);
    let has_it = error.downcast_ref().is_some_and(OpenError::is_in_use);
    asked || has_it || error.downcast_ref().is_some_and(TokenError::nobody_answered)
}

/// Not `println!`, which panics when whoever reads has read enough (`keygate schema | head -1`).
fn print(text: &str) -> Result<(), Box<dyn Error>> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("cannot write to stdout: {error}").into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
