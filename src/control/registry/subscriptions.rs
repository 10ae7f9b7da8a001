//! Which states does a subscription go through? An organization
//! requests and cancels it; operators approve it and record payment.

use crate::control::registry::Condition;
use crate::control::registry::Registry;
use crate::control::registry::RegistryError;
use crate::control::registry::RevocationOutcome;
use crate::control::registry::StoredResponseFn;
use crate::control::registry::ValidationErrors;
use crate::control::registry::actor::Visibility;
use crate::control::registry::change::check_revision;
use crate::control::registry::change::for_each_record;
use crate::control::registry::change::page_of;
use crate::control::registry::change::retry_on_conflict;
use crate::control::registry::default_name;
use crate::control::registry::prepare::is_built_in;
use crate::control::registry::prepare::operators_name;
use crate::model::api_key::ApiKeyEnvironment;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::model::plan::OPERATORS;
use crate::model::plan::Plan;
use crate::model::subscription::SubscriptionState;
use crate::store::Batch;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::SubscriptionError;
use crate::store::record::SubscriptionRecord;
use serde_json::Value;
use serde_json::json;
use std::ops::ControlFlow;

/// The settings of a new subscription.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// The actor's own organization when `None`; `default` for operators.
    pub organization: Option<Name>,
    pub plan: Name,
    pub environment: ApiKeyEnvironment,
}

/// A change of a subscription by an operator.
#[derive(Clone, Debug)]
pub enum OperatorChange {
    Approve,
    Fail,
    Pay { paid: bool },
    ChangePlan { plan: Name },
}

impl OperatorChange {
    const fn action(&self) -> &'static str {
        match self {
            Self::Approve => "subscription.approve",
            Self::Fail => "subscription.fail",
            Self::Pay { .. } => "subscription.payment",
            Self::ChangePlan { .. } => "subscription.plan",
        }
    }
}

const CANCEL: &str = "subscription.cancel";

impl From<SubscriptionError> for RegistryError {
    fn from(error: SubscriptionError) -> Self {
        Self::state_conflict(error.as_str(), error)
    }
}

/// The most ids of one kind in the event of a cancellation, whose size is bounded so.
const ENDED_IDS_MAX: usize = 1_000;

/// Returns how many credentials `writes` end, and which.
fn ended_credentials(writes: &[Write]) -> Value {
    let (mut keys, mut clients) = (Vec::new(), Vec::new());
    for write in writes {
        match write {
            Write::ApiKey(key) => keys.push(key.record.id.to_string()),
            Write::Client(client) => clients.push(client.record.id.to_string()),
            Write::Organization(_) | Write::Subscription(_) | Write::OpaqueToken(_) | Write::RevokedToken(_) => {}
        }
    }
    let (keys_revoked, clients_ended) = (keys.len(), clients.len());
    keys.truncate(ENDED_IDS_MAX);
    clients.truncate(ENDED_IDS_MAX);
    json!({ "keys_revoked": keys_revoked, "clients_ended": clients_ended, "keys": keys, "clients": clients })
}

impl Registry {
    /// Creates a subscription: active at once if its plan approves automatically, otherwise pending.
    ///
    /// # Errors
    /// The organization is not the actor's; the plan does not exist or is reserved.
    pub async fn create_subscription(
        &self,
        spec: SubscriptionSpec,
        stored_response: StoredResponseFn<'_, SubscriptionRecord>,
    ) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        let organization = match (self.actor.reach(), spec.organization) {
            (Visibility::All, named) => named.unwrap_or_else(default_name),
            (Visibility::Organization(own), None) => own.clone(),
            (Visibility::Organization(own), Some(named)) if *own == named => named,
            (Visibility::Organization(_), Some(_)) => return Err(RegistryError::OtherOrganization),
        };
        retry_on_conflict(|| async {
            let found = self.control.store.organization(&organization).await?;
            let (holder, plan) = ValidationErrors::collect_as(RegistryError::UnresolvedReference, |errors| {
                let holder = found.ok_or("there is no organization of this id; make it first");
                let holder = errors.take("/organization", holder);
                if let Some(holder) = &holder {
                    errors.take("/organization", holder.record.check_not_deleted());
                }
                holder.zip(self.plan_for(&spec.plan, &organization, errors))
            })?;
            let id = SubscriptionId::generate(&mut { self.random });
            let record = SubscriptionRecord::new(id, organization.clone(), &plan, spec.environment, self.now);
            // Rewrite the unchanged organization: its deletion at the same time conflicts.
            let batch = Batch {
                writes: vec![Write::Organization(holder)],
                ..Batch::default()
            };
            self.insert_in_batch(batch, "subscription.create", record, stored_response)
                .await
        })
        .await
    }

    /// Returns the plan `name`. Records a mistake if the plan does not exist, or if `organization` may not have it.
    fn plan_for(&self, name: &Name, organization: &Name, errors: &mut ValidationErrors) -> Option<Plan> {
        let settings = self.control.settings.load();
        // Clients of the organization `operators` administer the gate. Only that organization may have the plan
        // `operators`, so that a single rule gives these rights.
        if (name.as_str() == OPERATORS) != (*organization == operators_name()) {
            errors.add(
                "/plan",
                "the plan `operators` is for the organization `operators`, which has no other",
            );
            return None;
        }
        let plan = settings.plans.get(name);
        if plan.is_none() {
            let named = settings.plans.keys().filter(|name| name.as_str() != OPERATORS);
            let named: Vec<String> = named.map(|name| format!("`{name}`")).collect();
            errors.add(
                "/plan",
                format!("the configuration has no such plan; it has {}", named.join(", ")),
            );
        }
        plan.cloned()
    }

    /// Returns the subscriptions of `organization` that are not cancelled, `most` of them at most.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn subscriptions_in_use(
        &self,
        organization: &Name,
        most: usize,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, RegistryError> {
        let store = &self.control.store;
        let filter = &Filter {
            organization: Some(organization.clone()),
            subscription: None,
        };
        let mut in_use = Vec::new();
        for_each_record(
            |page| async move { store.subscriptions(filter, &page).await },
            |found| {
                let found = self.control.revocations.amend_subscription(found, self.now);
                if found.record.state != SubscriptionState::Cancelled {
                    in_use.push(found);
                }
                if in_use.len() < most {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        )
        .await?;
        Ok(in_use)
    }

    /// Returns the subscription of this id.
    ///
    /// # Errors
    /// No such subscription exists, or the actor may not see it.
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        let found = self.control.store.subscription(id).await?;
        let revocations = &self.control.revocations;
        self.visible(found.map(|subscription| revocations.amend_subscription(subscription, self.now)))
    }

    /// Returns a page of subscriptions, sorted by id.
    ///
    /// # Errors
    /// The filter names an organization that the actor may not see.
    pub async fn subscriptions(
        &self,
        filter: Filter,
        page: &Page,
        condition: Option<Condition<'_, SubscriptionRecord>>,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, RegistryError> {
        let filter = &self.narrow_filter(filter)?;
        let store = &self.control.store;
        // Amended first: the condition is on the record as it is in force.
        let amend = |subscription| self.control.revocations.amend_subscription(subscription, self.now);
        page_of(
            |page| async move {
                Ok(store
                    .subscriptions(filter, &page)
                    .await?
                    .into_iter()
                    .map(amend)
                    .collect())
            },
            page,
            condition,
        )
        .await
    }

    /// Applies an operator's change to a subscription.
    ///
    /// # Errors
    /// The actor is not an operator; no such subscription exists; its state does not allow the change.
    pub async fn apply_change(
        &self,
        id: &SubscriptionId,
        to: &OperatorChange,
        expected: Option<Revision>,
    ) -> Result<Versioned<SubscriptionRecord>, RegistryError> {
        // Check visibility first: a hidden subscription looks absent (404) here too.
        self.subscription(id).await?;
        self.actor.operators_only()?;
        let now = self.now;
        retry_on_conflict(|| async {
            let found = check_revision(self.subscription(id).await?, expected)?;
            let before = found.record.clone();
            let moved = match to {
                OperatorChange::Approve => found.try_map(|record| record.approve(now))?,
                OperatorChange::Fail => found.try_map(|record| record.fail(now))?,
                OperatorChange::Pay { paid } => found.try_map(|record| record.pay(*paid, now))?,
                OperatorChange::ChangePlan { plan } => {
                    let organization = &found.record.organization;
                    let plan = ValidationErrors::collect_as(RegistryError::UnresolvedReference, |errors| {
                        self.plan_for(plan, organization, errors)
                    })?;
                    found.try_map(|record| record.change_plan(&plan, now))?
                }
            };
            let record = &moved.record;
            let details = json!({
                "state": record.state.as_str(),
                "plan": record.plan.as_str(),
                "paid": record.paid,
            });
            self.replace(to.action(), &before, moved, details).await
        })
        .await
    }

    /// Cancels a subscription for good, also while the store cannot be written. In the same transaction, every key
    /// under it is revoked and every token of its clients ends (S072).
    ///
    /// # Errors
    /// No such subscription exists, it is cancelled already, or it is built in.
    pub async fn cancel_subscription(
        &self,
        id: &SubscriptionId,
        expected: Option<Revision>,
    ) -> Result<RevocationOutcome<SubscriptionRecord>, RegistryError> {
        let with_store = self.cancel_in_store(id, expected);
        let without_store = || {
            if is_built_in(id) {
                return Ok(None);
            }
            self.cancellation(id, CANCEL)
        };
        self.revoke_always(id.as_str(), with_store, without_store).await
    }

    async fn cancel_in_store(
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
            let before = found.record.clone();
            let cancelled = found.try_map(|record| record.cancel(self.now))?;
            let writes = self.ending_writes(&cancelled.record).await?;
            let details = ended_credentials(&writes);
            let batch = Batch {
                writes,
                ..Batch::default()
            };
            self.replace_in_batch(batch, CANCEL, &before, cancelled, details).await
        })
        .await?;
        // A credential created between the read and the commit is refused, because its subscription is cancelled.
        // Revoke such credentials too; no further credential can be created.
        if let Err(error) = retry_on_conflict(|| self.end_remaining_credentials(&cancelled.record)).await {
            let id = cancelled.record.id.as_str();
            tracing::warn!(%error, subscription = id, "Credentials made during a cancellation are refused, and not marked");
        }
        Ok(cancelled)
    }

    /// Commits [`Self::ending_writes`] with an event of their own, if there are any.
    async fn end_remaining_credentials(&self, cancelled: &SubscriptionRecord) -> Result<(), RegistryError> {
        let writes = self.ending_writes(cancelled).await?;
        if writes.is_empty() {
            return Ok(());
        }
        let details = ended_credentials(&writes);
        let organization = Some(&cancelled.organization);
        let batch = Batch {
            writes,
            event: Some(self.event(CANCEL, cancelled.id.as_str(), organization, details)),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }

    /// Returns the writes that revoke every key of a subscription, and the tokens of
    /// every client, except those that are revoked already.
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
                // Deleted clients too: their tokens may still be valid.
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
