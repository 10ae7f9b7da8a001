//! `keygate token`: how does a client get, introspect and revoke a token?

use crate::cli::http::exchange::exposes_credentials;
use crate::cli::http::token_client;
use crate::cli::http::token_client::Identity;
use crate::cli::http::token_client::Issuer;
use crate::cli::http::token_client::Proof;
use crate::cli::http::token_client::TokenRequest;
use crate::cli::place::ConfigLocation;
use crate::cli::printer::OutputArgs;
use crate::cli::printer::OutputForm;
use crate::cli::printer::Printer;
use crate::cli::render;
use crate::cli::secret_text;
use crate::config;
use crate::config::ConfigError;
use crate::config::ReferencedFiles;
use crate::model::algorithm::Algorithm;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::id::ClientId;
use crate::model::issuer::IssuerUrl;
use crate::model::scope::Scope;
use clap::Args;
use clap::Subcommand;
use serde_json::Value;
use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct Token {
    #[command(flatten)]
    pub client: ClientArgs,
    #[command(subcommand)]
    pub command: TokenCommand,
}

/// Who asks, and whom.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Client and issuer")]
pub struct ClientArgs {
    #[command(flatten)]
    pub place: ConfigLocation,
    /// The issuer, in place of `token_endpoint.issuer` of a configuration
    #[arg(long, value_name = "URL", global = true, conflicts_with_all = ["config", "data_dir"])]
    pub issuer: Option<IssuerUrl>,
    /// A PEM file of authorities that are trusted for https, in place of the system's
    #[arg(long, value_name = "FILE", global = true)]
    pub ca_file: Option<PathBuf>,
    /// The client
    #[arg(long, value_name = "ID", global = true)]
    pub client_id: Option<ClientId>,
    /// A file with its secret; `-` is stdin [default: the variable KEYGATE_CLIENT_SECRET]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "key")]
    pub secret_file: Option<PathBuf>,
    /// A PEM file with its private key (`PRIVATE KEY`), in place of a secret
    #[arg(long, value_name = "FILE", global = true)]
    pub key: Option<PathBuf>,
    /// How the key is called [default: its RFC 7638 thumbprint, as Keygate calls it]
    #[arg(long, value_name = "TEXT", global = true, requires = "key")]
    pub kid: Option<String>,
    /// What the key signs with [default: what it is for; of RSA, RS256]
    #[arg(long, value_name = "ALGORITHM", global = true, requires = "key")]
    pub algorithm: Option<Algorithm>,
    #[command(flatten)]
    pub output: OutputArgs,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Get a token and print it
    Get {
        /// Its scopes, with commas or repeated [default: all that the client may have]
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',')]
        scopes: Vec<Scope>,
        /// The URI of an API that it is for (RFC 8707); may be repeated [default: as the issuer chooses]
        #[arg(long = "resource", value_name = "URI")]
        resources: Vec<String>,
    },
    /// Introspect a token (RFC 7662); the exit code is 1 when it is not active
    Introspect {
        /// A file with the token; `-` is stdin
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// Revoke a token of this client (RFC 7009)
    Revoke {
        /// A file with the token; `-` is stdin
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
}

pub const HELP: &str = "\
Examples:
  TOKEN=$(KEYGATE_CLIENT_SECRET=… keygate token get --client-id client_… --scope orders:read)
  keygate token get --issuer https://auth.example.com --client-id client_… --key client.pem
  echo \"$TOKEN\" | keygate token introspect --client-id client_… --secret-file secret --token-file -

The endpoints are those that the issuer's metadata name. The token goes to stdout, alone; with
--output json the whole answer.";

/// Sends the request and prints the response.
///
/// # Errors
/// If there is no issuer or no credential of the client, if the
/// issuer does not respond or refuses, or if the token is not active.
pub fn run(token: &Token, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut printer = Printer::new(&token.client.output, out, err);
    let url = issuer(&token.client)?;
    let identity = identity(&token.client)?;
    if exposes_credentials(url.as_str()) {
        printer.warn(&format!("warning: the client's credential goes to {url} unencrypted"))?;
    }
    let request = match &token.command {
        TokenCommand::Get { scopes, resources } => TokenRequest::Token {
            resources: resources.clone(),
            scope: (!scopes.is_empty()).then(|| {
                let scopes: Vec<&str> = scopes.iter().map(Scope::as_str).collect();
                scopes.join(" ")
            }),
        },
        TokenCommand::Introspect { token_file } => TokenRequest::Introspect(secret_text::from_file(token_file)?),
        TokenCommand::Revoke { token_file } => TokenRequest::Revoke(secret_text::from_file(token_file)?),
    };
    let issuer = Issuer {
        url: &url,
        ca_file: token.client.ca_file.as_deref(),
    };
    let response = token_client::send(issuer, &identity, &request, SystemClock::new().now().wall)?;
    match &token.command {
        TokenCommand::Get { .. } => {
            let access_token = response["access_token"].as_str().map(render::escaped);
            if access_token.is_none() && printer.form != OutputForm::Json {
                return Err("the answer has no `access_token`".into());
            }
            printer.write(&response, |_| access_token.unwrap_or_default() + "\n")?;
        }
        TokenCommand::Introspect { .. } => {
            printer.write(&response, |response| {
                render::page(response, &["active", "client_id", "scope", "exp"])
            })?;
            if response["active"] != Value::Bool(true) {
                return Err("the token is not good".into());
            }
        }
        TokenCommand::Revoke { .. } => {
            printer.note_in_table("The token does not count any more")?;
            printer.write(&response, |_| String::new())?;
        }
    }
    Ok(())
}

fn issuer(args: &ClientArgs) -> Result<IssuerUrl, Box<dyn Error>> {
    if let Some(issuer) = &args.issuer {
        return Ok(issuer.clone());
    }
    let path = args.place.config_path()?;
    let config = config::load_partial(&path, ReferencedFiles::MustExistButKeys, ConfigError::is_of_process)?;
    if let Some(endpoint) = &config.resolved(&["token_endpoint.issuer"])?.token_endpoint {
        return Ok(endpoint.issuer.clone());
    }
    let hint = "`token_endpoint` is not set, so there is nothing that gives tokens; name an issuer with --issuer";
    Err(format!("{}: {hint}", path.display()).into())
}

fn identity(args: &ClientArgs) -> Result<Identity, Box<dyn Error>> {
    let client_id = args.client_id.as_ref().ok_or("no client: name it with --client-id")?;
    let proof = match &args.key {
        Some(file) => {
            let pem = secret_text::from_file(file)?;
            let failed = |problem: String| format!("{}: {problem}", file.display());
            let text = std::str::from_utf8(pem.expose()).map_err(|_| failed("not PEM".to_owned()))?;
            let key = token_client::private_key(text, args.algorithm).map_err(|error| failed(error.to_string()))?;
            Proof::Key {
                kid: args.kid.clone().unwrap_or_else(|| key.kid().to_owned()),
                key: Box::new(key),
            }
        }
        None => Proof::Secret(secret_text::client_secret(args.secret_file.as_deref())?),
    };
    Ok(Identity {
        client_id: client_id.to_string(),
        proof,
    })
}
