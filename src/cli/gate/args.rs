//! Which flags do the commands that call a gate share?

use crate::cli::member;
use crate::cli::place::ConfigLocation;
use crate::cli::printer::OutputArgs;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::issuer::IssuerUrl;
use crate::model::names::Name;
use clap::Args;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// Which gate, and how its answer is printed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of all commands (`keygate options` has more)")]
pub struct GateArgs {
    #[command(flatten)]
    pub place: ConfigLocation,
    /// The admin listener of a gate, in place of a configuration
    #[arg(long, value_name = "URL", global = true, hide_short_help = true, conflicts_with_all = ["config", "data_dir"])]
    pub admin: Option<String>,
    /// The gate of this name in ~/.config/keygate/profiles.yaml, in place of a configuration
    #[arg(long, value_name = "NAME", global = true, hide_short_help = true,
        conflicts_with_all = ["config", "data_dir", "admin", "socket"])]
    pub profile: Option<String>,
    /// The socket beside the store of a gate that runs here, in place of a configuration
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true,
        conflicts_with_all = ["config", "data_dir", "admin", "token_file", "client_id"])]
    pub socket: Option<PathBuf>,
    /// A file with the token for --admin; `-` is stdin [default: the variable KEYGATE_ADMIN_TOKEN]
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true)]
    pub token_file: Option<PathBuf>,
    /// Get the token for --admin as this client, which has the scope `admin:read` or `admin:write`
    #[arg(
        long,
        value_name = "ID",
        global = true,
        hide_short_help = true,
        conflicts_with = "token_file"
    )]
    pub client_id: Option<ClientId>,
    /// A file with the client's secret; `-` is stdin [default: the variable KEYGATE_CLIENT_SECRET]
    #[arg(long, value_name = "FILE", global = true, hide_short_help = true)]
    pub secret_file: Option<PathBuf>,
    /// Where the client gets its token: `token_endpoint.issuer` of the gate
    #[arg(long, value_name = "URL", global = true, hide_short_help = true)]
    pub issuer: Option<IssuerUrl>,
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which part of a list.
#[derive(Clone, Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Those that follow this one in the list
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// The items of a list that a command shows. The gate does not know these conditions, so the command reads the whole list.
#[derive(Clone, Debug, Default)]
pub struct ItemFilter {
    pub name: Option<String>,
    pub state: Option<String>,
}

impl ItemFilter {
    /// Returns whether `item` meets the conditions.
    pub fn admits(&self, item: &Value) -> bool {
        let fits = |member: &str, wanted: &Option<String>| wanted.as_ref().is_none_or(|text| item[member] == **text);
        fits("name", &self.name) && fits("state", &self.state)
    }
}

/// For what must not happen twice.
#[derive(Clone, Debug, Args)]
pub struct OnceArgs {
    /// A text of your choice: the same command with the same text makes nothing twice, and shows no secret again
    #[arg(long, value_name = "TEXT")]
    pub idempotency_key: Option<String>,
}

/// Whose credentials a list has.
#[derive(Clone, Debug, Args)]
pub struct HolderArgs {
    /// Of this organization
    #[arg(long, value_name = "ID")]
    pub organization: Option<Name>,
    /// Under this subscription
    #[arg(long, value_name = "ID")]
    pub subscription: Option<SubscriptionId>,
}

impl HolderArgs {
    /// Returns the members of the list's query.
    pub fn filters(&self) -> Value {
        json!({
            "organization": member::text(&self.organization),
            "subscription": member::text(&self.subscription),
        })
    }
}
