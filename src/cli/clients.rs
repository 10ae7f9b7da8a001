//! `keygate clients`: which programs get tokens, and how do they authenticate?

use crate::cli::client_keys;
use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::args::HolderArgs;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::keys::args::Environment;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::reference::ClientArg;
use crate::cli::reference::ResolvedId;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::config::parse_duration;
use crate::model::id::SubscriptionId;
use crate::model::scope::Scope;
use crate::store::record::client::ClientState;
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
const COLUMNS: &[Column<'_>] = &[
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
    /// List clients
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        holder: HolderArgs,
        /// Those with this name
        #[arg(long)]
        name: Option<String>,
        /// Those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(ClientState::ALL.map(ClientState::as_str)))]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a client: where it gets tokens, its keys' health, and why it is locked
    Show(ClientArg),
    /// Create a client and print its id and, this once, its secret
    #[command(after_help = CREATE_HELP)]
    Create(Box<CreateArgs>),
    /// Change a client's name, scopes or tokens
    Update(Box<UpdateArgs>),
    /// Replace a client's secret and print the new one, this once
    RotateSecret {
        #[command(flatten)]
        client: ClientArg,
        /// How long the old secret stays valid: at most 24h [default: not at all]
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Replace a client by one like it, with a new id and, where it has one, a new secret, and print both, this once
    Regenerate {
        #[command(flatten)]
        client: ClientArg,
        /// Revoke the tokens of the old one as well; otherwise they stay valid until they expire
        #[arg(long)]
        revoke_tokens: bool,
        #[command(flatten)]
        once: OnceArgs,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Give a client no tokens until it is enabled
    Disable(ClientArg),
    /// Give a client tokens again
    Enable(ClientArg),
    /// Delete a client; the tokens it has stay valid until they expire
    Delete {
        #[command(flatten)]
        client: ClientArg,
        /// Revoke the tokens it has as well
        #[arg(long)]
        revoke_tokens: bool,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Revoke every token that a client has; it may get new ones
    RevokeTokens {
        #[command(flatten)]
        client: ClientArg,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Fetch the key set behind a client's JWKS URL now, and report its state
    ValidateJwks(ClientArg),
    /// List the public keys of a client
    Keys(ClientArg),
    /// Add a public key: one of the client's own, or of a pair that is made here
    #[command(after_help = client_keys::ADD_HELP)]
    AddKey(client_keys::AddArgs),
    /// Remove one public key of a client
    RemoveKey(client_keys::RemoveArgs),
}

const CREATE_HELP: &str = "\
With a secret, stdout has the lines `client_id=…` and `client_secret=…`, fit for a file that only
its owner reads, or for the shell:
  eval \"$(keygate clients create --name demo --scope orders:read)\"
With keys, stdout has `client_id=…`; then give it keys, or have them made:
  keygate clients create --name demo --authentication private_key_jwt
  keygate clients add-key demo --generate ES256 --out client.pem";

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

fn ttl(text: &str) -> Result<TokenTtl, String> {
    let ttl = parse_duration(text).ok().and_then(TokenTtl::of);
    ttl.ok_or_else(|| format!("it is one of {}", TokenTtl::ALL.map(TokenTtl::as_str).join(", ")))
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
    /// The scopes its tokens may have, with commas or repeated [default: every scope of its plan; none where the plan
    /// names none]
    #[arg(long = "scope", value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// How long its tokens are good for: 60s, 5m, 1h or 24h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub token_ttl: Option<TokenTtl>,
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
#[command(override_usage = "keygate clients update [OPTIONS] <CLIENT>", group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["name", "description", "scopes", "no_scopes", "jwks_url", "token_ttl", "token_format"]))]
pub struct UpdateArgs {
    #[command(flatten)]
    pub client: ClientArg,
    /// What the client is
    #[arg(long)]
    pub name: Option<String>,
    /// More about it
    #[arg(long)]
    pub description: Option<String>,
    /// The scopes its tokens may have, in place of those it has, with commas or repeated
    #[arg(long = "scope", value_delimiter = ',', conflicts_with = "no_scopes")]
    pub scopes: Vec<Scope>,
    /// Its tokens have no scopes
    #[arg(long)]
    pub no_scopes: bool,
    /// Where its public keys are, of a client that has such a URL
    #[arg(long, value_name = "URL")]
    pub jwks_url: Option<String>,
    /// How long its tokens are good for: 60s, 5m, 1h or 24h
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub token_ttl: Option<TokenTtl>,
    /// What its tokens look like
    #[arg(long, value_parser = format())]
    pub token_format: Option<String>,
}

impl GateCommand for ClientCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List {
                holder,
                name,
                state,
                list,
            } => gate.list(PATH, holder.filters(), &filter(name, state), list, COLUMNS),
            Self::Show(client) => {
                let path = format!("{PATH}/{}", client.find(gate)?.id);
                gate.show_one(
                    &path,
                    &[
                        "id",
                        "name",
                        "description",
                        "authentication",
                        "token_endpoint",
                        "algorithms",
                        "jwks_url",
                        "jwks",
                        "secrets",
                        "state",
                        "standing",
                        "locked",
                        "action",
                        "scopes",
                    ],
                )
            }
            Self::Create(args) => {
                let made = gate.create(PATH, args.body(), &args.once)?;
                print_credentials(gate, &made, "is made")
            }
            Self::Update(args) => {
                let id = args.client.find(gate)?.id;
                let changed = gate.call(Method::PATCH, &format!("{PATH}/{id}"), args.body())?;
                gate.report(&changed, &format!("Client {id} is changed"), "")
            }
            Self::RotateSecret { client, grace, confirm } => {
                let ResolvedId { id, label } = client.find(gate)?;
                if grace.is_none() {
                    let consequence = format!("The secret of client {label} will be refused from now on");
                    confirm.confirm(&mut gate.printer, &consequence)?;
                }
                let body = json!({ "grace": grace });
                let made = gate.call(Method::POST, &format!("{PATH}/{id}/secret/rotate"), body)?;
                let old = match grace {
                    Some(grace) => format!("counts for {grace} more"),
                    None => "is ended".to_owned(),
                };
                print_credentials(gate, &made, &format!("has a new secret; the old one {old}"))
            }
            Self::Regenerate {
                client,
                revoke_tokens,
                once,
                confirm,
            } => {
                let ResolvedId { id, label } = client.find(gate)?;
                let consequence = format!("Client {label} will be refused from now on, whatever it proves itself with");
                confirm.confirm(&mut gate.printer, &consequence)?;
                let body = json!({ "revoke_tokens": revoke_tokens });
                let made = gate.create(&format!("{PATH}/{id}/secret/regenerate"), body, once)?;
                print_credentials(gate, &made, &format!("is made in place of {id}, which is ended"))
            }
            Self::Disable(client) => set_state(gate, client, "disabled", "gets no tokens until it is enabled"),
            Self::Enable(client) => set_state(gate, client, "active", "gets tokens"),
            Self::Delete {
                client,
                revoke_tokens,
                confirm,
            } => {
                let ResolvedId { id, label } = client.find(gate)?;
                let consequence = format!("Client {label} will get no tokens from now on");
                confirm.confirm(&mut gate.printer, &consequence)?;
                let members = json!({ "revoke_tokens": revoke_tokens.then_some(true) });
                let tokens = if *revoke_tokens {
                    "its tokens are ended"
                } else {
                    "tokens that are out stay good until they expire"
                };
                let changed = gate.call(Method::DELETE, &format!("{PATH}/{id}"), members)?;
                gate.report(&changed, &format!("Client {id} is deleted; {tokens}"), "")
            }
            Self::RevokeTokens { client, confirm } => {
                let ResolvedId { id, label } = client.find(gate)?;
                let consequence = format!("Every token that client {label} has will be refused from now on");
                confirm.confirm(&mut gate.printer, &consequence)?;
                let path = format!("{PATH}/{id}/revoke-tokens");
                let changed = gate.call(Method::POST, &path, Value::Null)?;
                gate.report(
                    &changed,
                    &format!("Every token of client {id} that was out is ended"),
                    "",
                )
            }
            Self::ValidateJwks(client) => {
                let id = client.find(gate)?.id;
                let health = gate.call(Method::POST, &format!("{PATH}/{id}/jwks/validate"), Value::Null)?;
                let first = ["state", "last_good_at", "last_attempt_at", "last_error"];
                gate.printer.show(&health, |health| render::page(health, &first))?;
                if health["state"] == "ok" {
                    return Ok(());
                }
                let problem = cell(&health["last_error"]);
                Err(format!("the keys of client {id} cannot be used: {problem}").into())
            }
            Self::Keys(client) => {
                let path = client_keys::path(&client.find(gate)?.id);
                gate.list_all(&path, client_keys::COLUMNS)
            }
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
            "token_ttl": self.token_ttl.map(TokenTtl::as_str),
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
            "token_ttl": self.token_ttl.map(TokenTtl::as_str),
            "token_format": self.token_format,
        })
    }
}

fn filter(name: &Option<String>, state: &Option<String>) -> ItemFilter {
    ItemFilter {
        name: name.clone(),
        state: state.clone(),
    }
}

fn set_state(gate: &mut GateClient<'_>, client: &ClientArg, state: &str, meaning: &str) -> Result<(), Box<dyn Error>> {
    let id = client.find(gate)?.id;
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
