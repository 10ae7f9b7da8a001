//! Which arguments do `keys create`, `import`, `update` and `verify` have?

use crate::cli::gate::args::OnceArgs;
use crate::cli::member;
use crate::cli::reference::KeyArg;
use crate::cli::reference::KeyTextArg;
use crate::keys_file;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::lifetime::Lifetime;
use crate::model::scope::Scope;
use clap::Args;
use clap::ValueEnum;
use ipnet::IpNet;
use serde_json::Value;
use serde_json::json;
use std::net::IpAddr;
use std::path::PathBuf;

// Help texts of `create`, which explain more than those of `import` about the same arguments.
const ADDRESS_HELP: &str =
    "Addresses or ranges it may be used from, such as 10.0.0.0/8, with commas or repeated [default: everywhere]";
const ENVIRONMENT_HELP: &str = "What it is for; stands in the key's text [default: live, or that of its subscription]";

/// What is said of a key that is made or taken over.
#[derive(Clone, Debug, Args)]
pub struct KeyTerms {
    /// What the key is for; shown in lists
    #[arg(long, value_parser = keys_file::plain_text)]
    pub name: String,
    /// How long it is good for: days as `90d`, months as `6mo` (up to 730d or 24mo), or `never`
    #[arg(long)]
    pub expires: Lifetime,
    /// Its scopes, with commas or repeated [default: every scope of its plan; none where the plan names none, and in a
    /// keys file]
    #[arg(long = "scope", value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// Addresses or ranges it may be used from, with commas or repeated [default: everywhere]
    #[arg(long = "address", value_delimiter = ',', value_parser = address)]
    pub addresses: Vec<IpNet>,
    /// What it is for [default: live, or that of its subscription]
    #[arg(long, value_enum)]
    pub environment: Option<Environment>,
    /// The subscription it belongs to [default: that of the default organization]
    #[arg(long, value_name = "ID")]
    pub subscription: Option<SubscriptionId>,
}

impl KeyTerms {
    /// Returns the body of the request. `digest` is the digest of an imported key, `None` for a new key.
    pub fn body(&self, digest: Option<&str>) -> Value {
        json!({
            "digest": digest,
            "name": self.name,
            "expires": self.expires.to_string(),
            "scopes": member::list(&self.scopes),
            "addresses": member::list(&self.addresses),
            "environment": self.environment.map(member::word),
            "subscription": member::text(&self.subscription),
        })
    }
}

/// `keygate keys create`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("addresses", |arg| arg.help(ADDRESS_HELP)))]
#[command(mut_arg("environment", |arg| arg.help(ENVIRONMENT_HELP).alias("env")))]
pub struct CreateArgs {
    #[command(flatten)]
    pub terms: KeyTerms,
    /// In the keys file: the client it belongs to
    #[arg(long, value_parser = keys_file::plain_text)]
    pub client: Option<String>,
    /// In the keys file: the organization it belongs to
    #[arg(long, value_parser = keys_file::plain_text)]
    pub organization: Option<String>,
    #[command(flatten)]
    pub once: OnceArgs,
}

/// `keygate keys update`.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "keygate keys update [OPTIONS] <KEY>", group = clap::ArgGroup::new("what").required(true).multiple(true)
    .args(["name", "expires", "scopes", "no_scopes", "addresses", "any_address"]))]
pub struct UpdateArgs {
    #[command(flatten)]
    pub key: KeyArg,
    /// What the key is for
    #[arg(long, value_parser = keys_file::plain_text)]
    pub name: Option<String>,
    /// How long it is good for from now on: `90d`, `6mo` (up to 730d or 24mo), or `never`
    #[arg(long)]
    pub expires: Option<Lifetime>,
    /// Its scopes, in place of those it has, with commas or repeated
    #[arg(long = "scope", value_delimiter = ',', conflicts_with = "no_scopes")]
    pub scopes: Vec<Scope>,
    /// It has no scopes
    #[arg(long)]
    pub no_scopes: bool,
    /// Addresses or ranges it may be used from, in place of those it has, with commas or repeated
    #[arg(long = "address", value_delimiter = ',', value_parser = address, conflicts_with = "any_address")]
    pub addresses: Vec<IpNet>,
    /// It may be used from everywhere
    #[arg(long)]
    pub any_address: bool,
}

impl UpdateArgs {
    /// Returns the body of the request.
    pub fn body(&self) -> Value {
        let replaced = |is_empty: bool, list: Value| if is_empty { json!([]) } else { list };
        json!({
            "name": self.name,
            "expires": member::text(&self.expires),
            "scopes": replaced(self.no_scopes, member::list(&self.scopes)),
            "addresses": replaced(self.any_address, member::list(&self.addresses)),
        })
    }
}

/// `keygate keys verify`.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub key: KeyTextArg,
    /// Scopes that the use needs, all of them, with commas or repeated
    #[arg(long = "scope", value_delimiter = ',')]
    pub scopes: Vec<Scope>,
    /// The address that used it; a key that is bound to addresses is refused without one
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
}

/// `keygate keys import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// A file with the SHA-256 digest of the key's text, 64 hexadecimal digits; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub digest_file: PathBuf,
    #[command(flatten)]
    pub terms: KeyTerms,
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

impl From<Environment> for ApiKeyEnvironment {
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
