//! Which revocations are in the log, and which of them does a store lack?

use crate::model::clock::Timestamp;
use crate::model::subscription::SubscriptionState;
use crate::store::Contents;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::revocations::entry;
use crate::store::revocations::entry::Entry;
use std::collections::HashMap;
use std::collections::HashSet;

/// The entries of the log, by the id of the revoked record.
#[derive(Debug, Default)]
pub(crate) struct RevocationSet {
    keys: HashMap<String, RevokedKey>,
    subscriptions: HashSet<String>,
    clients: HashSet<String>,
    /// For each client: tokens of an earlier series than this one, or issued before this instant, are revoked.
    tokens_before: HashMap<String, (u32, Timestamp)>,
    /// For each client: secrets created before the first instant end at the second.
    secrets: HashMap<String, Vec<(Timestamp, Timestamp)>>,
    /// For each client: the revoked keys by `kid`, with the instant of the revocation.
    client_keys: HashMap<String, HashMap<String, Timestamp>>,
    /// Revoked tokens, with their expiry.
    tokens: HashMap<String, Timestamp>,
    /// The number of events and the hash of the last.
    audit_head: Option<(u64, String)>,
}

#[derive(Clone, Copy, Debug)]
struct RevokedKey {
    at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl RevocationSet {
    /// Adds an entry. No entry undoes a revocation: of two entries for one credential, the earlier end applies, and the one
    /// that is needed for longer; of two for the tokens of one client, the later series, and in one series the later instant.
    pub(crate) fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Key { id, at, expires_at } => {
                let key = self.keys.entry(id).or_insert(RevokedKey { at, expires_at });
                key.at = key.at.min(at);
                key.expires_at = later_expiry(key.expires_at, expires_at);
            }
            Entry::Subscription { id } => {
                self.subscriptions.insert(id);
            }
            Entry::Client { id } => {
                self.clients.insert(id);
            }
            Entry::Tokens { client, before, series } => {
                let known = self.tokens_before.entry(client).or_insert((series, before));
                *known = (series, before).max(*known);
            }
            Entry::Secrets { client, before, at } => {
                let known = self.secrets.entry(client).or_default();
                if !known.iter().any(|(later, end)| *later >= before && *end <= at) {
                    // Drop entries that the new one covers.
                    known.retain(|(earlier, end)| *earlier > before || *end < at);
                    known.push((before, at));
                }
            }
            Entry::ClientKey { client, kid, at } => {
                let known = self.client_keys.entry(client).or_default().entry(kid).or_insert(at);
                *known = at.min(*known);
            }
            Entry::Token { id, until } => {
                let known = self.tokens.entry(id).or_insert(until);
                *known = until.max(*known);
            }
            Entry::AuditHead { events, hash } => self.audit_head = Some((events, hash)),
        }
    }

    /// Returns the recorded end of the audit chain: the number of events, and the hash of the last.
    pub(crate) const fn audit_head(&self) -> Option<&(u64, String)> {
        self.audit_head.as_ref()
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
            + self.subscriptions.len()
            + self.clients.len()
            + self.tokens_before.len()
            + self.secrets.values().map(Vec::len).sum::<usize>()
            + self.client_keys.values().map(HashMap::len).sum::<usize>()
            + self.tokens.len()
            + usize::from(self.audit_head.is_some())
    }

    /// Forgets entries that are no longer needed at `now`.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        let left = self.entries().into_iter().filter(|entry| !entry.is_over(now));
        let mut known = Self::default();
        left.for_each(|entry| known.add(entry));
        *self = known;
    }

    /// Returns the shortest list of entries with the same content.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let keys = self.keys.iter().map(|(id, key)| Entry::Key {
            id: id.clone(),
            at: key.at,
            expires_at: key.expires_at,
        });
        let subscriptions = self
            .subscriptions
            .iter()
            .map(|id| Entry::Subscription { id: id.clone() });
        let clients = self.clients.iter().map(|id| Entry::Client { id: id.clone() });
        let tokens_before = self.tokens_before.iter();
        let tokens_before = tokens_before.map(|(client, (series, before))| Entry::Tokens {
            client: client.clone(),
            before: *before,
            series: *series,
        });
        let secrets = self.secrets.iter().flat_map(|(client, ends)| {
            ends.iter().map(|(before, at)| Entry::Secrets {
                client: client.clone(),
                before: *before,
                at: *at,
            })
        });
        let client_keys = self.client_keys.iter().flat_map(|(client, keys)| {
            keys.iter().map(|(kid, at)| Entry::ClientKey {
                client: client.clone(),
                kid: kid.clone(),
                at: *at,
            })
        });
        let tokens = self.tokens.iter().map(|(id, until)| Entry::Token {
            id: id.clone(),
            until: *until,
        });
        let audit_head = self.audit_head.iter().map(|(events, hash)| Entry::AuditHead {
            events: *events,
            hash: hash.clone(),
        });
        keys.chain(subscriptions)
            .chain(clients)
            .chain(tokens_before)
            .chain(secrets)
            .chain(client_keys)
            .chain(tokens)
            .chain(audit_head)
            .collect()
    }

    /// Applies the revocations to `contents`, all of a store or a part, as if they were written
    /// already. Returns the writes that bring the store to the same state.
    pub(crate) fn apply(&self, contents: &mut Contents, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        for subscription in &mut contents.subscriptions {
            let record = self.apply_to_subscription(&subscription.record, now);
            writes.extend(replace(subscription, record).map(Write::Subscription));
        }
        for key in &mut contents.api_keys {
            let record = self.apply_to_key(&key.record);
            writes.extend(replace(key, record).map(Write::ApiKey));
        }
        for client in &mut contents.clients {
            // Clone only clients that are in the log: few are.
            if self.has_client(client.record.id.as_str()) {
                let applied = self.apply_to_client(client.record.clone(), now);
                let record = (applied != client.record).then_some(ClientRecord {
                    changed_at: now,
                    ..applied
                });
                writes.extend(replace(client, record).map(Write::Client));
            }
        }
        writes
    }

    pub(crate) fn contains_token(&self, id: &str) -> bool {
        self.tokens.contains_key(id)
    }

    /// Returns the revoked tokens that are not in `stored`.
    pub(crate) fn tokens_missing_from(&self, stored: &HashSet<String>) -> Vec<RevokedTokenRecord> {
        let forgotten = self.tokens.iter().filter(|(id, _)| !stored.contains(*id));
        forgotten
            .map(|(id, until)| RevokedTokenRecord {
                id: id.clone(),
                expires_at: *until,
            })
            .collect()
    }

    /// Returns the cancelled record, if the subscription should be cancelled and is not.
    pub(crate) fn apply_to_subscription(
        &self,
        record: &SubscriptionRecord,
        now: Timestamp,
    ) -> Option<SubscriptionRecord> {
        let revived = record.state != SubscriptionState::Cancelled && self.subscriptions.contains(record.id.as_str());
        revived.then(|| SubscriptionRecord {
            state: SubscriptionState::Cancelled,
            changed_at: now,
            ..record.clone()
        })
    }

    /// Returns the revoked record, if the key should be revoked, or revoked earlier.
    pub(crate) fn apply_to_key(&self, record: &ApiKeyRecord) -> Option<ApiKeyRecord> {
        let known = self.keys.get(record.id.as_str())?;
        let revived = record.revoked_at.is_none_or(|at| at > known.at);
        revived.then(|| ApiKeyRecord {
            revoked_at: Some(known.at),
            ..record.clone()
        })
    }

    /// Returns whether the log has an entry for the client with this id.
    pub(crate) fn has_client(&self, id: &str) -> bool {
        self.clients.contains(id)
            || self.tokens_before.contains_key(id)
            || self.secrets.contains_key(id)
            || self.client_keys.contains_key(id)
    }

    /// Returns the record with the revocations of its client.
    pub(crate) fn apply_to_client(&self, mut record: ClientRecord, now: Timestamp) -> ClientRecord {
        let id = record.id.to_string();
        if let Some((series, before)) = self.tokens_before.get(&id) {
            let known = (record.token_series, record.tokens_not_before);
            (record.token_series, record.tokens_not_before) = known.max((*series, Some(*before)));
        }
        match &mut record.authentication {
            ClientAuthentication::ClientSecret { secrets } => {
                for (before, end) in self.secrets.get(&id).into_iter().flatten() {
                    for secret in secrets.iter_mut().filter(|secret| secret.created_at < *before) {
                        secret.ends_at = Some(secret.ends_at.map_or(*end, |known| known.min(*end)));
                    }
                }
            }
            ClientAuthentication::Keys { keys } => {
                if let Some(revoked) = self.client_keys.get(&id) {
                    for key in keys {
                        if let Some(at) = revoked.get(&key.kid) {
                            key.revoked_at = Some(key.revoked_at.map_or(*at, |known| known.min(*at)));
                        }
                    }
                }
            }
            ClientAuthentication::JwksUrl { .. } => {}
        }
        if self.clients.contains(&id) {
            // A client that is deleted already cannot be deleted again.
            record.clone().delete(IssuedTokens::Stay, now).unwrap_or(record)
        } else {
            record
        }
    }

    /// Returns the unexpired revocations in `contents` that the log lacks.
    pub(crate) fn missing_entries(&self, contents: &Contents, now: Timestamp) -> Vec<Entry> {
        let subscriptions = contents
            .subscriptions
            .iter()
            .flat_map(|subscription| entry::of_write(&Write::Subscription(subscription.clone())));
        let keys = contents.api_keys.iter().filter(|key| key.record.revoked_at.is_some());
        let keys = keys.flat_map(|key| entry::of_write(&Write::ApiKey(key.clone())));
        let clients = contents
            .clients
            .iter()
            .flat_map(|client| entry::of_client(&client.record));
        let tokens = contents.revoked_tokens.iter().map(|token| Entry::Token {
            id: token.id.clone(),
            until: token.expires_at,
        });
        let all = subscriptions.chain(keys).chain(clients).chain(tokens);
        all.filter(|entry| !entry.is_over(now) && !self.contains_entry(entry))
            .collect()
    }

    /// Returns whether adding `entry` would change nothing.
    pub(crate) fn contains_entry(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Key { id, at, expires_at } => self.keys.get(id).is_some_and(|known| {
                known.at <= *at && later_expiry(known.expires_at, *expires_at) == known.expires_at
            }),
            Entry::Subscription { id } => self.subscriptions.contains(id),
            Entry::Client { id } => self.clients.contains(id),
            Entry::Tokens { client, before, series } => {
                let known = self.tokens_before.get(client);
                known.is_some_and(|known| *known >= (*series, *before))
            }
            Entry::Secrets { client, before, at } => {
                let known = self.secrets.get(client);
                known.is_some_and(|known| known.iter().any(|(later, end)| later >= before && end <= at))
            }
            Entry::ClientKey { client, kid, at } => {
                let known = self.client_keys.get(client).and_then(|keys| keys.get(kid));
                known.is_some_and(|known| known <= at)
            }
            Entry::Token { id, until } => self.tokens.get(id).is_some_and(|known| known >= until),
            Entry::AuditHead { events, hash } => self.audit_head.as_ref() == Some(&(*events, hash.clone())),
        }
    }
}

/// Returns the later of two expiries; `None` is never.
fn later_expiry(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    Some(one?.max(other?))
}

/// Puts `record`, if any, in `place`, and returns the write that does the same in the store.
fn replace<T: Clone>(place: &mut Versioned<T>, record: Option<T>) -> Option<Versioned<T>> {
    let write = Versioned {
        record: record?,
        revision: place.revision,
    };
    *place = write.clone().into_stored();
    Some(write)
}
