//! Under which subscription does a new credential go? It must be in
//! force, and its plan must allow the credential's kind and scopes.

use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::actor::Visibility;
use crate::control::registry::prepare::default_subscription_id;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::plan::CredentialKind;
use crate::model::plan::Plan;
use crate::model::scope::Scope;
use crate::model::scope::ScopeSet;
use crate::model::subscription::Standing;
use crate::store::Batch;
use crate::store::UnchangedRecord;
use crate::store::Versioned;
use crate::store::record::SubscriptionRecord;

/// The settings of a credential, to check them against a plan.
pub(super) struct CredentialSpec<'a> {
    pub(super) subscription: Option<&'a SubscriptionId>,
    pub(super) environment: Option<ApiKeyEnvironment>,
    pub(super) kind: CredentialKind,
    pub(super) scopes: Option<&'a ScopeSet>,
}

/// The subscription of a new credential, with the resolved settings.
pub(super) struct Placement {
    pub(super) subscription: Versioned<SubscriptionRecord>,
    pub(super) plan: Plan,
    pub(super) environment: ApiKeyEnvironment,
    pub(super) scopes: ScopeSet,
}

impl Placement {
    /// Returns a batch that fails to commit if the subscription was changed (for example, cancelled) since it was read.
    pub(super) fn batch(&self) -> Batch {
        Batch {
            unchanged: vec![UnchangedRecord::Subscription(
                self.subscription.record.id.clone(),
                self.subscription.revision,
            )],
            ..Batch::default()
        }
    }
}

impl Registry {
    /// Returns the subscription of a credential that names none: the built-in one for
    /// operators, otherwise the only one of the actor's organization that is not cancelled.
    async fn default_subscription(&self) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        let own = match self.actor.reach() {
            Visibility::All => return self.subscription(&default_subscription_id()).await,
            Visibility::Organization(own) => own,
        };
        let mut in_use = self.subscriptions_in_use(own, 2).await?;
        match (in_use.pop(), in_use.is_empty()) {
            (Some(only), true) => Ok(only),
            (None, _) => Err(RegistryError::unresolved(
                "/subscription",
                "the organization has no subscription yet; make one first",
            )),
            (Some(_), false) => Err(RegistryError::unresolved(
                "/subscription",
                "the organization has several subscriptions; say which one",
            )),
        }
    }

    /// Returns the placement of a credential. Checks run in an order in which a developer can act on them: the
    /// subscription exists, is in force, and its plan allows the kind and the scopes.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) async fn place(&self, spec: CredentialSpec<'_>) -> Result<Placement, RegistryError> {
        let subscription = match spec.subscription {
            Some(id) => match self.subscription(id).await {
                // The subscription is named in the body, so report a mistake in the body.
                Err(RegistryError::NotFound(_)) => {
                    return Err(RegistryError::unresolved(
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
        let environment = spec.environment.unwrap_or(record.environment);
        match record.to_subscription().standing(plan.as_ref(), environment) {
            Standing::Good => {}
            standing => return Err(RegistryError::Standing(standing)),
        }
        let plan = plan.ok_or(RegistryError::Standing(Standing::PlanGone))?;
        check_kind(&plan, spec.kind)?;
        let scopes = check_scopes(&plan, spec.scopes)?;
        Ok(Placement {
            subscription,
            plan,
            environment,
            scopes,
        })
    }
}

fn check_kind(plan: &Plan, kind: CredentialKind) -> Result<(), RegistryError> {
    if plan.credentials.contains(kind) {
        return Ok(());
    }
    let allowed = CredentialKind::ALL.into_iter();
    Err(RegistryError::NotInPlan {
        kind,
        plan: plan.name.clone(),
        allowed: allowed.filter(|kind| plan.credentials.contains(*kind)).collect(),
    })
}

/// Returns the requested scopes. Without a request: the scopes of the plan, or none if the plan
/// sets no limit, so that a credential never gets a scope that nobody has written down.
///
/// # Errors
/// The plan does not allow a requested scope.
pub(super) fn check_scopes(plan: &Plan, requested: Option<&ScopeSet>) -> Result<ScopeSet, RegistryError> {
    match (requested, &plan.scopes) {
        (None, widest) => Ok(widest.clone().unwrap_or_default()),
        (Some(requested), None) => Ok(requested.clone()),
        (Some(requested), Some(widest)) => {
            let beyond: Vec<&str> = requested
                .iter()
                .filter(|scope| !widest.contains(scope))
                .map(Scope::as_str)
                .collect();
            if beyond.is_empty() {
                return Ok(requested.clone());
            }
            let beyond = beyond.join(" ");
            let detail = format!("plan `{}` does not give `{beyond}`; it gives `{widest}`", plan.name);
            Err(RegistryError::beyond_plan("/scopes", detail))
        }
    }
}
