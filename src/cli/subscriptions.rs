//! `keygate subscriptions`: which subscriptions do organizations have, and in which state?

use crate::cli::confirm::ConfirmArgs;
use crate::cli::gate::GateClient;
use crate::cli::gate::args::ItemFilter;
use crate::cli::gate::args::ListArgs;
use crate::cli::gate::args::OnceArgs;
use crate::cli::keys::args::Environment;
use crate::cli::member;
use crate::cli::noun::GateCommand;
use crate::cli::reference::ResolvedId;
use crate::cli::reference::SubscriptionArg;
use crate::cli::render::Column;
use crate::cli::render::cell;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::subscription::SubscriptionState;
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use http::Method;
use serde_json::Value;
use serde_json::json;
use std::error::Error;

const PATH: &str = "subscriptions";
const COLUMNS: &[Column<'_>] = &[
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
    /// List subscriptions
    #[command(visible_alias = "ls")]
    List {
        /// Of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<Name>,
        /// Those in this state
        #[arg(long, value_parser = PossibleValuesParser::new(SubscriptionState::ALL.map(SubscriptionState::as_str)))]
        state: Option<String>,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show a subscription: which credentials it gives, and why they are locked
    Show(SubscriptionArg),
    /// Create a subscription and print its id
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
    /// Approve a pending subscription: it gets credentials from now on
    Approve(SubscriptionArg),
    /// Fail a pending subscription: it could not be provisioned
    Fail(SubscriptionArg),
    /// Cancel a subscription and revoke every credential under it, for good
    Cancel {
        #[command(flatten)]
        subscription: SubscriptionArg,
        #[command(flatten)]
        confirm: ConfirmArgs,
    },
    /// Record that a subscription is paid for, so that it gets live credentials
    Pay {
        #[command(flatten)]
        subscription: SubscriptionArg,
        /// Record that it is not paid for any more: its live credentials are refused until it is
        #[arg(long)]
        unpaid: bool,
    },
    /// Put a subscription under another plan
    ChangePlan {
        #[command(flatten)]
        subscription: SubscriptionArg,
        /// A plan of the configuration
        #[arg(long, value_name = "NAME")]
        plan: Name,
    },
}

impl GateCommand for SubscriptionCommand {
    fn run(&self, gate: &mut GateClient<'_>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::List {
                organization,
                state,
                list,
            } => {
                let filters = json!({ "organization": member::text(organization) });
                let filter = ItemFilter {
                    name: None,
                    state: state.clone(),
                };
                gate.list(PATH, filters, &filter, list, COLUMNS)
            }
            Self::Show(subscription) => {
                let path = format!("{PATH}/{}", subscription.find(gate)?.id);
                gate.show_one(
                    &path,
                    &[
                        "id",
                        "organization",
                        "plan",
                        "credentials",
                        "environment",
                        "state",
                        "paid",
                        "live",
                        "sandbox",
                    ],
                )
            }
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
            Self::Approve(subscription) => change(gate, &subscription.find(gate)?.id, "approve", Value::Null),
            Self::Fail(subscription) => change(gate, &subscription.find(gate)?.id, "fail", Value::Null),
            Self::Cancel { subscription, confirm } => {
                let ResolvedId { id, label } = subscription.find(gate)?;
                let consequence = format!("Subscription {label} will end, and every credential under it");
                confirm.confirm(&mut gate.printer, &consequence)?;
                change(gate, &id, "cancel", Value::Null)
            }
            Self::Pay { subscription, unpaid } => change(
                gate,
                &subscription.find(gate)?.id,
                "payment",
                json!({ "paid": !unpaid }),
            ),
            Self::ChangePlan { subscription, plan } => change(
                gate,
                &subscription.find(gate)?.id,
                "plan",
                json!({ "plan": plan.as_str() }),
            ),
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
