//! `keygate clients`: which programs get tokens, and how do they authenticate?

use crate::cli::client_keys;
use crate::cli::gate::GateClient;
use crate::cli::gate::args::HolderArgs;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::keys::args::Environment;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::scope::Scope;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "clients";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("AUTHENTICATION", "authentication"),
    ("STATE", "state"),
    ("SCOPES", "scopes"),
    ("TOKENS", "token_format"),
    ("TTL", "token_ttl"),
    ("ORGANIZATION", "organization"),
];

#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Every client
    List {
        #[command(flatten)]
        holder: HolderArgs,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One client
    Show { id: ClientId },
    /// Make a client; its id goes to stdout, and its secret, once
    #[command(after_help = CREATE_HELP)]
    Create(Box<CreateArgs>),
    /// Change what a client is called, may do and gets
    Update(Box<UpdateArgs>),
    /// A new secret for the same client; it is printed, once
    RotateSecret {
        id: ClientId,
        /// How long the old secret still counts: at most 24h [default: not at all]
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
    },
    /// A new id and, where there is one, a new secret; the old ones end now; printed, once
    Regenerate {
        id: ClientId,
        /// End the tokens of the old one as well; otherwise they stay good until they expire
        #[arg(long)]
        revoke_tokens: bool,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// No tokens any more, until it is enabled
    Disable { id: ClientId },
    /// Tokens again
    Enable { id: ClientId },
    /// No tokens any more, for good. Those that are out stay good until they expire
    Delete {
        id: ClientId,
        /// End the tokens that are out as well, from now on
        #[arg(long)]
        revoke_tokens: bool,
    },
    /// End every token of the client that is out, from now on; it may get new ones
    RevokeTokens { id: ClientId },
    /// Fetch the key set behind the client's JWKS URL now, and say how it is
    ValidateJwks { id: ClientId },
    /// The public keys of a client
    Keys { id: ClientId },
    /// A further public key: one of the client's own, or of a pair that is made here
    #[command(after_help = client_keys::ADD_HELP)]
    AddKey(client_keys::AddArgs),
    /// End one key of a client, from now on; its other keys go on
    RemoveKey(client_keys::RemoveArgs),
}

const CREATE_HELP: &str = "\
With a secret, stdout has the lines `client_id=…` and `client_secret=…`, fit for a file that only
its owner reads, or for the shell:
  eval \"$(keygate clients create --name demo --scope orders:read)\"
With keys, stdout has `client_id=…`; then give it keys, or have them made:
  keygate clients create --name demo --authentication private_key_jwt
  keygate clients add-key CLIENT_ID --generate ES256 --out client.pem";

/// How a client proves itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Authentication {
    /// A secret that Keygate makes
    #[value(name = "client_secret")]
    ClientSecret,
    /// A private key of its own (RFC 7523)
    #[value(name = "private_key_jwt")]
    PrivateKeyJwt,
}

fn ttl() -> PossibleValuesParser {
    PossibleValuesParser::new(TokenTtl::ALL.map(TokenTtl::as_str))
}

fn format() -> PossibleValuesParser {
    PossibleValuesParser::new(TokenFormat::ALL.map(TokenFormat::as_str))
}

/// `keygate clients create`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// What the client is; shown in lists
    #[arg(long)]
    pub name: String,
    /// More about it
    #[arg(long)]
    pub description: Option<String>,
    /// How it proves itself, for good [default: client_secret; with --jwks-url: private_key_jwt]
    #[arg(long, value_enum)]
    pub authentication: Option<Authentication>,
    /// Where its public keys are, for good [default: keys are added with `clients add-key`]
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<String>,
    /// A scope its tokens may have; may be repeated
    #[arg(long = "scope")]
    pub scopes: Vec<Scope>,
    /// How long its tokens are good for [default: 1h]
    #[arg(long, value_parser = ttl())]
    pub token_ttl: Option<String>,
    /// What its tokens look like [default: jwt]
    #[arg(long, value_parser = format())]
    pub token_format: Option<String>,
    /// What it is for [default: live, or that of its subscription]
    #[arg(long, value_enum)]
    pub environment: Option<Environment>,
    /// The subscription it belongs to [default: that of the default organization]
    #[arg(long, value_name = "ID")]
    pub subscription: Option<SubscriptionId>,
    #[command(flatten)]
    pub once: OnceArgs,
}

/// `keygate clients update`.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "keygate clients update [OPTIONS] <ID>", group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["name", "description", "scopes", "no_scopes", "jwks_url", "token_ttl", "token_format"]))]
pub struct UpdateArgs {
    pub id: ClientId,
    /// What the client is
    #[arg(long)]
    pub name: Option<String>,
    /// More about it
    #[arg(long)]
    pub description: Option<String>,
    /// A scope its tokens may have, in place of those it has; may be repeated
    #[arg(long = "scope", conflicts_with = "no_scopes")]
    pub scopes: Vec<Scope>,
    /// Its tokens have no scopes
    #[arg(long)]
    pub no_scopes: bool,
    /// Where its public keys are, of a client that has such a URL
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<String>,
    /// How long its tokens are good for
    #[arg(long, value_parser = ttl())]
    pub token_ttl: Option<String>,
    /// What its tokens look like
    #[arg(long, value_parser = format())]
    pub token_format: Option<String>,
}

impl GateCommand for ClientCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List { holder, list } => gate.list(PATH, holder.filters(), list, COLUMNS),
            Self::Show { id } => gate.show_one(
                &format!("{PATH}/{id}"),
                &["id", "name", "description", "authentication", "state", "scopes"],
            ),
            Self::Create(args) => {
                let made = gate.create(PATH, args.body(), &args.once)?;
                print_credentials(gate, &made, "is made")
            }
            Self::Update(args) => {
                let path = format!("{PATH}/{}", args.id);
                let changed = gate.call(Method::PATCH, &path, args.body())?;
                gate.report(&changed, &format!("Client {} is changed", args.id), "")
            }
            Self::RotateSecret { id, grace } => {
                let body = json!({ "grace": grace });
                let made = gate.call(Method::POST, &format!("{PATH}/{id}/secret/rotate"), body)?;
                let old = match grace {
                    Some(grace) => format!("counts for {grace} more"),
                    None => "is ended".to_owned(),
                };
                print_credentials(gate, &made, &format!("has a new secret; the old one {old}"))
            }
            Self::Regenerate {
                id,
                revoke_tokens,
                once,
            } => {
                let body = json!({ "revoke_tokens": revoke_tokens });
                let made = gate.create(&format!("{PATH}/{id}/secret/regenerate"), body, once)?;
                print_credentials(gate, &made, &format!("is made in place of {id}, which is ended"))
            }
            Self::Disable { id } => set_state(gate, id, "disabled", "gets no tokens until it is enabled"),
            Self::Enable { id } => set_state(gate, id, "active", "gets tokens"),
            Self::Delete { id, revoke_tokens } => {
                let members = json!({ "revoke_tokens": revoke_tokens.then_some(true) });
                let tokens = if *revoke_tokens {
                    "its tokens are ended"
                } else {
                    "tokens that are out stay good until they expire"
                };
                let changed = gate.call(Method::DELETE, &format!("{PATH}/{id}"), members)?;
                gate.report(&changed, &format!("Client {id} is deleted; {tokens}"), "")
            }
            Self::RevokeTokens { id } => {
                let path = format!("{PATH}/{id}/revoke-tokens");
                let changed = gate.call(Method::POST, &path, Value::Null)?;
                gate.report(
                    &changed,
                    &format!("Every token of client {id} that was out is ended"),
                    "",
                )
            }
            Self::ValidateJwks { id } => {
                let health = gate.call(Method::POST, &format!("{PATH}/{id}/jwks/validate"), Value::Null)?;
                let first = ["state", "last_good_at", "last_attempt_at", "last_error"];
                gate.printer.show(&health, |health| render::page(health, &first))?;
                if health["state"] == "ok" {
                    return Ok(());
                }
                let problem = cell(&health["last_error"]);
                Err(format!("the keys of client {id} cannot be used: {problem}").into())
            }
            Self::Keys { id } => gate.list_all(&client_keys::path(id), client_keys::COLUMNS),
            Self::AddKey(args) => client_keys::add(args, gate),
            Self::RemoveKey(args) => client_keys::remove(args, gate),
        }
    }
}

impl CreateArgs {
    fn body(&self) -> Value {
        let authentication = self.authentication.unwrap_or(match self.jwks_url {
            Some(_) => Authentication::PrivateKeyJwt,
            None => Authentication::ClientSecret,
        });
        json!({
            "name": self.name,
            "description": self.description,
            "authentication": member::word(authentication),
            "jwks_url": self.jwks_url,
            "scopes": member::list(&self.scopes),
            "token_ttl": self.token_ttl,
            "token_format": self.token_format,
            "environment": self.environment.map(member::word),
            "subscription": member::text(&self.subscription),
        })
    }
}

impl UpdateArgs {
    fn body(&self) -> Value {
        json!({
            "name": self.name,
            "description": self.description,
            "scopes": if self.no_scopes { json!([]) } else { member::list(&self.scopes) },
            "jwks_url": self.jwks_url,
            "token_ttl": self.token_ttl,
            "token_format": self.token_format,
        })
    }
}

fn set_state(gate: &mut GateClient<'_>, id: &ClientId, state: &str, meaning: &str) -> Result<(), Box<dyn Error>> {
    let path = format!("{PATH}/{id}");
    let changed = gate.call(Method::PATCH, &path, json!({ "state": state }))?;
    gate.report(&changed, &format!("Client {id} {meaning}"), "")
}

/// Prints a client's id, and its new secret if there is one.
fn print_credentials(gate: &mut GateClient<'_>, made: &Value, what: &str) -> Result<(), Box<dyn Error>> {
    let id = shell_word(&made["id"]).ok_or("the answer has no client id that is one")?;
    let name = cell(&made["name"]);
    let secret = &made["client_secret"];
    if secret.is_null() {
        return gate.report(made, &format!("Client `{name}` {what}"), &format!("client_id={id}\n"));
    }
    let secret = shell_word(secret).ok_or("the answer has no client secret that is one")?;
    let sentence = format!("Client `{name}` {what}. This is the only time its secret is shown:");
    gate.report(made, &sentence, &format!("client_id={id}\nclient_secret={secret}\n"))
}

/// Returns the text of `value` if it needs no quoting in a shell, otherwise `None`. Users `eval` the printed lines, and
/// the server that responded may be hostile.
fn shell_word(value: &Value) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    value
        .as_str()
        .filter(|text| !text.is_empty() && text.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_printed_for_a_shell() {
        for good in ["client_0aZ", "kgs_-_", "a"] {
            assert_eq!(shell_word(&json!(good)), Some(good));
        }
        for bad in ["", "a b", "$(rm)", "a;b", "a\nb", "`a`", "a'b", "a=b", "é"] {
            assert_eq!(shell_word(&json!(bad)), None, "{bad:?}");
        }
        assert_eq!(shell_word(&json!(5)), None);
        assert_eq!(shell_word(&Value::Null), None);
    }
}
