//! What becomes of subscriptions? An organization asks for them and ends them; operators approve, and say what is paid.

use crate::control::registry::Mistakes;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::actor::Reach;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::for_each_record;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::default_name;
use crate::control::registry::prepare::is_built_in;
use crate::control::registry::prepare::operators_name;
use crate::model::api_key::KeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::OPERATORS;
use crate::model::plan::Plan;
use crate::store::Batch;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::SubscriptionError;
use crate::store::record::SubscriptionRecord;
use serde_json::json;
use std::ops::ControlFlow;

/// A subscription that is asked for.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// The actor's own when `None`; `default` for operators.
    pub organization: Option<Name>,
    pub plan: Name,
    pub environment: KeyEnvironment,
}

/// What is to become of a subscription.
#[derive(Clone, Debug)]
pub enum SubscriptionMove {
    Approve,
    Fail,
    Pay { paid: bool },
    ChangePlan { plan: Name },
}

impl SubscriptionMove {
    const fn action(&self) -> &'static str {
        match self {
            Self::Approve => "subscription.approve",
            Self::Fail => "subscription.fail",
            Self::Pay { .. } => "subscription.payment",
            Self::ChangePlan { .. } => "subscription.plan",
        }
    }
}

impl From<SubscriptionError> for RegistryError {
    fn from(error: SubscriptionError) -> Self {
        Self::state_conflict(error.as_str(), error)
    }
}

impl Registry {
    /// Asks for a subscription: active at once where its plan approves by itself, pending otherwise.
    ///
    /// # Errors
    /// For another organization; under a plan that is not there, or reserved.
    pub async fn create_subscription(
        &self,
        spec: SubscriptionSpec,
        stored_response: StoredResponseFn<'_, SubscriptionRecord>,
    ) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        let organization = match (self.actor.reach(), spec.organization) {
            (Reach::All, named) => named.unwrap_or_else(default_name),
            (Reach::Organization(own), None) => own.clone(),
            (Reach::Organization(own), Some(named)) if *own == named => named,
            (Reach::Organization(_), Some(_)) => return Err(RegistryError::OtherOrganization),
        };
        let is_known = self.control.store.organization(&organization).await?.is_some();
        let plan = Mistakes::collect(|mistakes| {
            if !is_known {
                mistakes.add("/organization", "there is no organization of this id; make it first");
            }
            self.plan_for(&spec.plan, &organization, mistakes)
        })?;
        let id = SubscriptionId::generate(&mut { self.random });
        let record = SubscriptionRecord::new(id, organization, &plan, spec.environment, self.now);
        let details = json!({ "plan": record.plan.as_str(), "state": record.state.as_str() });
        self.insert_in(
            Batch::default(),
            "subscription.create",
            record,
            details,
            stored_response,
        )
        .await
    }

    /// The plan of `name`, which must be one that `organization` can have.
    fn plan_for(&self, name: &Name, organization: &Name, mistakes: &mut Mistakes) -> Option<Plan> {
        let settings = self.control.settings.load();
        // Its clients administer the gate, and nobody is to wonder which of two rules makes it so.
        if (name.as_str() == OPERATORS) != (*organization == operators_name()) {
            mistakes.add(
                "/plan",
                "the plan `operators` is for the organization `operators`, which has no other",
            );
            return None;
        }
        let plan = settings.plans.get(name);
        if plan.is_none() {
            let named = settings.plans.keys().filter(|name| name.as_str() != OPERATORS);
            let named: Vec<String> = named.map(|name| format!("`{name}`")).collect();
            mistakes.add(
                "/plan",
                format!("the configuration has no such plan; it has {}", named.join(", ")),
            );
        }
        plan.cloned()
    }

    /// # Errors
    /// There is none, or not for this actor.
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        self.visible(self.control.store.subscription(id).await?)
    }

    /// Sorted by id.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn subscriptions(
        &self,
        filter: Filter,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, RegistryError> {
        let filter = self.narrow_filter(filter)?;
        Ok(self.control.store.subscriptions(&filter, page).await?)
    }

    /// Approves, fails, pays for or moves a subscription.
    ///
    /// # Errors
    /// Not an operator; there is none; its state does not go there.
    pub async fn move_subscription(
        &self,
        id: &SubscriptionId,
        to: &SubscriptionMove,
        expected: Option<Revision>,
    ) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        // First whether it is there: of what an actor cannot see it does not learn that only others may change it.
        self.subscription(id).await?;
        self.actor.operators_only()?;
        let now = self.now;
        retry_on_conflict(|| async {
            let found = check_revision(self.subscription(id).await?, expected)?;
            let moved = match to {
                SubscriptionMove::Approve => found.try_map(|record| record.approve(now))?,
                SubscriptionMove::Fail => found.try_map(|record| record.fail(now))?,
                SubscriptionMove::Pay { paid } => found.try_map(|record| record.pay(*paid, now))?,
                SubscriptionMove::ChangePlan { plan } => {
                    let organization = &found.record.organization;
                    let plan = Mistakes::collect(|mistakes| self.plan_for(plan, organization, mistakes))?;
                    found.try_map(|record| record.change_plan(&plan, now))?
                }
            };
            let record = &moved.record;
            let details = json!({
                "state": record.state.as_str(),
                "plan": record.plan.as_str(),
                "paid": record.paid,
            });
            self.replace(to.action(), moved, details).await
        })
        .await
    }

    /// Ends a subscription for good: every key of it is revoked and every token of its clients ends, in the same
    /// transaction (S072).
    ///
    /// # Errors
    /// There is none, it is cancelled already, or built in.
    pub async fn cancel_subscription(
        &self,
        id: &SubscriptionId,
        expected: Option<Revision>,
    ) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        self.subscription(id).await?;
        if is_built_in(id) {
            let detail = "this subscription is built in and stays; revoke its keys and delete its clients instead";
            return Err(RegistryError::state_conflict("built_in", detail));
        }
        let cancelled = retry_on_conflict(|| async {
            let found = check_revision(self.subscription(id).await?, expected)?;
            let cancelled = found.try_map(|record| record.cancel(self.now))?;
            let writes = self.ending_writes(&cancelled.record).await?;
            let details = json!({
                "keys_revoked": writes.iter().filter(|write| matches!(write, Write::ApiKey(_))).count(),
                "clients_ended": writes.iter().filter(|write| matches!(write, Write::Client(_))).count(),
            });
            let batch = Batch {
                writes,
                ..Batch::default()
            };
            self.replace_in(batch, "subscription.cancel", cancelled, details).await
        })
        .await?;
        // A credential that was made between our look and our writing hangs on a cancelled subscription and is refused
        // for that. It is to be revoked as the others are; no more of them can come.
        retry_on_conflict(|| self.end_remaining_credentials(&cancelled.record)).await?;
        Ok(cancelled)
    }

    async fn end_remaining_credentials(&self, cancelled: &SubscriptionRecord) -> Result<(), RegistryError> {
        let writes = self.ending_writes(cancelled).await?;
        if writes.is_empty() {
            return Ok(());
        }
        let details = json!({ "leftovers": writes.len() });
        let organization = Some(&cancelled.organization);
        let batch = Batch {
            writes,
            event: Some(self.event("subscription.cancel", cancelled.id.as_str(), organization, details)),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }

    /// Everything of a subscription that is not over yet, ended.
    async fn ending_writes(&self, subscription: &SubscriptionRecord) -> Result<Vec<Write>, RegistryError> {
        let store = &self.control.store;
        let filter = &Filter {
            organization: None,
            subscription: Some(subscription.id.clone()),
        };
        let mut writes = Vec::new();
        for_each_record(
            |page| async move { store.api_keys(filter, &page).await },
            |key| {
                if !key.record.is_revoked(self.now) {
                    let revoked = key.try_map(|key| key.revoke(self.now));
                    writes.extend(revoked.ok().map(Write::ApiKey));
                }
                ControlFlow::Continue(())
            },
        )
        .await?;
        for_each_record(
            |page| async move { store.clients(filter, &page).await },
            |client| {
                // Deleted ones too: their tokens may still be out.
                if client.record.tokens_not_before.is_none_or(|at| at < self.now) {
                    writes.push(Write::Client(client.map(|client| client.revoke_tokens(self.now))));
                }
                ControlFlow::Continue(())
            },
        )
        .await?;
        Ok(writes)
    }
}
