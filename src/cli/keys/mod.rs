//! `keygate keys`: how does an operator create, list, change and revoke API keys in the store, or in the keys file of a gate
//! without a store?

pub mod args;
pub mod file;

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::args::HolderArgs;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::gate::find;
use crate::cli::gate::find::GateLookup;
use crate::cli::gate::find::LoadedConfig;
use crate::cli::keys::args::CreateArgs;
use crate::cli::keys::args::ImportArgs;
use crate::cli::keys::args::UpdateArgs;
use crate::cli::keys::args::VerifyArgs;
use crate::cli::keys::file::KeysContext;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::noun::GateCommandLine;
use crate::cli::printer::Printer;
use crate::cli::reference::KeyArg;
use crate::cli::reference::ResolvedId;
use crate::cli::render;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::cli::secret_text;
use crate::model::api_key::Digester;
use crate::model::api_key::system_random;
use crate::model::clock::Clock;
use crate::model::clock::SystemClock;
use crate::model::lifetime::Lifetime;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;
use std::io::Write;

const PATH: &str = "keys";
const COLUMNS: &[Column<'_>] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("EXPIRES", "expires_at"),
    ("SCOPES", "scopes"),
    ("ORGANIZATION", "organization"),
    ("LAST USED", "last_used_at"),
    ("KEY", "key_hint"),
];

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Create a key and print it, this once: only its digest is kept
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// List keys, with their states and expiries
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        holder: HolderArgs,
        /// Those with this name
        #[arg(long)]
        name: Option<String>,
        /// Those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(["active", "disabled", "ending", "expired", "revoked"]))]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a key
    Show(KeyArg),
    /// Verify a key as the running gate does; the exit code is 1 when it is refused
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Change a key's name, expiry, scopes or addresses
    Update(Box<UpdateArgs>),
    /// Refuse a key from now on, until it is enabled
    Disable(KeyArg),
    /// Accept a key again
    Enable(KeyArg),
    /// Revoke a key, at once and for good
    Revoke {
        #[command(flatten)]
        key: KeyArg,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Replace a key by a new one like it, in one step, and print the new one, this once
    Regenerate {
        #[command(flatten)]
        key: KeyArg,
        /// How long the old key stays valid: at most 24h [default: not at all]
        #[arg(long, value_name = "DURATION")]
        grace: Option<String>,
        /// How long the new key is valid: `90d`, `6mo` or `never` [default: as long as the old one was made for]
        #[arg(long)]
        expires: Option<Lifetime>,
        #[command(flatten)]
        once: OnceArgs,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Import a key of another system, by its digest
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
}

pub const HELP: &str = "\
A change is in force when the command ends. Without a store, `create`, `list` and `revoke` work on
the keys file (`api_keys.file`); a gate knows of such a change within seconds.";

const CREATE_HELP: &str = "\
Example:
  KEY=$(keygate keys create --name ci --scope orders:read,orders:write --expires 90d)
The key goes to stdout, everything else to stderr. A scope with a comma in it needs the admin API.";

const VERIFY_HELP: &str = "\
Example:
  keygate keys verify - --scope orders:read < key
One request is spent from the limits of the key's plan, and the audit log has one event.";

const IMPORT_HELP: &str = "\
Example:
  printf %s \"$OLD_KEY\" | sha256sum | cut -d' ' -f1 > digest
  keygate keys import --name old-partner --digest-file digest --expires 90d
Its holders go on as before. The key itself is never shown to Keygate before it is used.";

/// Runs the command on the store, through a running gate or in this process, or on the keys file.
///
/// # Errors
/// If no gate responds, if the gate refuses, or if there is neither a store nor a keys file.
pub fn run(keys: &GateCommandLine<KeyCommand>, out: &mut dyn Write, err: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut printer = Printer::new(&keys.gate.output, out, err);
    let client = match find::find(&keys.gate, &mut printer)? {
        GateLookup::Running(client) => client,
        GateLookup::Stopped(loaded) => loaded.open_store(&mut printer)?,
        GateLookup::NoStore(loaded) => return in_file(&keys.command, &loaded, printer),
    };
    keys.command.run(&mut GateClient::new(client, printer))
}

impl GateCommand for KeyCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Create(args) => {
                if args.client.is_some() || args.organization.is_some() {
                    return Err(
                        "--client and --organization are for keys files: in a store a key belongs to a \
                         subscription, which says whose it is (--subscription)"
                            .into(),
                    );
                }
                let made = gate.create(PATH, args.terms.body(None), &args.once)?;
                print_key(gate, &made)
            }
            Self::Import(args) => {
                let digest = secret_text::from_file(&args.digest_file)?;
                let body = args.terms.body(Some(&String::from_utf8_lossy(digest.expose())));
                let made = gate.create(&format!("{PATH}/import"), body, &args.once)?;
                let sentence = format!("API key {} is taken over, {}", label(&made), expiry(&made));
                gate.report(&made, &sentence, &format!("{}\n", cell(&made["id"])))
            }
            Self::List {
                holder,
                name,
                state,
                list,
            } => gate.list(PATH, holder.filters(), &filter(name, state), list, COLUMNS),
            Self::Show(key) => {
                let path = format!("{PATH}/{}", key.find(gate)?.id);
                gate.show_one(
                    &path,
                    &[
                        "id",
                        "key_hint",
                        "name",
                        "state",
                        "standing",
                        "locked",
                        "action",
                        "expires_at",
                        "scopes",
                    ],
                )
            }
            Self::Verify(args) => verify(args, gate),
            Self::Update(args) => {
                let ResolvedId { id, label } = args.key.find(gate)?;
                let changed = gate.call(Method::PATCH, &format!("{PATH}/{id}"), args.body())?;
                gate.report(&changed, &format!("API key {label} is changed"), "")
            }
            Self::Disable(key) => set_state(gate, key, "disabled", "is refused until it is enabled"),
            Self::Enable(key) => set_state(gate, key, "active", "is accepted"),
            Self::Revoke { key, confirm } => {
                let ResolvedId { id, label: found } = key.find(gate)?;
                confirm.confirm(
                    &mut gate.printer,
                    &format!("API key {found} will be refused from now on"),
                )?;
                let changed = gate.call(Method::POST, &format!("{PATH}/{id}/revoke"), Value::Null)?;
                // The answer while the store cannot be written has no name.
                let label = if changed["name"].is_null() {
                    found
                } else {
                    label(&changed)
                };
                gate.report(&changed, &format!("API key {label} is revoked"), "")
            }
            Self::Regenerate {
                key,
                grace,
                expires,
                once,
                confirm,
            } => {
                let ResolvedId { id, label: found } = key.find(gate)?;
                if grace.is_none() {
                    confirm.confirm(
                        &mut gate.printer,
                        &format!("API key {found} will be refused from now on"),
                    )?;
                }
                let body = json!({ "grace": grace, "expires": member::text(expires) });
                let made = gate.create(&format!("{PATH}/{id}/regenerate"), body, once)?;
                match grace {
                    Some(grace) => gate
                        .printer
                        .note(&format!("The old key {id} counts for {grace} more"))?,
                    None => gate.printer.note(&format!("The old key {id} is revoked"))?,
                }
                print_key(gate, &made)
            }
        }
    }
}

fn set_state(gate: &mut GateClient<'_>, key: &KeyArg, state: &str, meaning: &str) -> Result<(), Box<dyn Error>> {
    let ResolvedId { id, label } = key.find(gate)?;
    let changed = gate.call(Method::PATCH, &format!("{PATH}/{id}"), json!({ "state": state }))?;
    gate.report(&changed, &format!("API key {label} {meaning}"), "")
}

/// Prints the verdict of the gate on a key.
fn verify(args: &VerifyArgs, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
    let text = args.key.text()?;
    let body = json!({
        "key": text.expose(),
        "scopes": member::list(&args.scopes),
        "address": member::text(&args.address),
    });
    let verdict = gate.call(Method::POST, &format!("{PATH}/verify"), body)?;
    gate.printer
        .show(&verdict, |verdict| render::page(verdict, &["valid", "reason"]))?;
    if verdict["valid"] == true {
        return Ok(());
    }
    Err(format!("the key is refused: {}", cell(&verdict["reason"])).into())
}

fn filter(name: &Option<String>, state: &Option<String>) -> ItemFilter {
    ItemFilter {
        name: name.clone(),
        state: state.clone(),
    }
}

/// Prints a new key. Only the first response to an idempotency key has the text of the API key.
fn print_key(gate: &mut GateClient<'_>, made: &Value) -> Result<(), Box<dyn Error>> {
    match made["key"].as_str() {
        Some(key) => {
            let sentence = format!(
                "API key {}, {}. This is the only time it is shown:",
                label(made),
                expiry(made)
            );
            gate.report(made, &sentence, &format!("{}\n", render::escaped(key)))
        }
        None => {
            let sentence = format!("API key {} was made before, and is not shown again", label(made));
            gate.report(made, &sentence, "")
        }
    }
}

fn label(key: &Value) -> String {
    format!("`{}` ({})", cell(&key["name"]), cell(&key["id"]))
}

fn expiry(key: &Value) -> String {
    match &key["expires_at"] {
        Value::Null => "expires never".to_owned(),
        at => format!("expires {}", cell(at)),
    }
}

fn in_file(command: &KeyCommand, loaded: &LoadedConfig, printer: Printer<'_>) -> Result<(), Box<dyn Error>> {
    let (config, path) = (loaded.config.resolved(&["api_keys"])?, loaded.path.display());
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
        printer,
    };
    match command {
        KeyCommand::Create(args) if args.terms.subscription.is_some() || args.once.idempotency_key.is_some() => Err(
            format!("{path}: `store` is not set, and a keys file knows neither subscriptions nor idempotency keys")
                .into(),
        ),
        KeyCommand::Create(args) => file::create(args, &mut context, &mut system_random),
        KeyCommand::List { name, state, .. } => file::list(&filter(name, state), &mut context),
        KeyCommand::Revoke { key, confirm } => file::revoke(key, confirm, &mut context),
        KeyCommand::Show(_)
        | KeyCommand::Verify(_)
        | KeyCommand::Update(_)
        | KeyCommand::Disable(_)
        | KeyCommand::Enable(_)
        | KeyCommand::Regenerate { .. }
        | KeyCommand::Import(_) => Err(format!(
            "{path}: `store` is not set; of keys in a keys file there are `create`, `list` and `revoke`"
        )
        .into()),
    }
}
