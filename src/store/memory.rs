//! The store without a disk: what a backend must do, in its plainest words. For tests and trials; it forgets everything
//! with the process.

use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::names::Name;
use crate::store::AssertionMark;
use crate::store::AuditFilter;
use crate::store::Batch;
use crate::store::ChainState;
use crate::store::Contents;
use crate::store::Filter;
use crate::store::IDEMPOTENT_ANSWERS_KEPT;
use crate::store::IdempotentAnswer;
use crate::store::Page;
use crate::store::Revision;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Unchanged;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyRecord;
use crate::store::record::AuditEvent;
use crate::store::record::ClientRecord;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::record::audit::ChainCheck;
use crate::store::record::audit::ChainHead;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

type Table<T> = BTreeMap<String, Versioned<T>>;

/// A store of this process alone.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    organizations: Table<OrganizationRecord>,
    subscriptions: Table<SubscriptionRecord>,
    api_keys: Table<ApiKeyRecord>,
    clients: Table<ClientRecord>,
    opaque_tokens: BTreeMap<String, OpaqueTokenRecord>,
    revoked_tokens: BTreeMap<String, Timestamp>,
    marks: BTreeMap<(String, String), Timestamp>,
    answers: BTreeMap<String, IdempotentAnswer>,
    events: Vec<AuditEvent>,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Replaced whole or not at all: a thread that panicked cannot have left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a record belongs to, and what it is called.
trait Record: Clone {
    const KIND: &'static str;
    fn id(&self) -> &str;
    /// Nothing for an organization; it belongs to nobody.
    fn organization(&self) -> Option<&Name>;
    fn subscription(&self) -> Option<&SubscriptionId>;

    fn passes(&self, filter: &Filter) -> bool {
        let organization = filter.organization.as_ref();
        let subscription = filter.subscription.as_ref();
        organization.is_none_or(|wanted| self.organization() == Some(wanted))
            && subscription.is_none_or(|wanted| self.subscription() == Some(wanted))
    }
}

impl Record for OrganizationRecord {
    const KIND: &'static str = "organization";
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn organization(&self) -> Option<&Name> {
        None
    }
    fn subscription(&self) -> Option<&SubscriptionId> {
        None
    }
}

impl Record for SubscriptionRecord {
    const KIND: &'static str = "subscription";
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn organization(&self) -> Option<&Name> {
        Some(&self.organization)
    }
    /// As a list of subscriptions is filtered: by itself.
    fn subscription(&self) -> Option<&SubscriptionId> {
        Some(&self.id)
    }
}

impl Record for ApiKeyRecord {
    const KIND: &'static str = "API key";
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn organization(&self) -> Option<&Name> {
        Some(&self.organization)
    }
    fn subscription(&self) -> Option<&SubscriptionId> {
        Some(&self.subscription)
    }
}

impl Record for ClientRecord {
    const KIND: &'static str = "client";
    fn id(&self) -> &str {
        self.id.as_str()
    }
    fn organization(&self) -> Option<&Name> {
        Some(&self.organization)
    }
    fn subscription(&self) -> Option<&SubscriptionId> {
        Some(&self.subscription)
    }
}

/// Puts a record in the place of the writing that it says it replaces.
fn put<T: Record>(table: &mut Table<T>, new: &Versioned<T>) -> Result<(), StoreError> {
    let conflict = || StoreError::Conflict(format!("{} {}", T::KIND, new.record.id()));
    let known = table.get(new.record.id());
    if known.map_or(Revision::NEW, |known| known.revision) != new.revision {
        return Err(conflict());
    }
    // Whose it is does not change.
    let moved = known.is_some_and(|known| {
        known.record.organization() != new.record.organization()
            || known.record.subscription() != new.record.subscription()
    });
    if moved {
        return Err(conflict());
    }
    let written = Versioned {
        record: new.record.clone(),
        revision: Revision(new.revision.0 + 1),
    };
    table.insert(new.record.id().to_owned(), written);
    Ok(())
}

fn list<T: Record>(table: &Table<T>, filter: &Filter, page: &Page) -> Vec<Versioned<T>> {
    let after = page.after.as_deref().unwrap_or_default();
    let found = table
        .values()
        .filter(|found| found.record.id() > after && found.record.passes(filter));
    found.take(page.limit as usize).cloned().collect()
}

fn orphan() -> StoreError {
    StoreError::Conflict("what it belongs to is not there: it".to_owned())
}

impl State {
    fn apply(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for unchanged in &batch.unchanged {
            let (id, now, then) = match unchanged {
                Unchanged::Subscription(id, then) => {
                    let now = self.subscriptions.get(id.as_str()).map(|found| found.revision);
                    (id.as_str(), now, *then)
                }
                Unchanged::Client(id, then) => {
                    let now = self.clients.get(id.as_str()).map(|found| found.revision);
                    (id.as_str(), now, *then)
                }
            };
            if now != Some(then) {
                return Err(StoreError::Conflict(id.to_owned()));
            }
        }
        for write in &batch.writes {
            self.write(write)?;
        }
        if let Some(answer) = &batch.answer {
            match self.answers.entry(answer.key.clone()) {
                Entry::Vacant(place) => drop(place.insert(answer.clone())),
                Entry::Occupied(_) => {
                    let what = "what was made under this idempotency key";
                    return Err(StoreError::Conflict(what.to_owned()));
                }
            }
        }
        if let Some(event) = &batch.event {
            let event = self.head().append(event);
            self.events.push(event);
        }
        Ok(())
    }

    fn write(&mut self, write: &Write) -> Result<(), StoreError> {
        match write {
            Write::Organization(organization) => put(&mut self.organizations, organization),
            Write::Subscription(subscription) => {
                if !self
                    .organizations
                    .contains_key(subscription.record.organization.as_str())
                {
                    return Err(orphan());
                }
                put(&mut self.subscriptions, subscription)
            }
            Write::ApiKey(key) => {
                self.belongs(&key.record)?;
                // When it was last used is known better here than to whoever changes it.
                let known = self.api_keys.get(key.record.id.as_str());
                let last_used_at = known.map_or(key.record.last_used_at, |known| known.record.last_used_at);
                let key = key.clone().map(|key| ApiKeyRecord { last_used_at, ..key });
                put(&mut self.api_keys, &key)
            }
            Write::Client(client) => {
                self.belongs(&client.record)?;
                put(&mut self.clients, client)
            }
            Write::OpaqueToken(token) => {
                if !self.clients.contains_key(token.client.as_str()) {
                    return Err(orphan());
                }
                match self.opaque_tokens.entry(token.digest.to_hex()) {
                    Entry::Vacant(place) => drop(place.insert(token.clone())),
                    Entry::Occupied(_) => return Err(StoreError::Conflict("an opaque token".to_owned())),
                }
                Ok(())
            }
            Write::RevokedToken(token) => {
                let end = self.revoked_tokens.entry(token.id.clone()).or_insert(token.expires_at);
                *end = token.expires_at.max(*end);
                Ok(())
            }
        }
    }

    /// Under a subscription of its own organization.
    fn belongs(&self, record: &impl Record) -> Result<(), StoreError> {
        let subscription = record.subscription().and_then(|id| self.subscriptions.get(id.as_str()));
        match subscription.is_some_and(|found| Some(&found.record.organization) == record.organization()) {
            true => Ok(()),
            false => Err(orphan()),
        }
    }

    fn head(&self) -> ChainHead {
        self.events.last().map_or_else(ChainHead::start, |last| ChainHead {
            events: last.sequence,
            hash: last.hash.clone(),
        })
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        let mut next = state.clone();
        next.apply(&batch)?;
        *state = next;
        Ok(())
    }

    async fn organization(&self, id: &Name) -> Result<Option<Versioned<OrganizationRecord>>, StoreError> {
        Ok(self.state().organizations.get(id.as_str()).cloned())
    }

    async fn subscription(&self, id: &SubscriptionId) -> Result<Option<Versioned<SubscriptionRecord>>, StoreError> {
        Ok(self.state().subscriptions.get(id.as_str()).cloned())
    }

    async fn api_key(&self, id: &KeyId) -> Result<Option<Versioned<ApiKeyRecord>>, StoreError> {
        Ok(self.state().api_keys.get(id.as_str()).cloned())
    }

    async fn client(&self, id: &ClientId) -> Result<Option<Versioned<ClientRecord>>, StoreError> {
        Ok(self.state().clients.get(id.as_str()).cloned())
    }

    async fn organizations(&self, page: &Page) -> Result<Vec<OrganizationRecord>, StoreError> {
        let found = list(&self.state().organizations, &Filter::default(), page);
        Ok(found.into_iter().map(|found| found.record).collect())
    }

    async fn subscriptions(
        &self,
        filter: &Filter,
        page: &Page,
    ) -> Result<Vec<Versioned<SubscriptionRecord>>, StoreError> {
        Ok(list(&self.state().subscriptions, filter, page))
    }

    async fn api_keys(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ApiKeyRecord>>, StoreError> {
        Ok(list(&self.state().api_keys, filter, page))
    }

    async fn clients(&self, filter: &Filter, page: &Page) -> Result<Vec<Versioned<ClientRecord>>, StoreError> {
        Ok(list(&self.state().clients, filter, page))
    }

    async fn mark_assertion(&self, mark: &AssertionMark) -> Result<bool, StoreError> {
        let place = (mark.client.as_str().to_owned(), mark.id.to_hex());
        match self.state().marks.entry(place) {
            Entry::Vacant(place) => {
                place.insert(mark.expires_at);
                Ok(true)
            }
            Entry::Occupied(_) => Ok(false),
        }
    }

    async fn idempotent_answer(&self, key: &str) -> Result<Option<IdempotentAnswer>, StoreError> {
        Ok(self.state().answers.get(key).cloned())
    }

    async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        let state = self.state();
        let wanted = |event: &&AuditEvent| {
            let organization = filter.organization.as_ref();
            organization.is_none_or(|wanted| event.organization.as_ref() == Some(wanted))
                && filter.actor.as_ref().is_none_or(|wanted| event.actor == *wanted)
                && filter.action.as_ref().is_none_or(|wanted| event.action == *wanted)
                && filter.target.as_ref().is_none_or(|wanted| event.target == *wanted)
                && filter.since.is_none_or(|since| event.at >= since)
                && filter.until.is_none_or(|until| event.at < until)
                && filter.before.is_none_or(|before| event.sequence < before)
        };
        let found = state.events.iter().rev().filter(wanted);
        Ok(found.take(limit as usize).cloned().collect())
    }

    async fn verify_audit(&self) -> Result<ChainState, StoreError> {
        let state = self.state();
        let mut check = ChainCheck::start();
        let broken = state.events.iter().find_map(|event| check.next(event).err());
        Ok(broken.unwrap_or_else(|| check.finish(&state.head())))
    }

    async fn read(&self, take: &mut (dyn FnMut(Contents) + Send)) -> Result<(), StoreError> {
        let state = self.state().clone();
        let revoked = state.revoked_tokens.iter().map(|(id, expires_at)| RevokedTokenRecord {
            id: id.clone(),
            expires_at: *expires_at,
        });
        take(Contents {
            revoked_tokens: revoked.collect(),
            subscriptions: state.subscriptions.into_values().collect(),
            api_keys: state.api_keys.into_values().collect(),
            clients: state.clients.into_values().collect(),
            opaque_tokens: state.opaque_tokens.into_values().collect(),
        });
        Ok(())
    }

    async fn keys_used(&self, used: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let mut state = self.state();
        for (id, at) in used {
            if let Some(key) = state.api_keys.get_mut(id.as_str()) {
                key.record.last_used_at = key.record.last_used_at.max(Some(*at));
            }
        }
        Ok(())
    }

    async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut state = self.state();
        state.marks.retain(|_, end| *end > now);
        state.opaque_tokens.retain(|_, token| token.expires_at > now);
        state.revoked_tokens.retain(|_, end| *end > now);
        let answers_from = now.saturating_sub(IDEMPOTENT_ANSWERS_KEPT);
        state.answers.retain(|_, answer| answer.at >= answers_from);
        Ok(())
    }

    async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let name = to.display();
        Err(StoreError::Unavailable(format!(
            "{name}: a store in memory has no backup"
        )))
    }

    async fn close(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use std::sync::Arc;

    /// The same one every time: nothing outlives it to be opened again.
    struct InMemory(Arc<MemoryStore>);

    #[async_trait]
    impl conformance::Backend for InMemory {
        async fn open(&self) -> Arc<dyn Store> {
            Arc::clone(&self.0) as Arc<dyn Store>
        }
    }

    conformance::battery!(InMemory(Arc::default()));
}
