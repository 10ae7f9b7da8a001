//! What can be asked and changed: every operation on organizations, subscriptions, keys and clients. Each reads records,
//! applies a pure transition, and commits it with its audit event; when it returns, the change is in force.

pub mod actor;
pub mod text;
pub mod error;
pub mod prepare;
pub mod organizations;
pub mod subscriptions;
pub mod api_keys;
pub mod jwks_url;
pub mod clients;
pub mod client_keys;
pub mod signing_keys;
pub mod audit;
pub mod backup;

pub use actor::Actor;
pub use error::Mistake;
pub use error::Mistakes;
pub use error::Refused;
pub use prepare::FirstAdministrator;
pub use prepare::prepare;

use crate::control::Control;
use crate::model::api_key::KeyEnvironment;
use crate::model::clock::Timestamp;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::CredentialKind;
use crate::model::plan::DEFAULT;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use crate::model::subscription::Standing;
use crate::model::subscription::SubscriptionState;
use crate::store::Filter;
use crate::store::IdempotentAnswer;
use crate::store::Page;
use crate::store::Revision;
use crate::store::StoreError;
use crate::store::Unchanged;
use crate::store::Versioned;
use crate::store::record::NewAuditEvent;
use crate::store::record::SubscriptionRecord;
use serde_json::Value;
use std::sync::Arc;

/// Fills its argument with random bytes; outside tests [`crate::model::api_key::system_random`].
pub type Random = fn(&mut [u8]);

/// What is kept with a new record, so that the same request again makes nothing twice: the answer without its secret.
pub type Keep<'a, R> = &'a (dyn Fn(&Versioned<R>) -> Option<IdempotentAnswer> + Send + Sync);

/// Operations of one actor at one instant.
#[derive(Clone)]
pub struct Registry {
    control: Arc<Control>,
    actor: Actor,
    now: Timestamp,
    random: Random,
}

/// How often an operation is tried when somebody else changes the same record at the same time.
const ATTEMPTS: usize = 8;
/// What one look at the store brings when everything of a subscription is wanted.
const CHUNK: u32 = 500;

/// Tries again when the records were changed between being read and being written.
macro_rules! settle {
    ($attempt:expr) => {{
        let mut attempts = 1;
        loop {
            match $attempt {
                Err($crate::control::registry::Refused::Store($crate::store::StoreError::Conflict(_)))
                    if attempts < $crate::control::registry::ATTEMPTS =>
                {
                    attempts += 1;
                }
                done => break done,
            }
        }
    }};
}
pub(in crate::control::registry) use settle;

impl Registry {
    pub const fn new(control: Arc<Control>, actor: Actor, now: Timestamp, random: Random) -> Self {
        Self {
            control,
            actor,
            now,
            random,
        }
    }

    pub const fn actor(&self) -> &Actor {
        &self.actor
    }

    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// `api_keys.prefix`, for showing keys.
    pub fn key_prefix(&self) -> String {
        self.control.settings.load().key_prefix.clone()
    }

    /// Whether a client's keys may be behind a plain http URL.
    pub fn allows_http_jwks(&self) -> bool {
        let settings = self.control.settings.load();
        settings
            .token_endpoint
            .as_ref()
            .is_some_and(|it| it.client_jwks.allow_http)
    }

    /// The answer that was kept under an idempotency key, if one was.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn idempotent_answer(&self, key: &str) -> Result<Option<IdempotentAnswer>, Refused> {
        Ok(self.control.store.idempotent_answer(key).await?)
    }

    fn event(&self, action: &'static str, target: &str, organization: Option<&Name>, details: Value) -> NewAuditEvent {
        NewAuditEvent {
            at: self.now,
            actor: self.actor.name().to_owned(),
            from: self.actor.from(),
            action,
            target: target.to_owned(),
            organization: organization.cloned(),
            details,
        }
    }

    fn operators_only(&self) -> Result<(), Refused> {
        match self.actor.is_operator() {
            true => Ok(()),
            false => Err(Refused::OperatorsOnly),
        }
    }

    /// What lists are narrowed to: an actor of one organization sees that one alone, whatever it asks for.
    fn filter(&self, organization: Option<Name>, subscription: Option<SubscriptionId>) -> Result<Filter, Refused> {
        let organization = match self.actor.reach() {
            actor::Reach::All => organization,
            actor::Reach::Organization(own) => match organization {
                Some(asked) if asked != *own => return Err(Refused::NotFound("organization")),
                Some(_) | None => Some(own.clone()),
            },
        };
        Ok(Filter {
            organization,
            subscription,
        })
    }

    fn plan(&self, name: &Name) -> Option<Plan> {
        self.control.settings.load().plans.get(name).cloned()
    }

    async fn find_subscription(&self, id: &SubscriptionId) -> Result<Versioned<SubscriptionRecord>, Refused> {
        let found = self.control.store.subscription(id).await?;
        found
            .filter(|found| self.actor.sees(&found.record.organization))
            .ok_or(Refused::NotFound("subscription"))
    }

    /// The subscription that new credentials go under when none is named: the built-in one for operators, and the only
    /// one of an actor's organization for everybody else.
    async fn default_subscription(&self) -> Result<Versioned<SubscriptionRecord>, Refused> {
        let own = match self.actor.reach() {
            actor::Reach::All => return self.find_subscription(&prepare::default_subscription_id()).await,
            actor::Reach::Organization(own) => own.clone(),
        };
        let filter = self.filter(Some(own), None)?;
        let mut alive = Vec::new();
        let mut after = None;
        loop {
            let page = Page { after, limit: CHUNK };
            let found = self.control.store.subscriptions(&filter, &page).await?;
            after = found.last().map(|last| last.record.id.to_string());
            let full = found.len() == CHUNK as usize;
            alive.extend(
                found
                    .into_iter()
                    .filter(|found| found.record.state != SubscriptionState::Cancelled),
            );
            if !full || alive.len() > 1 {
                break;
            }
        }
        match (alive.pop(), alive.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(Refused::invalid(
                "/subscription",
                "the organization has no subscription yet; make one first",
            )),
            (Some(_), false) => Err(Refused::invalid(
                "/subscription",
                "the organization has several subscriptions; say which one",
            )),
        }
    }

    /// Where a new credential goes, checked in the order in which a developer can do something about it: is the
    /// subscription there and in force, and does its plan give this kind, with these scopes?
    async fn place(&self, asked: Place<'_>) -> Result<Placed, Refused> {
        let subscription = match asked.subscription {
            Some(id) => match self.find_subscription(id).await {
                // Named in the body, so it is a mistake in the body.
                Err(Refused::NotFound(_)) => {
                    return Err(Refused::invalid("/subscription", "there is no subscription of this id"));
                }
                found => found?,
            },
            None => self.default_subscription().await?,
        };
        let record = &subscription.record;
        let plan = self.plan(&record.plan);
        let environment = asked.environment.unwrap_or(record.environment);
        match record.to_subscription().standing(plan.as_ref(), environment) {
            Standing::Good => {}
            standing => return Err(Refused::Standing(standing)),
        }
        let plan = plan.ok_or(Refused::Standing(Standing::PlanGone))?;
        check_kind(&plan, asked.kind)?;
        let scopes = check_scopes(&plan, asked.scopes)?;
        Ok(Placed {
            subscription,
            plan,
            environment,
            scopes,
        })
    }
}

/// What is asked of a place for a new credential.
struct Place<'a> {
    subscription: Option<&'a SubscriptionId>,
    environment: Option<KeyEnvironment>,
    kind: CredentialKind,
    scopes: Option<&'a ScopeSet>,
}

struct Placed {
    subscription: Versioned<SubscriptionRecord>,
    plan: Plan,
    environment: KeyEnvironment,
    scopes: ScopeSet,
}

impl Placed {
    /// Nothing is made when the subscription was changed (cancelled, say) since it was looked at.
    fn still_so(&self) -> Unchanged {
        Unchanged::Subscription(self.subscription.record.id.clone(), self.subscription.revision)
    }
}

fn check_kind(plan: &Plan, wanted: CredentialKind) -> Result<(), Refused> {
    if plan.credentials.contains(wanted) {
        return Ok(());
    }
    let allowed = CredentialKind::ALL.into_iter();
    Err(Refused::NotInPlan {
        wanted,
        plan: plan.name.clone(),
        allowed: allowed.filter(|kind| plan.credentials.contains(*kind)).collect(),
    })
}

/// The scopes asked for, all of which the plan must give. When none are asked for: those of the plan, or none where the
/// plan leaves them open, because nobody is given more than somebody wrote down.
fn check_scopes(plan: &Plan, asked: Option<&ScopeSet>) -> Result<ScopeSet, Refused> {
    match (asked, &plan.scopes) {
        (None, widest) => Ok(widest.clone().unwrap_or_default()),
        (Some(asked), None) => Ok(asked.clone()),
        (Some(asked), Some(widest)) => {
            let beyond: Vec<&str> = asked
                .iter()
                .filter(|scope| !widest.contains(scope))
                .map(Scope::as_str)
                .collect();
            match beyond.is_empty() {
                true => Ok(asked.clone()),
                false => Err(Refused::invalid(
                    "/scopes",
                    format!(
                        "plan `{}` does not give `{}`; it gives `{widest}`",
                        plan.name,
                        beyond.join(" ")
                    ),
                )),
            }
        }
    }
}

/// Refuses a change of a record that was changed since the reader's revision (`If-Match`, RFC 9110 section 13.1.1).
fn check_revision<R>(found: &Versioned<R>, expected: Option<Revision>) -> Result<(), Refused> {
    match expected {
        Some(expected) if expected != found.revision => Err(Refused::PreconditionFailed),
        Some(_) | None => Ok(()),
    }
}

/// The revision of what was written in the place of `replaced`.
const fn after(replaced: Revision) -> Revision {
    Revision(replaced.0 + 1)
}

/// What somebody else got in between: a record of this id was there already.
fn exists(error: Refused, what: &'static str) -> Refused {
    match error {
        Refused::Store(StoreError::Conflict(_)) => Refused::Exists(what),
        other => other,
    }
}

/// The names of organizations that are there without being made by anybody.
fn default_name() -> Name {
    DEFAULT.parse().expect("it is a name")
}
