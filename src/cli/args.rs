//! Which commands and arguments does the command line have, and what does `--help` say about them?

use crate::cli::audit::AuditCommand;
use crate::cli::backup;
use crate::cli::backup::Backup;
use crate::cli::clients::ClientCommand;
use crate::cli::issuers;
use crate::cli::issuers::IssuerCommand;
use crate::cli::keys;
use crate::cli::keys::KeyCommand;
use crate::cli::noun::GateCommandLine;
use crate::cli::organizations::OrganizationCommand;
use crate::cli::place::ConfigLocation;
use crate::cli::plans::PlanCommand;
use crate::cli::ready;
use crate::cli::ready::Ready;
use crate::cli::restore;
use crate::cli::restore::Restore;
use crate::cli::signing_keys::SigningKeyCommand;
use crate::cli::subscriptions::SubscriptionCommand;
use crate::cli::token;
use crate::cli::token::Token;
use crate::cli::upstreams;
use crate::cli::upstreams::UpstreamCommand;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use std::path::PathBuf;

/// A gateway that lets a request through to an API only when it carries exactly one good credential: a bearer token or
/// an API key
#[derive(Debug, Parser)]
#[command(name = "keygate", version, arg_required_else_help = true, max_term_width = 110, after_help = HELP)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve. Without --config: a development set-up in a data folder, with an echo upstream
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Ask a gate whether it is ready, as a health check of a container does
    #[command(after_help = ready::HELP)]
    Ready(Ready),
    /// Check a configuration, and print every mistake with its line and a hint
    #[command(after_help = CHECK_HELP)]
    Check(Check),
    /// Explain step by step, offline, why a request is forwarded or refused
    #[command(after_help = EXPLAIN_HELP)]
    Explain(Box<Explain>),
    /// Print the JSON Schema of the configuration, for editors
    #[command(after_help = SCHEMA_HELP)]
    Schema(Schema),
    /// Manage API keys
    #[command(after_help = keys::HELP)]
    Keys(GateCommandLine<KeyCommand>),
    /// Manage clients, the programs that get tokens, with their secrets and keys
    Clients(GateCommandLine<ClientCommand>),
    /// Manage organizations, which hold subscriptions
    #[command(visible_alias = "organizations")]
    Orgs(GateCommandLine<OrganizationCommand>),
    /// List and show the plans of the configuration
    Plans(GateCommandLine<PlanCommand>),
    /// Manage subscriptions, an organization's right to credentials under a plan
    Subscriptions(GateCommandLine<SubscriptionCommand>),
    /// List and rotate the keys that sign the gate's tokens
    SigningKeys(GateCommandLine<SigningKeyCommand>),
    /// Query the audit log, and verify its integrity
    Audit(GateCommandLine<AuditCommand>),
    /// Copy the store while the gate runs
    #[command(after_help = backup::HELP)]
    Backup(Backup),
    /// Put a backup in the place of the store of a stopped gate
    #[command(after_help = restore::HELP)]
    Restore(Restore),
    /// Show the state of the issuers of a running gate, or fetch an issuer's keys now
    #[command(after_help = issuers::HELP)]
    Issuers(GateCommandLine<IssuerCommand>),
    /// Show the endpoints of the upstreams of a running gate, or take one out of service
    #[command(after_help = upstreams::HELP)]
    Upstreams(GateCommandLine<UpstreamCommand>),
    /// Get a token as a client does, introspect it, or revoke it
    #[command(after_help = token::HELP)]
    Token(Token),
    /// Print the options that all commands about a gate have
    Options,
    /// Print a script that completes commands and options in a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions { shell: CompletionShell },
    /// Write a man page of each command into a folder
    #[command(after_help = MAN_PAGES_HELP)]
    ManPages {
        /// Such as ~/.local/share/man/man1, where `man` looks by itself
        folder: PathBuf,
    },
    /// Print the version
    Version,
}

const HELP: &str = "\
Start with `keygate run`. Without a configuration it serves a development set-up on loopback and
prints commands to try. Everything it makes is in one folder; the configuration there is yours to
edit, and a change is in force at once.

Exit codes:
  0  done; `explain`: the request is forwarded
  1  failed or refused, with the reason on stderr; `explain`: the request is refused
  2  the command line is not understood; `explain`: this cannot be told
  3  `check --diff`: a request may pass with less than before
  4  no gate and no issuer answered, or another process has the store open: try again later";

const RUN_HELP: &str = "\
To try it, with a development set-up and commands to paste:
  keygate run
To serve a configuration:
  keygate run --config /etc/keygate.yaml

Signals: SIGHUP reloads the configuration (a changed file is also noticed by itself). SIGTERM and
SIGINT stop: the gate says that it is not ready, accepts for `shutdown.delay` (a second signal ends
that), and finishes the requests under way. Logs go to stderr, access records to stdout.

With `hand_over` in the configuration, a second `keygate run` takes over from the first.";

const CHECK_HELP: &str = "\
Key files that the configuration names are read as well.
  keygate check conf/keygate.yaml
Where the gate's secrets are not at hand, as in a build, --allow-unset checks the rest:
  keygate check --allow-unset conf/examples/quotas.yaml

With --diff, the exit code is 3 when a request that OLD refused, or asked more of, may pass with
less now: a route became public or accepts more; its issuers, scopes or limits were widened; it was
removed, narrowed or shadowed, and its requests fall to a weaker one. Order and names do not count.
A new route that asks for a credential is no finding, a new public one is. Of OLD only the
configuration and what it includes is read, so it may come out of a version history:
  git show HEAD:keygate.yaml | keygate check keygate.yaml --diff -
In what comes from stdin, paths are relative to the current folder.

With --output json, one object on stdout says everything: `result` is good, weaker or invalid, and
each of `problems` has severity, file, line, column, path (of the key), code, message and hint.";

const EXPLAIN_HELP: &str = "\
Decides as the gate would, on the configuration and its store, which may be in use: nothing is
sent or changed, no limit is spent, and no credential is printed. A credential in a file stays out
of the shell's history.
  keygate explain --config keygate.yaml --route orders-read --token-file token.txt
  keygate explain --request 'GET https://api.example.com/v1/orders/7' --key-file -

Keys behind a URL are not fetched. What the gate kept in its state_dir is used, or hand them over:
  curl -s https://login.example.com/jwks > jwks.json
  keygate explain … --jwks main=jwks.json

The exit code is 0 when the request is forwarded, 1 when it is refused, and 2 when that cannot be
told: the question is not understood, the configuration is bad, keys are missing, or the store that
would decide cannot be read.";

const COMPLETIONS_HELP: &str = "\
For every new shell, in bash:
  mkdir -p ~/.local/share/bash-completion/completions
  keygate completions bash > ~/.local/share/bash-completion/completions/keygate
In zsh, with `fpath+=~/.zfunc` before `compinit` in .zshrc:
  mkdir -p ~/.zfunc && keygate completions zsh > ~/.zfunc/_keygate
In fish:
  mkdir -p ~/.config/fish/completions
  keygate completions fish > ~/.config/fish/completions/keygate.fish
For this one, in bash:
  source <(keygate completions bash)";

const MAN_PAGES_HELP: &str = "\
Example:
  keygate man-pages ~/.local/share/man/man1 && man keygate-keys-create";

const SCHEMA_HELP: &str = "\
Example:
  keygate schema > keygate.schema.json
and in the first line of a configuration, for editors with a YAML language server:
  # yaml-language-server: $schema=keygate.schema.json
Files that a configuration includes have a schema of their own:
  keygate schema --included > keygate.included.schema.json";

#[derive(Debug, Args)]
pub struct Check {
    /// The configuration, such as conf/keygate.yaml; `-` is stdin
    pub file: PathBuf,
    /// The configuration before; prints every route that asks for less than there; `-` is stdin
    #[arg(long, value_name = "OLD")]
    pub diff: Option<PathBuf>,
    /// Accept variables of the environment that are not set here, and say which parts were not checked for want of them
    #[arg(long, conflicts_with = "diff")]
    pub allow_unset: bool,
    /// How it is told
    #[arg(short, long, value_enum, default_value_t = ReportForm::Text)]
    pub output: ReportForm,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["route", "request"]))]
pub struct Explain {
    #[command(flatten)]
    pub place: ConfigLocation,
    /// A request that this route matches
    #[arg(long, value_name = "NAME")]
    pub route: Option<String>,
    // Help is plain text: angle brackets around the URL would show in it.
    #[allow(rustdoc::bare_urls)]
    /// A method and a URL, such as 'GET https://api.example.com/v1/orders/7'
    #[arg(long, value_name = "REQUEST")]
    pub request: Option<String>,
    /// A bearer token
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    pub token: Option<String>,
    /// A file with a bearer token; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// An API key
    #[arg(long, value_name = "KEY", conflicts_with = "key_file")]
    pub key: Option<String>,
    /// A file with an API key; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A further header; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The certificate that the client shows, PEM; taken as one that the listener accepts
    #[arg(long, value_name = "FILE")]
    pub client_certificate: Option<PathBuf>,
    /// Who holds the other end of the connection
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub from: std::net::IpAddr,
    /// When: 2026-11-22T08:00:00Z, or seconds since 1970 [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// The key set of an issuer, in place of what is behind its URL; may be repeated
    #[arg(long, value_name = "ISSUER=FILE")]
    pub jwks: Vec<String>,
    /// How it is told
    #[arg(short, long, value_enum, default_value_t = ReportForm::Text)]
    pub output: ReportForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReportForm {
    Text,
    Json,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CompletionShell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, Args)]
pub struct Schema {
    /// Of the files that `include` names, which hold issuers, limits, upstreams and routes alone
    #[arg(long)]
    pub included: bool,
}

#[derive(Debug, Args)]
#[command(mut_arg("data_dir", |arg| arg.hide_short_help(false)))]
pub struct Run {
    #[command(flatten)]
    pub place: ConfigLocation,
    /// Port of the development set-up, from now on; for where another program has 8080
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "config")]
    pub port: Option<u16>,
    /// Threads that serve requests, 1 to 1024 [default: one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}
