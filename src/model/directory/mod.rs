//! Which credentials exist, and are they valid? Every request reads the directory; loaders and writers change it.
//!
//! Keys come from the keys file and from the store, side by side: reloading the file leaves the store's keys alone. A
//! record of the store carries its revision, and an older revision never replaces a newer one, in any order of arrival.

pub mod client;
pub mod key;
pub mod opaque;
pub mod revoked;

pub use client::ClientEntry;
pub use key::ApiKeyOrigin;
pub use key::KeyEntry;
pub use key::KeyRecord;
pub use key::KeyState;
pub use opaque::OpaqueToken;

use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::key::KeyTerms;
use crate::model::directory::key::Source;
use crate::model::directory::revoked::RevokedTokens;
use crate::model::id::ClientId;
use crate::model::id::SubscriptionId;
use crate::model::scope::ScopeSet;
use crate::model::subscription::Subscription;
use crate::model::subscription::SubscriptionState;
use dashmap::DashMap;
use dashmap::DashSet;
use dashmap::mapref::entry::Entry;
use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// API keys, clients, subscriptions and tokens, each by its id; opaque tokens by digest.
#[derive(Debug)]
pub struct Directory {
    keys: DashMap<KeyId, Arc<KeyEntry>>,
    /// The id of every key that was ever revoked. Restoring a backup from before a revocation must not undo it (S078).
    revoked: DashSet<KeyId>,
    subscriptions: DashMap<SubscriptionId, Revisioned<Arc<Subscription>>>,
    clients: DashMap<ClientId, Revisioned<Arc<ClientEntry>>>,
    /// Opaque tokens by the SHA-256 of their text.
    opaque: DashMap<[u8; 32], Arc<OpaqueToken>>,
    revoked_tokens: RevokedTokens,
    /// `true` once an imported key was added; never `false` again.
    has_imported_keys: AtomicBool,
    /// The interned scope sets, shared by all keys with the same scopes.
    scopes: DashSet<Arc<ScopeSet>>,
    /// The interned terms, shared by all keys with the same terms.
    terms: DashSet<Arc<KeyTerms>>,
}

/// Shards of a map that requests read, each with its own lock. A shard has 4,000 of a million
/// entries, so a walk over all entries or a resize blocks readers for less than a millisecond.
/// With eight shards, the default on two cores, readers were blocked for more than ten.
const SHARDS: usize = 256;

/// A value and the revision of the record that it came from.
#[derive(Debug)]
struct Revisioned<T> {
    value: T,
    revision: u64,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    pub fn new() -> Self {
        Self {
            keys: sharded(),
            revoked: DashSet::default(),
            subscriptions: sharded(),
            clients: sharded(),
            opaque: sharded(),
            revoked_tokens: RevokedTokens::new(sharded()),
            has_imported_keys: AtomicBool::new(false),
            scopes: DashSet::default(),
            terms: DashSet::default(),
        }
    }

    /// Returns the API key with this id, in whichever state.
    pub fn get(&self, id: &KeyId) -> Option<Arc<KeyEntry>> {
        self.keys.get(id).map(|entry| Arc::clone(&entry))
    }

    /// Returns whether some key is, or was, an imported one.
    pub fn has_imported_keys(&self) -> bool {
        self.has_imported_keys.load(Ordering::Relaxed)
    }

    /// Returns the number of API keys.
    #[cfg(any(test, feature = "internals"))]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[cfg(any(test, feature = "internals"))]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Calls `look` with every key, in no order. For metrics and listings, not for requests.
    pub fn for_each(&self, mut look: impl FnMut(&KeyEntry)) {
        for entry in &self.keys {
            look(entry.value());
        }
    }

    /// Calls `look` with every subscription, in no order.
    pub fn for_each_subscription(&self, mut look: impl FnMut(&Subscription)) {
        for entry in &self.subscriptions {
            look(&entry.value().value);
        }
    }

    /// Returns the store's keys that were used since the last call, each with
    /// the minute of its last use. Walks over every key.
    pub fn take_used(&self) -> Vec<(KeyId, Timestamp)> {
        let stored = self.keys.iter().filter(|entry| entry.source() != Source::File);
        stored
            .filter_map(|entry| Some((*entry.key(), entry.take_used()?)))
            .collect()
    }

    /// Replaces all keys of the keys file by `records`. Removals and revocations take effect before this returns. An
    /// unchanged key keeps its entry, and thereby a remembered expiry. Keys of the store stay as they are and take
    /// precedence over a key of the file with the same id; a revocation applies from either source.
    ///
    /// A key that was ever revoked stays revoked, even if `records` has it as active. Returns the number of such keys.
    ///
    /// Of two records with the same id the last one takes effect; a loader rejects such a file first.
    pub fn replace(&self, records: Vec<KeyRecord>) -> usize {
        // The first load has nothing to remove, so save the set of up to a million ids.
        if !self.keys.is_empty() {
            let ids: HashSet<KeyId> = records.iter().map(|record| record.id).collect();
            self.keys
                .retain(|id, entry| entry.source() != Source::File || ids.contains(id));
        }
        // Revocations first: they are the most urgent change.
        let revoked = |record: &&KeyRecord| record.state == KeyState::Revoked;
        records.iter().filter(revoked).for_each(|record| self.revoke(record.id));
        let mut still_revoked = 0;
        for record in records {
            still_revoked += usize::from(record.state != KeyState::Revoked && self.revoked.contains(&record.id));
            self.put(record, Source::File);
        }
        self.keys.shrink_to_fit();
        still_revoked
    }

    /// Puts a key of the store in force, unless the same or a later revision is present. A key that was ever revoked
    /// stays revoked.
    pub fn put_key(&self, record: KeyRecord, revision: u64) {
        if record.state == KeyState::Revoked {
            self.revoked.insert(record.id);
        }
        self.put(
            record,
            Source::Store(NonZeroU64::new(revision).unwrap_or(NonZeroU64::MIN)),
        );
    }

    /// Revokes the key for good, from either source, and against every later load or restore.
    pub fn revoke(&self, id: KeyId) {
        self.revoked.insert(id);
        if let Some(mut entry) = self.keys.get_mut(&id)
            && entry.state() != KeyState::Revoked
        {
            let revoked = entry.to_revoked();
            *entry = Arc::new(revoked);
        }
    }

    fn put(&self, record: KeyRecord, source: Source) {
        let id = record.id;
        if record.origin == ApiKeyOrigin::Imported {
            self.has_imported_keys.store(true, Ordering::Relaxed);
        }
        let mut entry = self.entry(&record, source);
        match self.keys.entry(id) {
            Entry::Occupied(mut existing) => {
                let before = existing.get();
                if !source.replaces(before.source()) {
                    return;
                }
                // Read while the entry is locked: a concurrent revocation waits, and then finds the new entry.
                if self.revoked.contains(&id) {
                    entry.revoke();
                }
                if entry.has_same_facts(before) {
                    return;
                }
                entry.take_over_from(before);
                existing.insert(Arc::new(entry));
            }
            Entry::Vacant(vacant) => {
                if self.revoked.contains(&id) {
                    entry.revoke();
                }
                vacant.insert(Arc::new(entry));
            }
        }
    }

    /// Returns the entry for `record`, with its shared fields interned.
    fn entry(&self, record: &KeyRecord, source: Source) -> KeyEntry {
        let terms = KeyTerms {
            scopes: Arc::clone(&record.scopes),
            client: record.client.clone(),
            organization: record.organization.clone(),
            addresses: record.addresses.clone(),
            subscription: record.subscription.clone(),
        };
        let terms = match self.terms.get(&terms) {
            Some(shared) => Arc::clone(&shared),
            None => intern(&self.terms, Arc::new(self.with_shared_texts(terms))),
        };
        KeyEntry::new(record, terms, source)
    }

    /// Returns equal terms that share their texts: the scopes with other terms, the names with the subscription.
    fn with_shared_texts(&self, mut terms: KeyTerms) -> KeyTerms {
        terms.scopes = intern(&self.scopes, terms.scopes);
        let entry = terms.subscription.as_ref().and_then(|id| self.subscription(id));
        if let Some(entry) = entry {
            terms.subscription = Some(entry.id.clone());
            terms.organization = match terms.organization {
                Some(own) if *own == *entry.organization.as_str() => Some(Arc::clone(entry.organization.shared())),
                own => own,
            };
        }
        terms
    }

    pub fn subscription(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        self.subscriptions.get(id).map(|entry| Arc::clone(&entry.value))
    }

    /// Puts a subscription in force, unless the same or a later revision is present.
    pub fn put_subscription(&self, subscription: Subscription, revision: u64) {
        put_newer(
            &self.subscriptions,
            subscription.id.clone(),
            Arc::new(subscription),
            revision,
        );
    }

    /// Cancels a subscription, whichever revision of it is present: none of its credentials counts any more.
    pub fn cancel_subscription(&self, id: &SubscriptionId) {
        if let Some(mut entry) = self.subscriptions.get_mut(id) {
            let subscription = Subscription::clone(&entry.value);
            entry.value = Arc::new(Subscription {
                state: SubscriptionState::Cancelled,
                ..subscription
            });
        }
    }

    /// Returns the ids of the keys under a subscription, with their expiries. Walks over every key; not for requests.
    pub fn keys_under(&self, id: &SubscriptionId) -> Vec<(KeyId, Option<Timestamp>)> {
        let keys = self.keys.iter().filter(|entry| entry.subscription() == Some(id));
        keys.map(|entry| (*entry.key(), entry.expires_at())).collect()
    }

    /// Returns the client with the id `id`, the text of a token's `client_id`.
    pub fn client(&self, id: &str) -> Option<Arc<ClientEntry>> {
        self.clients.get(id).map(|entry| Arc::clone(&entry.value))
    }

    /// Puts a client in force, unless the same or a later revision is present.
    pub fn put_client(&self, client: ClientEntry, revision: u64) {
        put_newer(&self.clients, client.id.clone(), Arc::new(client), revision);
    }

    /// Revokes the tokens of a client that are of a series before `series` or were issued before `not_before`, whichever
    /// revision of the client is present.
    pub fn revoke_client_tokens(&self, id: &ClientId, series: u32, not_before: Option<Timestamp>) {
        if let Some(mut entry) = self.clients.get_mut(id) {
            let client = ClientEntry::clone(&entry.value);
            entry.value = Arc::new(client.with_tokens_revoked(series, not_before));
        }
    }

    /// Revokes the token with this id. `until` is the token's own expiry.
    pub fn revoke_token(&self, jti: &str, until: Timestamp) {
        self.revoked_tokens.insert(jti, until);
    }

    pub fn is_token_revoked(&self, jti: &str) -> bool {
        self.revoked_tokens.contains(jti)
    }

    pub fn put_opaque(&self, token: OpaqueToken) {
        self.opaque.insert(*token.digest.as_bytes(), Arc::new(token));
    }

    /// Returns the token with this SHA-256, even if it has expired. The look-up need not take constant time: the text
    /// has 256 random bits, and the timing does not help to guess them.
    pub fn opaque(&self, digest: &CredentialDigest) -> Option<Arc<OpaqueToken>> {
        self.opaque.get(digest.as_bytes()).map(|token| Arc::clone(&token))
    }

    /// Forgets expired tokens, and scopes and terms that no key uses any more. To be called periodically.
    pub fn sweep(&self, now: Timestamp) {
        self.opaque.retain(|_, token| now < token.expires_at);
        self.revoked_tokens.sweep(now);
        // Terms first, because they refer to scopes.
        self.terms.retain(|terms| Arc::strong_count(terms) > 1);
        self.scopes.retain(|scopes| Arc::strong_count(scopes) > 1);
    }
}

/// Returns the value of `all` that is equal to `value`; adds `value` where there is none.
fn intern<T: Eq + std::hash::Hash>(all: &DashSet<Arc<T>>, value: Arc<T>) -> Arc<T> {
    if let Some(existing) = all.get(&value) {
        return Arc::clone(&existing);
    }
    // Of two concurrent calls each may return its own value. That takes more memory but changes no result.
    all.insert(Arc::clone(&value));
    value
}

fn sharded<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
    DashMap::with_shard_amount(SHARDS)
}

/// Puts `value` in place unless `map` has the same or a later revision, so that the order of arrival does not matter.
fn put_newer<K: Eq + std::hash::Hash, V>(map: &DashMap<K, Revisioned<V>>, key: K, value: V, revision: u64) {
    match map.entry(key) {
        Entry::Occupied(existing) if existing.get().revision >= revision => {}
        Entry::Occupied(mut existing) => drop(existing.insert(Revisioned { value, revision })),
        Entry::Vacant(vacant) => drop(vacant.insert(Revisioned { value, revision })),
    }
}

#[cfg(test)]
mod tests;
