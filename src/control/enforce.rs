//! How does a change in the store take effect? On the data side and at the token endpoint, at once.
//!
//! Writes of one record may arrive here in another order than the store committed them. Each carries its revision, and
//! the directory and the clients keep the latest.

use crate::control::clients::Clients;
use crate::model::address_range::canonical;
use crate::model::clock::Timestamp;
use crate::model::directory::ClientEntry;
use crate::model::directory::Directory;
use crate::model::directory::KeyRecord;
use crate::model::directory::KeyState;
use crate::model::directory::OpaqueToken;
use crate::store::Contents;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ApiKeyState;
use crate::store::record::ClientRecord;
use crate::store::record::OpaqueTokenRecord;
use crate::store::revocations::Revocation;
use std::sync::Arc;

/// Applies `writes` after the store has committed them. The new revision
/// of a record is one more than the revision that the write replaced.
///
/// Revocations and subscriptions come first, then the credentials under them: a concurrent reader may see fewer
/// permissions than there will be, never more.
pub fn apply(writes: &[Write], directory: &Directory, clients: &Clients, now: Timestamp) {
    for write in writes {
        match write {
            Write::RevokedToken(token) => directory.revoke_token(&token.id, token.expires_at),
            Write::Subscription(written) => {
                directory.put_subscription(written.record.to_subscription(), written.revision.next().0);
            }
            Write::Organization(_) | Write::ApiKey(_) | Write::Client(_) | Write::OpaqueToken(_) => {}
        }
    }
    for write in writes {
        match write {
            Write::ApiKey(written) => {
                directory.put_key(key_record(written.record.clone(), now), written.revision.next().0)
            }
            Write::Client(written) => {
                directory.put_client(client_entry(&written.record), written.revision.next().0);
                clients.put(written.clone().into_stored());
            }
            Write::OpaqueToken(token) => directory.put_opaque(opaque_token(token)),
            // The data side never looks up organizations: each record names its own.
            Write::Organization(_) | Write::Subscription(_) | Write::RevokedToken(_) => {}
        }
    }
}

/// Applies a revocation that the store does not have yet. The records keep their revisions, so that the revocation gives way to
/// the store's own writes. Returns `false` if a client was changed concurrently: the revocation then lacks that change.
pub fn revoke(revocation: &Revocation, directory: &Directory, clients: &Clients) -> bool {
    match revocation {
        Revocation::ApiKey { id, .. } => {
            directory.revoke(*id);
            true
        }
        Revocation::Client(client) => revoke_client(client, directory, clients),
        Revocation::Token(token) => {
            directory.revoke_token(&token.id, token.expires_at);
            true
        }
        Revocation::Subscription {
            id,
            keys,
            clients: changed,
            ..
        } => {
            // The subscription first: it ends all of them.
            directory.cancel_subscription(id);
            keys.iter().for_each(|(id, _)| directory.revoke(*id));
            // All of them, also after one that was changed concurrently.
            let missed = changed
                .iter()
                .filter(|client| !revoke_client(client, directory, clients));
            missed.count() == 0
        }
    }
}

fn revoke_client(client: &Versioned<ClientRecord>, directory: &Directory, clients: &Clients) -> bool {
    let record = &client.record;
    directory.revoke_client_tokens(&record.id, record.token_series, record.tokens_not_before);
    clients.amend(client.clone())
}

/// Applies the contents of the store, or a part of them, at start.
pub fn load(contents: Contents, directory: &Directory, clients: &Clients, now: Timestamp) {
    let Contents {
        subscriptions,
        api_keys,
        clients: records,
        opaque_tokens,
        revoked_tokens,
    } = contents;
    for token in revoked_tokens {
        directory.revoke_token(&token.id, token.expires_at);
    }
    for stored in subscriptions {
        directory.put_subscription(stored.record.to_subscription(), stored.revision.0);
    }
    for stored in api_keys {
        directory.put_key(key_record(stored.record, now), stored.revision.0);
    }
    for stored in records {
        directory.put_client(client_entry(&stored.record), stored.revision.0);
        clients.put(stored);
    }
    for token in opaque_tokens {
        directory.put_opaque(opaque_token(&token));
    }
}

/// Returns the key as the data side reads it. Its name stays in the store, to save memory.
///
/// A key that is revoked at `now` is revoked for good, even if the clock is set back. A later
/// revocation time, the end of a grace period, becomes `ends_at`.
fn key_record(record: ApiKeyRecord, now: Timestamp) -> KeyRecord {
    let (state, ends_at) = if record.is_revoked(now) {
        (KeyState::Revoked, None)
    } else {
        let state = match record.state {
            ApiKeyState::Active => KeyState::Active,
            ApiKeyState::Disabled => KeyState::Disabled,
        };
        (state, record.revoked_at)
    };
    KeyRecord {
        id: record.id,
        digest: record.digest,
        origin: record.origin,
        environment: record.environment,
        name: Box::default(),
        state,
        expires_at: record.expires_at,
        scopes: Arc::new(record.scopes),
        client: None,
        organization: Some(Arc::clone(record.organization.shared())),
        // A record from before may have ranges of mapped addresses.
        addresses: record.addresses.into_iter().map(canonical).collect(),
        subscription: Some(record.subscription),
        ends_at,
    }
}

fn client_entry(record: &ClientRecord) -> ClientEntry {
    ClientEntry {
        id: record.id.clone(),
        organization: record.organization.clone(),
        subscription: record.subscription.clone(),
        environment: record.environment,
        kind: record.authentication.kind(),
        tokens_not_before: record.tokens_not_before,
        token_series: record.token_series,
    }
}

fn opaque_token(record: &OpaqueTokenRecord) -> OpaqueToken {
    OpaqueToken {
        digest: record.digest,
        id: record.id.as_str().into(),
        client: record.client.clone(),
        scopes: Arc::new(record.scopes.clone()),
        audiences: record.audiences.clone().into(),
        issued_at: record.issued_at,
        expires_at: record.expires_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::api_key::ApiKeyEnvironment;
    use crate::model::api_key::CredentialDigest;
    use crate::model::directory::ApiKeyOrigin;
    use crate::model::subscription::SubscriptionState;
    use crate::store::Revision;
    use crate::store::record::RevokedTokenRecord;
    use crate::store::record::SubscriptionRecord;

    const ID: &str = "aaaaaaaaaaaaaaaa";

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_unix_secs(secs)
    }

    fn api_key(revoked_at: Option<Timestamp>) -> ApiKeyRecord {
        ApiKeyRecord {
            id: ID.parse().unwrap(),
            digest: CredentialDigest::sha256("a key"),
            origin: ApiKeyOrigin::Own,
            environment: ApiKeyEnvironment::Live,
            name: "ci".to_owned(),
            organization: "acme".parse().unwrap(),
            subscription: "sub_1".parse().unwrap(),
            scopes: "orders:read".parse().unwrap(),
            addresses: Vec::new(),
            created_at: at(1),
            expires_at: None,
            revoked_at,
            replaced_by: None,
            state: ApiKeyState::Active,
            was_shortened: false,
            last_used_at: None,
        }
    }

    fn subscription(state: SubscriptionState) -> SubscriptionRecord {
        SubscriptionRecord {
            id: "sub_1".parse().unwrap(),
            organization: "acme".parse().unwrap(),
            plan: "gold".parse().unwrap(),
            environment: ApiKeyEnvironment::Live,
            state,
            paid: false,
            created_at: at(1),
            changed_at: at(1),
        }
    }

    fn written<T>(record: T, replaces: u64) -> Versioned<T> {
        Versioned {
            record,
            revision: Revision(replaces),
        }
    }

    #[test]
    fn a_written_record_takes_effect_unless_a_newer_revision_has() {
        let (directory, clients) = (Directory::new(), Clients::default());
        let apply = |writes: &[Write]| apply(writes, &directory, &clients, at(10));
        apply(&[
            Write::ApiKey(written(api_key(None), 0)),
            Write::Subscription(written(subscription(SubscriptionState::Active), 0)),
        ]);
        let id = ID.parse().unwrap();
        let state = || directory.subscription(&"sub_1".parse().unwrap()).unwrap().state;
        assert_eq!(directory.get(&id).unwrap().organization().unwrap(), "acme");
        assert_eq!(state(), SubscriptionState::Active);
        apply(&[Write::Subscription(written(
            subscription(SubscriptionState::Cancelled),
            2,
        ))]);
        apply(&[Write::Subscription(written(subscription(SubscriptionState::Active), 1))]);
        assert_eq!(state(), SubscriptionState::Cancelled);
        apply(&[Write::RevokedToken(RevokedTokenRecord {
            id: "jti-1".to_owned(),
            expires_at: at(100),
        })]);
        assert!(directory.is_token_revoked("jti-1"));
    }

    #[test]
    fn a_disabled_key_is_refused_until_it_is_enabled_and_for_good_once_it_is_revoked() {
        let (directory, clients) = (Directory::new(), Clients::default());
        // With a successor, so that a later revocation is the end of a grace period.
        let key = |state: ApiKeyState, revoked_at: Option<Timestamp>| ApiKeyRecord {
            state,
            replaced_by: "bbbbbbbbbbbbbbbb".parse().ok(),
            ..api_key(revoked_at)
        };
        let states = [
            (ApiKeyState::Active, None, KeyState::Active),
            (ApiKeyState::Disabled, None, KeyState::Disabled),
            (ApiKeyState::Active, None, KeyState::Active),
            (ApiKeyState::Disabled, Some(at(100)), KeyState::Disabled),
            (ApiKeyState::Disabled, Some(at(10)), KeyState::Revoked),
            (ApiKeyState::Active, None, KeyState::Revoked),
        ];
        for (revision, (state, revoked_at, expected)) in states.into_iter().enumerate() {
            let write = Write::ApiKey(written(key(state, revoked_at), revision as u64));
            apply(&[write], &directory, &clients, at(10));
            let entry = directory.get(&ID.parse().unwrap()).unwrap();
            assert_eq!(entry.state(), expected, "revision {revision}");
        }
    }

    #[test]
    fn s067_a_revocation_holds_when_the_clock_is_set_back() {
        let (directory, clients) = (Directory::new(), Clients::default());
        apply(
            &[Write::ApiKey(written(api_key(Some(at(10))), 1))],
            &directory,
            &clients,
            at(10),
        );
        let entry = directory.get(&ID.parse().unwrap()).unwrap();
        assert!(entry.is_revoked(at(5)));
    }

    #[test]
    fn s067_a_revocation_of_a_clock_that_was_ahead_holds_after_a_restart() {
        let day = 86_400;
        let successor = "bbbbbbbbbbbbbbbb".parse().ok();
        for (revoked_at, replaced_by) in [(at(12), None), (at(10 + 2 * day), None), (at(10 + 2 * day), successor)] {
            let (directory, clients) = (Directory::new(), Clients::default());
            let record = ApiKeyRecord {
                replaced_by,
                ..api_key(Some(revoked_at))
            };
            let contents = Contents {
                api_keys: vec![written(record, 2)],
                ..Contents::default()
            };
            load(contents, &directory, &clients, at(10));
            let entry = directory.get(&ID.parse().unwrap()).unwrap();
            assert!(entry.is_revoked(at(10)), "{revoked_at:?} {replaced_by:?}");
        }
    }

    #[test]
    fn s070_a_grace_ends_at_its_instant() {
        let (directory, clients) = (Directory::new(), Clients::default());
        let replaced = ApiKeyRecord {
            replaced_by: Some("bbbbbbbbbbbbbbbb".parse().unwrap()),
            ..api_key(Some(at(100)))
        };
        let contents = Contents {
            api_keys: vec![written(replaced, 3)],
            ..Contents::default()
        };
        load(contents, &directory, &clients, at(10));
        let entry = directory.get(&ID.parse().unwrap()).unwrap();
        assert!(!entry.is_revoked(Timestamp::from_unix_millis(99_999)));
        assert!(entry.is_revoked(at(100)));
    }
}
