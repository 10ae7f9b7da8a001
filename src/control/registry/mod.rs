//! What can be asked and changed: every operation on organizations, subscriptions, keys and clients. Each reads records,
//! applies a pure transition, and commits it with its audit event; when it returns, the change is in force.

pub mod actor;
pub mod text;
pub mod error;
pub mod change;
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
pub use change::Keep;
pub use error::Mistake;
pub use error::Mistakes;
pub use error::RegistryError;
pub use prepare::FirstAdministrator;
pub use prepare::prepare;

use crate::control::Control;
use crate::control::registry::actor::Reach;
use crate::control::registry::change::each;
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
use crate::store::Batch;
use crate::store::Filter;
use crate::store::IdempotentAnswer;
use crate::store::Unchanged;
use crate::store::Versioned;
use crate::store::record::SubscriptionRecord;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Fills its argument with random bytes; outside tests [`crate::model::api_key::system_random`].
pub type Random = fn(&mut [u8]);

/// Operations of one actor at one instant.
#[derive(Clone)]
pub struct Registry {
    control: Arc<Control>,
    actor: Actor,
    now: Timestamp,
    random: Random,
}

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
    pub async fn idempotent_answer(&self, key: &str) -> Result<Option<IdempotentAnswer>, RegistryError> {
        Ok(self.control.store.idempotent_answer(key).await?)
    }

    /// Narrows a list: an actor of one organization sees that one alone, whatever it asks for.
    fn narrow(&self, organization: Option<Name>) -> Result<Option<Name>, RegistryError> {
        match (self.actor.reach(), organization) {
            (Reach::All, asked) => Ok(asked),
            (Reach::Organization(own), Some(asked)) if asked != *own => Err(RegistryError::NotFound("organization")),
            (Reach::Organization(own), _) => Ok(Some(own.clone())),
        }
    }

    /// The same for a list that is narrowed to a subscription as well.
    fn filter(&self, asked: Filter) -> Result<Filter, RegistryError> {
        Ok(Filter {
            organization: self.narrow(asked.organization)?,
            ..asked
        })
    }

    fn plan(&self, name: &Name) -> Option<Plan> {
        self.control.settings.load().plans.get(name).cloned()
    }

    /// The subscription that new credentials go under when none is named: the built-in one for operators, and the only
    /// one of an actor's organization for everybody else.
    async fn default_subscription(&self) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        let own = match self.actor.reach() {
            Reach::All => return self.subscription(&prepare::default_subscription_id()).await,
            Reach::Organization(own) => own.clone(),
        };
        let store = &self.control.store;
        let filter = &Filter {
            organization: Some(own),
            subscription: None,
        };
        let mut alive = Vec::new();
        each(
            |page| async move { store.subscriptions(filter, &page).await },
            |found| {
                if found.record.state != SubscriptionState::Cancelled {
                    alive.push(found);
                }
                if alive.len() > 1 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            },
        )
        .await?;
        match (alive.pop(), alive.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(RegistryError::invalid(
                "/subscription",
                "the organization has no subscription yet; make one first",
            )),
            (Some(_), false) => Err(RegistryError::invalid(
                "/subscription",
                "the organization has several subscriptions; say which one",
            )),
        }
    }

    /// Where a new credential goes, checked in the order in which a developer can do something about it: is the
    /// subscription there and in force, and does its plan give this kind, with these scopes?
    async fn place(&self, asked: CredentialSpec<'_>) -> Result<Placement, RegistryError> {
        let subscription = match asked.subscription {
            Some(id) => match self.subscription(id).await {
                // Named in the body, so it is a mistake in the body.
                Err(RegistryError::NotFound(_)) => {
                    return Err(RegistryError::invalid(
                        "/subscription",
                        "there is no subscription of this id",
                    ));
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
            standing => return Err(RegistryError::Standing(standing)),
        }
        let plan = plan.ok_or(RegistryError::Standing(Standing::PlanGone))?;
        check_kind(&plan, asked.kind)?;
        let scopes = check_scopes(&plan, asked.scopes)?;
        Ok(Placement {
            subscription,
            plan,
            environment,
            scopes,
        })
    }
}

/// What a new credential is to be.
struct CredentialSpec<'a> {
    subscription: Option<&'a SubscriptionId>,
    environment: Option<KeyEnvironment>,
    kind: CredentialKind,
    scopes: Option<&'a ScopeSet>,
}

/// Where a new credential goes.
struct Placement {
    subscription: Versioned<SubscriptionRecord>,
    plan: Plan,
    environment: KeyEnvironment,
    scopes: ScopeSet,
}

impl Placement {
    /// A batch that writes nothing when the subscription was changed (cancelled, say) since it was looked at.
    fn batch(&self) -> Batch {
        Batch {
            unchanged: vec![Unchanged::Subscription(
                self.subscription.record.id.clone(),
                self.subscription.revision,
            )],
            ..Batch::default()
        }
    }
}

fn check_kind(plan: &Plan, wanted: CredentialKind) -> Result<(), RegistryError> {
    if plan.credentials.contains(wanted) {
        return Ok(());
    }
    let allowed = CredentialKind::ALL.into_iter();
    Err(RegistryError::NotInPlan {
        wanted,
        plan: plan.name.clone(),
        allowed: allowed.filter(|kind| plan.credentials.contains(*kind)).collect(),
    })
}

/// The scopes asked for, all of which the plan must give. When none are asked for: those of the plan, or none where the
/// plan leaves them open, because nobody is given more than somebody wrote down.
fn check_scopes(plan: &Plan, asked: Option<&ScopeSet>) -> Result<ScopeSet, RegistryError> {
    match (asked, &plan.scopes) {
        (None, widest) => Ok(widest.clone().unwrap_or_default()),
        (Some(asked), None) => Ok(asked.clone()),
        (Some(asked), Some(widest)) => {
            let beyond: Vec<&str> = asked
                .iter()
                .filter(|scope| !widest.contains(scope))
                .map(Scope::as_str)
                .collect();
            if beyond.is_empty() {
                return Ok(asked.clone());
            }
            let beyond = beyond.join(" ");
            let detail = format!("plan `{}` does not give `{beyond}`; it gives `{widest}`", plan.name);
            Err(RegistryError::invalid("/scopes", detail))
        }
    }
}

/// The names of organizations that are there without being made by anybody.
fn default_name() -> Name {
    DEFAULT.parse().expect("it is a name")
}
