//! `keygate subscriptions`: which subscriptions do organizations have, and in which state?

use crate::cli::gate::GateClient;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::keys::args::Environment;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use clap::Subcommand;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "subscriptions";
const COLUMNS: &[Column] = &[
    ("ID", "id"),
    ("ORGANIZATION", "organization"),
    ("PLAN", "plan"),
    ("ENVIRONMENT", "environment"),
    ("STATE", "state"),
    ("PAID", "paid"),
    ("CREATED", "created_at"),
];

#[derive(Debug, Subcommand)]
pub enum SubscriptionCommand {
    /// Every subscription
    List {
        /// Of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<Name>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// One subscription
    Show { id: SubscriptionId },
    /// Make a subscription; its id goes to stdout
    Create {
        /// Whose it is
        #[arg(long, value_name = "ID")]
        organization: Name,
        /// A plan of the configuration
        #[arg(long, value_name = "NAME")]
        plan: Name,
        /// What its credentials are for
        #[arg(long, value_enum, default_value_t = Environment::Live)]
        environment: Environment,
        #[command(flatten)]
        once: OnceArgs,
    },
    /// A pending one gets credentials from now on
    Approve { id: SubscriptionId },
    /// A pending one could not be provisioned
    Fail { id: SubscriptionId },
    /// End it, and every credential under it, from now on and for good
    Cancel { id: SubscriptionId },
    /// It was paid, so that it gets live credentials
    Pay {
        id: SubscriptionId,
        /// It is not paid any more: its live credentials do not count until it is
        #[arg(long)]
        unpaid: bool,
    },
    /// Put it under another plan
    ChangePlan {
        id: SubscriptionId,
        /// A plan of the configuration
        #[arg(long, value_name = "NAME")]
        plan: Name,
    },
}

impl GateCommand for SubscriptionCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List { organization, list } => {
                let filters = json!({ "organization": member::text(organization) });
                gate.list(PATH, filters, list, COLUMNS)
            }
            Self::Show { id } => gate.show_one(
                &format!("{PATH}/{id}"),
                &["id", "organization", "plan", "environment", "state", "paid"],
            ),
            Self::Create {
                organization,
                plan,
                environment,
                once,
            } => {
                let body = json!({
                    "organization": organization.as_str(),
                    "plan": plan.as_str(),
                    "environment": member::word(*environment),
                });
                let made = gate.create(PATH, body, once)?;
                let id = cell(&made["id"]);
                gate.report(&made, &sentence(&made), &format!("{id}\n"))
            }
            Self::Approve { id } => change(gate, id, "approve", Value::Null),
            Self::Fail { id } => change(gate, id, "fail", Value::Null),
            Self::Cancel { id } => change(gate, id, "cancel", Value::Null),
            Self::Pay { id, unpaid } => change(gate, id, "payment", json!({ "paid": !unpaid })),
            Self::ChangePlan { id, plan } => change(gate, id, "plan", json!({ "plan": plan.as_str() })),
        }
    }
}

fn change(gate: &mut GateClient<'_>, id: &SubscriptionId, verb: &str, body: Value) -> Result<(), Box<dyn Error>> {
    let changed = gate.call(Method::POST, &format!("{PATH}/{id}/{verb}"), body)?;
    gate.report(&changed, &sentence(&changed), "")
}

fn sentence(subscription: &Value) -> String {
    // The answer to a cancellation while the store cannot be written has nothing else.
    if subscription["state"].is_null() {
        return format!("Subscription {} is cancelled", cell(&subscription["id"]));
    }
    let paid = match subscription["paid"].as_bool() {
        Some(true) => ", paid",
        Some(false) | None => "",
    };
    format!(
        "Subscription {} of {} to {} is {}{paid}",
        cell(&subscription["id"]),
        cell(&subscription["organization"]),
        cell(&subscription["plan"]),
        cell(&subscription["state"]),
    )
}
