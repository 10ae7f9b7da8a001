//! What becomes of subscriptions? An organization asks for them and ends them; operators approve, and say what is paid.

use crate::control::registry::CHUNK;
use crate::control::registry::Keep;
use crate::control::registry::Mistakes;
use crate::control::registry::Refused;
use crate::control::registry::Registry;
use crate::control::registry::actor::Reach;
use crate::control::registry::after;
use crate::control::registry::check_revision;
use crate::control::registry::default_name;
use crate::control::registry::prepare::is_built_in;
use crate::control::registry::prepare::operators_name;
use crate::control::registry::settle;
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

/// A subscription that is asked for.
#[derive(Clone, Debug)]
pub struct NewSubscription {
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

impl From<SubscriptionError> for Refused {
    fn from(error: SubscriptionError) -> Self {
        Self::Already {
            word: error.as_str(),
            detail: error.to_string(),
        }
    }
}

impl Registry {
    /// Asks for a subscription: active at once where its plan approves by itself, pending otherwise.
    ///
    /// # Errors
    /// For another organization; under a plan that is not there, or reserved.
    pub async fn create_subscription(
        &self,
        asked: NewSubscription,
        keep: Keep<'_, SubscriptionRecord>,
    ) -> Result<Versioned<SubscriptionRecord>, Refused> {
        let organization = match (self.actor.reach(), asked.organization) {
            (Reach::All, named) => named.unwrap_or_else(default_name),
            (Reach::Organization(own), None) => own.clone(),
            (Reach::Organization(own), Some(named)) if *own == named => named,
            (Reach::Organization(_), Some(_)) => return Err(Refused::Elsewhere),
        };
        let mut mistakes = Mistakes::default();
        if self.control.store.organization(&organization).await?.is_none() {
            mistakes.add("/organization", "there is no organization of this id; make it first");
        }
        let plan = self.plan_for(&asked.plan, &organization, &mut mistakes);
        let Some(plan) = plan else {
            return Err(mistakes.into());
        };
        mistakes.none()?;
        let id = SubscriptionId::generate(&mut { self.random });
        let record = SubscriptionRecord::new(id.clone(), organization, &plan, asked.environment, self.now);
        let made = Versioned {
            record: record.clone(),
            revision: after(Revision::NEW),
        };
        let details = json!({ "plan": record.plan.as_str(), "state": record.state.as_str() });
        let batch = Batch {
            event: Some(self.event("subscription.create", id.as_str(), Some(&record.organization), details)),
            answer: keep(&made),
            writes: vec![Write::Subscription(Versioned::new(record))],
            ..Batch::default()
        };
        self.control.commit(batch).await?;
        Ok(made)
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
    pub async fn subscription(&self, id: &SubscriptionId) -> Result<Versioned<SubscriptionRecord>, Refused> {
        self.find_subscription(id).await
    }

    /// Sorted by id.
    ///
    /// # Errors
    /// An organization that is not there for this actor.
    pub async fn subscriptions(
        &self,
        organization: Option<Name>,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, Refused> {
        let filter = self.filter(organization, None)?;
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
    ) -> Result<Versioned<SubscriptionRecord>, Refused> {
        // First whether it is there: of what an actor cannot see it does not learn that only others may change it.
        self.find_subscription(id).await?;
        self.operators_only()?;
        settle!(self.try_move(id, to, expected).await)
    }

    async fn try_move(
        &self,
        id: &SubscriptionId,
        to: &SubscriptionMove,
        expected: Option<Revision>,
    ) -> Result<Versioned<SubscriptionRecord>, Refused> {
        let found = self.find_subscription(id).await?;
        check_revision(&found, expected)?;
        let now = self.now;
        let moved = match to {
            SubscriptionMove::Approve => found.try_map(|record| record.approve(now))?,
            SubscriptionMove::Fail => found.try_map(|record| record.fail(now))?,
            SubscriptionMove::Pay { paid } => found.try_map(|record| record.pay(*paid, now))?,
            SubscriptionMove::ChangePlan { plan } => {
                let mut mistakes = Mistakes::default();
                let Some(plan) = self.plan_for(plan, &found.record.organization, &mut mistakes) else {
                    return Err(mistakes.into());
                };
                found.try_map(|record| record.change_plan(&plan, now))?
            }
        };
        let record = &moved.record;
        let details = json!({
            "state": record.state.as_str(),
            "plan": record.plan.as_str(),
            "paid": record.paid,
        });
        let batch = Batch {
            event: Some(self.event(to.action(), id.as_str(), Some(&record.organization), details)),
            writes: vec![Write::Subscription(moved.clone())],
            ..Batch::default()
        };
        self.control.commit(batch).await?;
        Ok(Versioned {
            revision: after(moved.revision),
            ..moved
        })
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
    ) -> Result<Versioned<SubscriptionRecord>, Refused> {
        self.find_subscription(id).await?;
        if is_built_in(id) {
            return Err(Refused::Already {
                word: "built_in",
                detail: "this subscription is built in and stays; revoke its keys and delete its clients instead"
                    .to_owned(),
            });
        }
        let cancelled = settle!(self.try_cancel(id, expected).await)?;
        // A credential that was made between our look and our writing hangs on a cancelled subscription and is refused
        // for that. It is to be revoked as the others are; no more of them can come.
        settle!(self.end_leftovers(&cancelled.record).await)?;
        Ok(cancelled)
    }

    async fn try_cancel(
        &self,
        id: &SubscriptionId,
        expected: Option<Revision>,
    ) -> Result<Versioned<SubscriptionRecord>, Refused> {
        let found = self.find_subscription(id).await?;
        check_revision(&found, expected)?;
        let cancelled = found.try_map(|record| record.cancel(self.now))?;
        let mut writes = self.ends_of(&cancelled.record).await?;
        let details = json!({
            "keys_revoked": writes.iter().filter(|write| matches!(write, Write::ApiKey(_))).count(),
            "clients_ended": writes.iter().filter(|write| matches!(write, Write::Client(_))).count(),
        });
        let event = self.event(
            "subscription.cancel",
            id.as_str(),
            Some(&cancelled.record.organization),
            details,
        );
        // The subscription first, so that whoever applies the writes one by one refuses from the first on.
        writes.insert(0, Write::Subscription(cancelled.clone()));
        let batch = Batch {
            writes,
            event: Some(event),
            ..Batch::default()
        };
        self.control.commit(batch).await?;
        Ok(Versioned {
            revision: after(cancelled.revision),
            ..cancelled
        })
    }

    async fn end_leftovers(&self, cancelled: &SubscriptionRecord) -> Result<(), Refused> {
        let writes = self.ends_of(cancelled).await?;
        if writes.is_empty() {
            return Ok(());
        }
        let details = json!({ "leftovers": writes.len() });
        let batch = Batch {
            writes,
            event: Some(self.event(
                "subscription.cancel",
                cancelled.id.as_str(),
                Some(&cancelled.organization),
                details,
            )),
            ..Batch::default()
        };
        Ok(self.control.commit(batch).await?)
    }

    /// Everything of a subscription that is not over yet, ended.
    async fn ends_of(&self, subscription: &SubscriptionRecord) -> Result<Vec<Write>, Refused> {
        let filter = Filter {
            organization: None,
            subscription: Some(subscription.id.clone()),
        };
        let mut writes = Vec::new();
        let mut after = None;
        loop {
            let page = Page { after, limit: CHUNK };
            let found = self.control.store.api_keys(&filter, &page).await?;
            after = found.last().map(|last| last.record.id.to_string());
            let full = found.len() == CHUNK as usize;
            let open = found.into_iter().filter(|key| !key.record.is_revoked(self.now));
            let revoked = open.filter_map(|key| key.try_map(|key| key.revoke(self.now)).ok());
            writes.extend(revoked.map(Write::ApiKey));
            if !full {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = Page { after, limit: CHUNK };
            let found = self.control.store.clients(&filter, &page).await?;
            after = found.last().map(|last| last.record.id.to_string());
            let full = found.len() == CHUNK as usize;
            // Deleted ones too: their tokens may still be out.
            let open = found
                .into_iter()
                .filter(|client| client.record.tokens_not_before.is_none_or(|at| at < self.now));
            writes.extend(open.map(|client| Write::Client(client.map(|client| client.revoke_tokens(self.now)))));
            if !full {
                break;
            }
        }
        Ok(writes)
    }
}
