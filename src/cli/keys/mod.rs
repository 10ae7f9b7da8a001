//! `keygate keys`: how does an operator make, see and end API keys? In the store that a gate issues from; in the keys file
//! where there is no store.

pub mod file;

use crate::cli::gate::GateArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::GateLookup;
use crate::cli::gate::ListArgs;
use crate::cli::gate::LoadedConfig;
use crate::cli::gate::OnceArgs;
use crate::cli::keys::file::KeysContext;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::cli::secret_text;
use crate::keys_file;
use crate::model::api_key::Digester;
use crate::model::api_key::KeyEnvironment;
use crate::model::api_key::KeyId;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::expires::Expires;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::scope::Scope;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use ipnet::IpNet;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::Write;

const PATH: &str = "/admin/v1/keys";
const COLUMNS: &[Column] = &[
    ("KEY", "key_hint"),
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
    ("SCOPES", "scopes"),
    ("ORGANIZATION", "organization"),
    ("LAST USED", "last_used_at"),
];

#[derive(Debug, Args)]
pub struct Keys {
    #[command(flatten)]
    pub gate: GateArgs,
    #[command(subcommand)]
    pub command: KeyCommand,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once: only its digest is kept
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// Every key: obfuscated, with its state and expiry
    List {
        /// Of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<Name>,
        /// Under this subscription
        #[arg(long, value_name = "ID")]
        subscription: Option<SubscriptionId>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One key
    Show { id: KeyId },
    /// End a key, from now on
    Revoke(RevokeArgs),
    /// End a key and make one like it in its place, in one step; the new one is printed, once
    Regenerate {
        id: KeyId,
        /// How long the old one still counts: at most 24h [default: not at all]
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
        /// How long the new one is good for: `90d`, `6mo` or `never` [default: as long as the old one was made for]
        #[arg(long)]
        expires: Option<Expires>,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// Take over a key of another system, by its digest
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
}

pub const HELP: &str = "\
A running gate is asked over the socket beside its store, so a change is in force when the command
ends. Where no gate runs, the store itself is written. Without a store, `create`, `list` and
`revoke` work on the keys file (`api_keys.file`); a gate knows of such a change within a second.";

const CREATE_HELP: &str = "\
Example:
  KEY=$(keygate keys create --name ci --scope orders:read --expires 90d)
The key goes to stdout, everything else to stderr.";

const IMPORT_HELP: &str = "\
Example:
  printf %s \"$OLD_KEY\" | sha256sum | cut -d' ' -f1 > digest
  keygate keys import --name old-partner --digest-file digest --expires 90d
Its holders go on as before. The key itself is never shown to Keygate before it is used.";

/// `keygate keys create`.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// What the key is for; shown in lists
    #[arg(long, value_parser = keys_file::plain_text)]
    pub name: String,
    /// How long it is good for: `90d`, `6mo` (1 to 730 days) or `never`
    #[arg(long)]
    pub expires: Expires,
    /// A scope it has; may be repeated
    #[arg(long = "scope")]
    pub scopes: Vec<Scope>,
    /// An address or range it may be used from, such as 10.0.0.0/8; may be repeated; everywhere when absent
    #[arg(long = "address", value_parser = address)]
    pub addresses: Vec<IpNet>,
    /// What it is for; stands in the key's text [default: live, or that of its subscription]
    #[arg(long, alias = "env", value_enum)]
    pub environment: Option<Environment>,
    /// The subscription it belongs to [default: that of the default organization]
    #[arg(long, value_name = "ID")]
    pub subscription: Option<SubscriptionId>,
    /// In the keys file: the client it belongs to
    #[arg(long, value_parser = keys_file::plain_text)]
    pub client: Option<String>,
    /// In the keys file: the organization it belongs to
    #[arg(long, value_parser = keys_file::plain_text)]
    pub organization: Option<String>,
    #[command(flatten)]
    pub once: OnceArgs,
}

/// `keygate keys revoke`.
#[derive(Clone, Debug, Args)]
pub struct RevokeArgs {
    /// The 16 characters between the second and the third `_` of the key, as `keys list` shows them
    pub id: KeyId,
}

/// `keygate keys import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A file with the SHA-256 digest of the key's text, 64 hexadecimal digits; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub digest_file: std::path::PathBuf,
    /// What the key is for; shown in lists
    #[arg(long, value_parser = keys_file::plain_text)]
    pub name: String,
    /// How long it is good for: `90d`, `6mo` (1 to 730 days) or `never`
    #[arg(long)]
    pub expires: Expires,
    /// A scope it has; may be repeated
    #[arg(long = "scope")]
    pub scopes: Vec<Scope>,
    /// An address or range it may be used from; may be repeated
    #[arg(long = "address", value_parser = address)]
    pub addresses: Vec<IpNet>,
    /// What it is for [default: live, or that of its subscription]
    #[arg(long, value_enum)]
    pub environment: Option<Environment>,
    /// The subscription it belongs to [default: that of the default organization]
    #[arg(long, value_name = "ID")]
    pub subscription: Option<SubscriptionId>,
    #[command(flatten)]
    pub once: OnceArgs,
}

/// Real use, or trying out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Environment {
    Live,
    #[value(alias = "test")]
    Sandbox,
}

impl Environment {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Sandbox => "sandbox",
        }
    }
}

impl From<Environment> for KeyEnvironment {
    fn from(word: Environment) -> Self {
        match word {
            Environment::Live => Self::Live,
            Environment::Sandbox => Self::Test,
        }
    }
}

fn address(text: &str) -> Result<IpNet, String> {
    keys_file::address_range(text)
        .ok_or_else(|| "write an address or a range without host bits, such as 10.0.0.0/8".to_owned())
}

/// Does what was asked, in the store or in the keys file.
///
/// # Errors
/// No answer, a refusal, or neither a store nor a keys file.
pub fn keys(asked: &Keys, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    match GateClient::find(&asked.gate, out, err)? {
        GateLookup::Running(mut gate) => in_store(&asked.command, &mut gate),
        GateLookup::Stopped(found) => in_store(&asked.command, &mut GateClient::on_store(&asked.gate, found)?),
        GateLookup::NoStore(found) => in_file(&asked.command, found),
    }
}

fn in_store(asked: &KeyCommand, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    match asked {
        KeyCommand::Create(args) => {
            if args.client.is_some() || args.organization.is_some() {
                return Err(
                    "--client and --organization are for keys files: in a store a key belongs to a \
                            subscription, which says whose it is (--subscription)"
                        .into(),
                );
            }
            let mut body = json!({ "name": args.name, "expires": args.expires.to_string() });
            with(
                &mut body,
                &args.scopes,
                &args.addresses,
                args.environment,
                args.subscription.as_ref(),
            );
            let made = gate.create(PATH, &body, &args.once)?;
            given(gate, &made)
        }
        KeyCommand::Import(args) => {
            let digest = secret_text::from_file(&args.digest_file)?;
            let digest = String::from_utf8_lossy(digest.expose()).into_owned();
            let mut body = json!({ "digest": digest, "name": args.name, "expires": args.expires.to_string() });
            with(
                &mut body,
                &args.scopes,
                &args.addresses,
                args.environment,
                args.subscription.as_ref(),
            );
            let made = gate.create(&format!("{PATH}/import"), &body, &args.once)?;
            let sentence = format!("API key {} is taken over, {}", called(&made), expiry(&made));
            gate.done(&made, &sentence, &format!("{}\n", cell(&made["id"])))
        }
        KeyCommand::List {
            organization,
            subscription,
            list,
        } => {
            let filters = [
                ("organization", organization.as_ref().map(ToString::to_string)),
                ("subscription", subscription.as_ref().map(ToString::to_string)),
            ];
            gate.list(PATH, &filters, list, COLUMNS)
        }
        KeyCommand::Show { id } => {
            let key = gate.get(&format!("{PATH}/{id}"))?;
            gate.thing(&key, &["id", "name", "state", "expires_at", "scopes"])
        }
        KeyCommand::Revoke(args) => {
            let revoked = gate.post(&format!("{PATH}/{}/revoke", args.id), None)?;
            gate.done(&revoked, &format!("API key {} is revoked", args.id), "")
        }
        KeyCommand::Regenerate {
            id,
            grace,
            expires,
            once,
        } => {
            let mut body = json!({});
            if let Some(grace) = grace {
                body["grace"] = grace.as_str().into();
            }
            if let Some(expires) = expires {
                body["expires"] = expires.to_string().into();
            }
            let made = gate.create(&format!("{PATH}/{id}/regenerate"), &body, once)?;
            match grace {
                Some(grace) => gate.tell(&format!("The old key {id} counts for {grace} more"))?,
                None => gate.tell(&format!("The old key {id} is revoked"))?,
            }
            given(gate, &made)
        }
    }
}

/// Prints a key that was just made.
fn given(gate: &mut GateClient<'_>, made: &Value) -> Result<(), Box<dyn Error>> {
    match made["key"].as_str() {
        Some(key) => {
            let sentence = format!(
                "API key {}, {}. This is the only time it is shown:",
                called(made),
                expiry(made)
            );
            gate.done(made, &sentence, &format!("{}\n", render::escaped(key)))
        }
        None => {
            let sentence = format!("API key {} was made before, and is not shown again", called(made));
            gate.done(made, &sentence, "")
        }
    }
}

fn called(key: &Value) -> String {
    format!("`{}` ({})", cell(&key["name"]), cell(&key["id"]))
}

fn expiry(key: &Value) -> String {
    match &key["expires_at"] {
        Value::Null => "expires never".to_owned(),
        at => format!("expires {}", cell(at)),
    }
}

/// Puts in what was said. What was not is left to the plan and the subscription.
fn with(
    body: &mut Value,
    scopes: &[Scope],
    addresses: &[IpNet],
    environment: Option<Environment>,
    subscription: Option<&SubscriptionId>,
) {
    if !scopes.is_empty() {
        body["scopes"] = scopes.iter().map(Scope::as_str).collect();
    }
    if !addresses.is_empty() {
        body["addresses"] = addresses.iter().map(ToString::to_string).collect();
    }
    if let Some(environment) = environment {
        body["environment"] = environment.as_str().into();
    }
    if let Some(subscription) = subscription {
        body["subscription"] = subscription.as_str().into();
    }
}

fn in_file(asked: &KeyCommand, found: LoadedConfig<'_>) -> Result<(), Box<dyn Error>> {
    let (config, path) = (&found.config, found.path.display());
    let Some(file) = &config.api_keys.file else {
        return Err(
            format!("{path}: neither `store` nor `api_keys.file` is set, so there is nowhere to keep keys").into(),
        );
    };
    let mut context = KeysContext {
        file,
        prefix: &config.api_keys.prefix,
        digester: &Digester::new(config.api_keys.pepper.as_ref()),
        now: SystemClock::new().now().wall,
        stdout: found.out,
        stderr: found.err,
    };
    match asked {
        KeyCommand::Create(args) if args.subscription.is_some() || args.once.idempotency_key.is_some() => Err(format!(
            "{path}: `store` is not set, and a keys file knows neither subscriptions nor idempotency keys"
        )
        .into()),
        KeyCommand::Create(args) => Ok(file::create(args, &mut context, &mut system_random)?),
        KeyCommand::List { .. } => Ok(file::list(&mut context)?),
        KeyCommand::Revoke(args) => Ok(file::revoke(args, &mut context)?),
        KeyCommand::Show { .. } | KeyCommand::Regenerate { .. } | KeyCommand::Import(_) => Err(format!(
            "{path}: `store` is not set; of keys in a keys file there are `create`, `list` and `revoke`"
        )
        .into()),
    }
}
