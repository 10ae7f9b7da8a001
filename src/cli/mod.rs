//! Which commands does the program have?

pub mod args;
pub mod parse;
pub mod manual;
pub mod check_findings;
pub mod check_json;
pub mod check;
pub mod data_folder;
pub mod place;
pub mod explain;
pub mod run;
pub mod introduction;
pub mod ready;
pub mod secret_text;
pub mod render;
pub mod terminal;
pub mod printer;
pub mod http;
pub mod gate;
pub mod member;
pub mod noun;
pub mod reference;
pub mod confirm;
pub mod keys;
pub mod clients;
pub mod client_keys;
pub mod organizations;
pub mod plans;
pub mod subscriptions;
pub mod signing_keys;
pub mod audit;
pub mod backup;
pub mod restore;
pub mod issuers;
pub mod upstreams;
pub mod schema;
pub mod token;

use crate::cli::args::Command;
use crate::cli::http::admin_client::AdminError;
use crate::cli::http::token_client::TokenError;
use crate::cli::printer::ignore_closed_pipe;
use crate::runtime::local_admin::OpenError;
use crate::runtime::restore::RestoreStoreError;
use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// The exit code if no gate or issuer responds.
const UNREACHABLE: u8 = 4;

/// Runs one command and returns its exit code, one of those that `keygate --help` lists.
pub fn main() -> ExitCode {
    let arguments = match parse::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    let (out, err) = (&mut std::io::stdout(), &mut std::io::stderr());
    let result = match arguments.command {
        Command::Run(args) => run::run(&args),
        Command::Ready(args) => ready::run(&args, out, err),
        Command::Check(args) => return check::check(&args, &mut std::io::stdin(), out, err),
        Command::Explain(args) => return explain::explain(&args, out, err),
        Command::Schema(args) => ignore_closed_pipe(out.write_all(schema::schema(args.included).as_bytes())),
        Command::Keys(noun) => keys::run(&noun, out, err),
        Command::Clients(noun) => noun.run(out, err),
        Command::Orgs(noun) => noun.run(out, err),
        Command::Plans(noun) => noun.run(out, err),
        Command::Subscriptions(noun) => noun.run(out, err),
        Command::SigningKeys(noun) => noun.run(out, err),
        Command::Audit(noun) => noun.run(out, err),
        Command::Backup(args) => backup::run(&args, out, err),
        Command::Restore(args) => restore::run(&args, err),
        Command::Issuers(noun) => issuers::run(&noun, out, err),
        Command::Upstreams(noun) => upstreams::run(&noun, out, err),
        Command::Token(args) => token::run(&args, out, err),
        Command::Options => ignore_closed_pipe(out.write_all(parse::options_page().as_bytes())),
        Command::Completions { shell } => ignore_closed_pipe(out.write_all(&manual::completions(shell))),
        Command::ManPages { folder } => manual::write_man_pages(&folder).map_err(Into::into),
        Command::Version => ignore_closed_pipe(writeln!(out, "keygate {}", env!("CARGO_PKG_VERSION"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keygate: {error}");
            if is_unreachable(&*error) {
                ExitCode::from(UNREACHABLE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(AdminError::is_unreachable)
        || error.downcast_ref().is_some_and(OpenError::is_in_use)
        || error.downcast_ref().is_some_and(RestoreStoreError::is_in_use)
        || error.downcast_ref().is_some_and(TokenError::is_unreachable)
}
