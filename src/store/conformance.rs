//! Which rules does every backend keep? One battery, run against each.

use crate::model::api_key::ApiKeyEnvironment;
use crate::model::api_key::CredentialDigest;
use crate::model::api_key::KeyId;
use crate::model::clock::Timestamp;
use crate::model::directory::ApiKeyOrigin;
use crate::model::id::ClientId;
use crate::model::names::Name;
use crate::model::plan::CredentialKinds;
use crate::model::plan::Plan;
use crate::model::secret::Secret;
use crate::store::AssertionMark;
use crate::store::AuditFilter;
use crate::store::Batch;
use crate::store::ChainState;
use crate::store::Contents;
use crate::store::Filter;
use crate::store::Page;
use crate::store::Revision;
use crate::store::STORED_RESPONSES_KEPT;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::StoredResponse;
use crate::store::UnchangedRecord;
use crate::store::Versioned;
use crate::store::Write;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::LimitCounts;
use crate::store::record::NewApiKey;
use crate::store::record::NewAuditEvent;
use crate::store::record::NewClient;
use crate::store::record::OpaqueTokenRecord;
use crate::store::record::OrganizationRecord;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::SubscriptionRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientSecret;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use async_trait::async_trait;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A backend that is empty at the start of every test.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// Opens the store; after `close`, with the same data.
    async fn open(&self) -> Arc<dyn Store>;
}

pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_123);

pub(crate) fn later(secs: u64) -> Timestamp {
    NOW.saturating_add(Duration::from_secs(secs))
}

pub(crate) fn organization(id: &str) -> OrganizationRecord {
    OrganizationRecord::new(id.parse().unwrap(), format!("The people of {id}"), NOW)
}

/// Returns a subscription with the id `sub_<organization>`.
pub(crate) fn subscription(organization: &str) -> SubscriptionRecord {
    SubscriptionRecord::new(
        format!("sub_{organization}").parse().unwrap(),
        organization.parse().unwrap(),
        &Plan::open("gold".parse().unwrap(), CredentialKinds::ANY),
        ApiKeyEnvironment::Live,
        NOW,
    )
}

/// Returns a key id: a number with sixteen digits.
pub(crate) fn key_id(number: u32) -> KeyId {
    format!("{number:016}").parse().unwrap()
}

pub(crate) fn key(number: u32, organization: &str) -> ApiKeyRecord {
    let fields = NewApiKey {
        id: key_id(number),
        digest: CredentialDigest::sha256(&number.to_string()),
        origin: ApiKeyOrigin::Own,
        environment: ApiKeyEnvironment::Live,
        name: "schlüssel \"1\"".to_owned(),
        organization: organization.parse().unwrap(),
        subscription: format!("sub_{organization}").parse().unwrap(),
        scopes: "a b".parse().unwrap(),
        addresses: vec!["192.0.2.0/24".parse().unwrap()],
        expires_at: Some(later(86_400)),
    };
    ApiKeyRecord::new(fields, NOW).unwrap()
}

pub(crate) fn client(id: &str, organization: &str) -> ClientRecord {
    let fields = NewClient {
        id: id.parse().unwrap(),
        organization: organization.parse().unwrap(),
        subscription: format!("sub_{organization}").parse().unwrap(),
        environment: ApiKeyEnvironment::Live,
        name: "nightly".to_owned(),
        description: String::new(),
        authentication: ClientAuthentication::ClientSecret {
            secrets: vec![ClientSecret::new(CredentialDigest::sha256(id), NOW)],
        },
        scopes: "a b".parse().unwrap(),
        token_ttl: TokenTtl::Hour,
        token_format: TokenFormat::Opaque,
    };
    ClientRecord::new(fields, NOW)
}

fn opaque(text: &str, client: &str, expires_at: Timestamp) -> OpaqueTokenRecord {
    OpaqueTokenRecord {
        digest: CredentialDigest::sha256(text),
        id: format!("id of {text}"),
        client: client.parse().unwrap(),
        scopes: "a".parse().unwrap(),
        audiences: vec!["https://api.example".to_owned()],
        issued_at: NOW,
        expires_at,
    }
}

fn revoked(id: &str, expires_at: Timestamp) -> RevokedTokenRecord {
    RevokedTokenRecord {
        id: id.to_owned(),
        expires_at,
    }
}

pub(crate) fn event(action: &'static str, target: &str) -> NewAuditEvent {
    NewAuditEvent {
        at: NOW,
        actor: "client_1".to_owned(),
        from: Some("2001:db8::1".parse().unwrap()),
        action,
        target: target.to_owned(),
        organization: Some("acme".parse().unwrap()),
        details: serde_json::json!({"name": "schlüssel", "scopes": ["a", "b"], "expires_at": null}),
    }
}

fn response(key: &str, at: Timestamp) -> StoredResponse {
    StoredResponse {
        key: key.to_owned(),
        request: "0".repeat(64),
        status: 201,
        body: "{\"id\":\"1\"}".to_owned(),
        at,
    }
}

pub(crate) fn batch(writes: Vec<Write>) -> Batch {
    Batch {
        writes,
        ..Batch::default()
    }
}

/// Creates the organizations `acme` and `other` with a subscription each.
pub(crate) async fn with_organizations(store: &dyn Store) {
    for id in ["acme", "other"] {
        let writes = vec![
            Write::Organization(Versioned::new(organization(id))),
            Write::Subscription(Versioned::new(subscription(id))),
        ];
        store.commit(batch(writes)).await.unwrap();
    }
}

#[track_caller]
fn check_conflict(result: Result<(), StoreError>) {
    assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
}

fn first(limit: u32) -> Page {
    Page { after: None, limit }
}

pub(crate) async fn a_written_record_is_read_back_also_after_reopening(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let acme: Name = "acme".parse().unwrap();
    let writes = vec![
        Write::ApiKey(Versioned::new(key(1, "acme"))),
        Write::Client(Versioned::new(client("client_1", "acme"))),
        Write::OpaqueToken(opaque("kgt_1", "client_1", later(60))),
        Write::RevokedToken(revoked("jti", later(60))),
    ];
    store.commit(batch(writes)).await.unwrap();
    for reopened in [false, true] {
        let store = if reopened {
            store.close().await;
            backend.open().await
        } else {
            Arc::clone(&store)
        };
        let written = |revision| Revision(revision);
        let found = store.organization(&acme).await.unwrap().unwrap();
        assert_eq!((found.record, found.revision), (organization("acme"), written(1)));
        let found = store.subscription(&"sub_acme".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.record, found.revision), (subscription("acme"), written(1)));
        let found = store.api_key(&key_id(1)).await.unwrap().unwrap();
        assert_eq!((found.record, found.revision), (key(1, "acme"), written(1)));
        let found = store.client(&"client_1".parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((found.record, found.revision), (client("client_1", "acme"), written(1)));
        assert_eq!(store.api_key(&key_id(2)).await.unwrap(), None);
        let contents = store.contents().await.unwrap();
        assert_eq!(contents.opaque_tokens, [opaque("kgt_1", "client_1", later(60))]);
        assert_eq!(contents.revoked_tokens, [revoked("jti", later(60))]);
        assert_eq!(contents.api_keys.len() + contents.clients.len(), 2);
        assert_eq!(contents.subscriptions.len(), 2);
    }
}

pub(crate) async fn a_record_replaces_only_the_revision_that_it_names(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let put = async |key: ApiKeyRecord, revision: u64| {
        let write = Write::ApiKey(Versioned {
            record: key,
            revision: Revision(revision),
        });
        store.commit(batch(vec![write])).await
    };
    let renamed = ApiKeyRecord {
        name: "renamed".to_owned(),
        ..key(1, "acme")
    };
    // There is no record to replace.
    check_conflict(put(key(1, "acme"), 1).await);
    put(key(1, "acme"), 0).await.unwrap();
    check_conflict(put(renamed.clone(), 0).await);
    put(renamed.clone(), 1).await.unwrap();
    check_conflict(put(key(1, "acme"), 1).await);
    check_conflict(put(key(1, "acme"), 3).await);
    let found = store.api_key(&key_id(1)).await.unwrap().unwrap();
    assert_eq!((found.record, found.revision), (renamed, Revision(2)));

    for write in [
        Write::Organization(Versioned::new(organization("acme"))),
        Write::Subscription(Versioned::new(subscription("acme"))),
        Write::Organization(Versioned {
            record: organization("nobody"),
            revision: Revision(1),
        }),
        Write::Client(Versioned {
            record: client("client_1", "acme"),
            revision: Revision(1),
        }),
    ] {
        check_conflict(store.commit(batch(vec![write])).await);
    }
}

pub(crate) async fn a_batch_happens_whole_or_not_at_all(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    store
        .commit(batch(vec![Write::ApiKey(Versioned::new(key(1, "acme")))]))
        .await
        .unwrap();
    let refused = Batch {
        writes: vec![
            Write::ApiKey(Versioned::new(key(2, "acme"))),
            Write::Client(Versioned::new(client("client_1", "acme"))),
            Write::OpaqueToken(opaque("kgt_1", "client_1", later(60))),
            Write::RevokedToken(revoked("jti", later(60))),
            // This key exists already.
            Write::ApiKey(Versioned::new(key(1, "acme"))),
        ],
        event: Some(event("api_key.create", "2")),
        response: Some(response("a", NOW)),
        ..Batch::default()
    };
    // A concurrent batch is written nevertheless.
    let (refused, committed) = tokio::join!(
        store.commit(refused),
        store.commit(batch(vec![Write::ApiKey(Versioned::new(key(3, "acme")))])),
    );
    check_conflict(refused);
    committed.unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.api_keys.len(), 2);
    assert_eq!(
        contents.clients.len() + contents.opaque_tokens.len() + contents.revoked_tokens.len(),
        0
    );
    assert_eq!(store.stored_response("a").await.unwrap(), None);
    assert_eq!(store.audit(&AuditFilter::default(), 10).await.unwrap(), []);
}

pub(crate) async fn of_many_writers_that_read_the_same_one_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let attempts = (0..50).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let write = Write::Subscription(Versioned {
                record: subscription("acme"),
                revision: Revision(1),
            });
            let made = Write::ApiKey(Versioned::new(key(number, "acme")));
            store.commit(batch(vec![write, made])).await
        })
    });
    let mut won = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(()) => won += 1,
            refused => check_conflict(refused),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(store.contents().await.unwrap().api_keys.len(), 1);
}

pub(crate) async fn a_batch_fails_if_a_record_that_it_expects_has_changed(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    store
        .commit(batch(vec![Write::Client(Versioned::new(client("client_1", "acme")))]))
        .await
        .unwrap();
    let make = async |number: u32, unchanged: Vec<UnchangedRecord>| {
        let batch = Batch {
            writes: vec![Write::ApiKey(Versioned::new(key(number, "acme")))],
            unchanged,
            ..Batch::default()
        };
        store.commit(batch).await
    };
    let of_subscription = |revision| UnchangedRecord::Subscription("sub_acme".parse().unwrap(), Revision(revision));
    let missing = || UnchangedRecord::Subscription("sub_missing".parse().unwrap(), Revision::NEW);
    make(1, vec![of_subscription(1)]).await.unwrap();
    make(2, vec![of_subscription(1)]).await.unwrap();
    let cancelled = Write::Subscription(Versioned {
        record: subscription("acme").cancel(NOW).unwrap(),
        revision: Revision(1),
    });
    store.commit(batch(vec![cancelled])).await.unwrap();
    check_conflict(make(3, vec![of_subscription(1)]).await);
    check_conflict(make(3, vec![of_subscription(2), missing()]).await);
    check_conflict(make(3, vec![missing()]).await);
    make(3, vec![of_subscription(2)]).await.unwrap();
}

pub(crate) async fn a_record_without_its_parent_is_not_written(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let under_another = ApiKeyRecord {
        subscription: "sub_other".parse().unwrap(),
        ..key(1, "acme")
    };
    for write in [
        Write::Subscription(Versioned::new(subscription("nobody"))),
        Write::ApiKey(Versioned::new(key(1, "nobody"))),
        Write::ApiKey(Versioned::new(under_another.clone())),
        Write::Client(Versioned::new(client("client_1", "nobody"))),
        Write::OpaqueToken(opaque("kgt_1", "client_1", later(60))),
    ] {
        check_conflict(store.commit(batch(vec![write])).await);
    }
    // A record cannot change its organization either.
    store
        .commit(batch(vec![Write::ApiKey(Versioned::new(key(1, "acme")))]))
        .await
        .unwrap();
    for record in [under_another, key(1, "other")] {
        let write = Write::ApiKey(Versioned {
            record,
            revision: Revision(1),
        });
        check_conflict(store.commit(batch(vec![write])).await);
    }
    // Records from earlier in the same batch count.
    let writes = vec![
        Write::Client(Versioned::new(client("client_1", "acme"))),
        Write::OpaqueToken(opaque("kgt_1", "client_1", later(60))),
    ];
    store.commit(batch(writes)).await.unwrap();
    check_conflict(
        store
            .commit(batch(vec![Write::OpaqueToken(opaque("kgt_1", "client_1", later(60)))]))
            .await,
    );
}

pub(crate) async fn lists_are_sorted_filtered_and_in_pages(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    // Not in the order of ids. Upper case sorts before lower case, as bytes do.
    for (number, organization) in [(5, "acme"), (3, "other"), (1, "acme"), (4, "acme"), (2, "other")] {
        let client = client(["", "Z", "a", "b_", "b-", "c"][number as usize], organization);
        let writes = vec![
            Write::ApiKey(Versioned::new(key(number, organization))),
            Write::Client(Versioned::new(client)),
        ];
        store.commit(batch(writes)).await.unwrap();
    }
    let keys = async |filter: &Filter, after: Option<u32>, limit: u32| {
        let page = Page {
            after: after.map(|after| key_id(after).to_string()),
            limit,
        };
        let found = store.api_keys(filter, &page).await.unwrap();
        found
            .iter()
            .map(|key| key.record.id.as_str().parse::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let all = Filter::default();
    let of_acme = Filter {
        organization: Some("acme".parse().unwrap()),
        subscription: None,
    };
    let of_subscription = Filter {
        organization: None,
        subscription: Some("sub_other".parse().unwrap()),
    };
    let of_both = Filter {
        organization: Some("acme".parse().unwrap()),
        subscription: Some("sub_other".parse().unwrap()),
    };
    assert_eq!(keys(&all, None, 10).await, [1, 2, 3, 4, 5]);
    assert_eq!(keys(&all, None, 2).await, [1, 2]);
    assert_eq!(keys(&all, Some(2), 2).await, [3, 4]);
    assert_eq!(keys(&all, Some(4), 2).await, [5]);
    assert_eq!(keys(&all, Some(5), 2).await, [0; 0]);
    assert_eq!(keys(&of_acme, None, 2).await, [1, 4]);
    assert_eq!(keys(&of_acme, Some(1), 2).await, [4, 5]);
    assert_eq!(keys(&of_subscription, None, 10).await, [2, 3]);
    assert_eq!(keys(&of_both, None, 10).await, [0; 0]);

    let clients = store.clients(&all, &first(10)).await.unwrap();
    let ids: Vec<&str> = clients.iter().map(|client| client.record.id.as_str()).collect();
    assert_eq!(ids, ["Z", "a", "b-", "b_", "c"]);
    assert_eq!(store.clients(&of_acme, &first(10)).await.unwrap().len(), 3);
    assert_eq!(store.clients(&of_subscription, &first(1)).await.unwrap().len(), 1);
    let organizations = store.organizations(&first(10)).await.unwrap();
    let records: Vec<OrganizationRecord> = organizations.into_iter().map(|found| found.record).collect();
    assert_eq!(records, [organization("acme"), organization("other")]);
    assert_eq!(store.organizations(&first(1)).await.unwrap().len(), 1);
    let subscriptions = store.subscriptions(&of_acme, &first(10)).await.unwrap();
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0].record.id.as_str(), "sub_acme");
    let subscriptions = store.subscriptions(&of_subscription, &first(10)).await.unwrap();
    assert_eq!(subscriptions.len(), 1);
    assert_eq!(subscriptions[0].record.id.as_str(), "sub_other");
    assert_eq!(store.subscriptions(&of_both, &first(10)).await.unwrap(), []);
}

/// Marks one assertion in a hundred concurrent tasks (S121).
pub(crate) async fn an_assertion_is_marked_once_also_after_reopening(backend: &dyn Backend) {
    let store = backend.open().await;
    let mark = AssertionMark {
        client: "client_1".parse().unwrap(),
        id: CredentialDigest::sha256("jti"),
        expires_at: later(60),
    };
    let attempts = (0..100).map(|_| {
        let (store, mark) = (Arc::clone(&store), mark.clone());
        tokio::spawn(async move { store.mark_assertion(&mark).await.unwrap() })
    });
    let mut firsts = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        firsts += usize::from(attempt.await.unwrap());
    }
    assert_eq!(firsts, 1);
    store.close().await;
    let store = backend.open().await;
    let again = AssertionMark {
        // Another expiry does not make another assertion.
        expires_at: later(120),
        ..mark.clone()
    };
    assert!(!store.mark_assertion(&again).await.unwrap());
    let of_another: ClientId = "client_2".parse().unwrap();
    let of_another = AssertionMark {
        client: of_another,
        ..mark.clone()
    };
    assert!(store.mark_assertion(&of_another).await.unwrap());
    // The mark is kept until the assertion has expired, and not a moment longer.
    store
        .sweep(later(60).saturating_sub(Duration::from_millis(1)))
        .await
        .unwrap();
    assert!(!store.mark_assertion(&mark).await.unwrap());
    store.sweep(later(60)).await.unwrap();
    assert!(store.mark_assertion(&mark).await.unwrap());
}

pub(crate) async fn an_answer_is_kept_under_its_key_and_not_replaced(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let make = async |number: u32, response: StoredResponse| {
        let batch = Batch {
            writes: vec![Write::ApiKey(Versioned::new(key(number, "acme")))],
            response: Some(response),
            ..Batch::default()
        };
        store.commit(batch).await
    };
    assert_eq!(store.stored_response("a").await.unwrap(), None);
    make(1, response("a", NOW)).await.unwrap();
    assert_eq!(store.stored_response("a").await.unwrap(), Some(response("a", NOW)));
    check_conflict(make(2, response("a", later(1))).await);
    assert_eq!(store.api_key(&key_id(2)).await.unwrap(), None);
    make(2, response("b", NOW)).await.unwrap();

    let end = NOW.saturating_add(STORED_RESPONSES_KEPT);
    store.sweep(end).await.unwrap();
    assert!(store.stored_response("a").await.unwrap().is_some());
    store.sweep(end.saturating_add(Duration::from_millis(1))).await.unwrap();
    assert_eq!(store.stored_response("a").await.unwrap(), None);
}

pub(crate) async fn sweep_drops_expired_tokens_only(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let writes = vec![
        Write::Client(Versioned::new(client("client_1", "acme"))),
        Write::OpaqueToken(opaque("kgt_1", "client_1", later(60))),
        Write::OpaqueToken(opaque("kgt_2", "client_1", later(61))),
        Write::RevokedToken(revoked("one", later(60))),
        Write::RevokedToken(revoked("two", later(30))),
        // Revoked twice: until the later expiry.
        Write::RevokedToken(revoked("two", later(61))),
        Write::RevokedToken(revoked("two", later(40))),
    ];
    store.commit(batch(writes)).await.unwrap();
    store
        .sweep(later(60).saturating_sub(Duration::from_millis(1)))
        .await
        .unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!((contents.opaque_tokens.len(), contents.revoked_tokens.len()), (2, 2));
    store.sweep(later(60)).await.unwrap();
    let contents = store.contents().await.unwrap();
    assert_eq!(contents.opaque_tokens, [opaque("kgt_2", "client_1", later(61))]);
    assert_eq!(contents.revoked_tokens, [revoked("two", later(61))]);
    assert_eq!(contents.clients.len(), 1, "what is not over stays");
}

pub(crate) async fn the_last_use_of_a_key_only_moves_forward(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    for number in [1, 2] {
        let made = Write::ApiKey(Versioned::new(key(number, "acme")));
        store.commit(batch(vec![made])).await.unwrap();
    }
    let used = |found: Option<Versioned<ApiKeyRecord>>| {
        let found = found.unwrap();
        (found.record.last_used_at, found.revision)
    };
    store
        .record_key_use(&[(key_id(1), later(60)), (key_id(9), later(60))])
        .await
        .unwrap();
    store.record_key_use(&[(key_id(1), later(30))]).await.unwrap();
    // A use does not change the record's revision, so it does not conflict with a concurrent change.
    assert_eq!(
        used(store.api_key(&key_id(1)).await.unwrap()),
        (Some(later(60)), Revision(1))
    );
    assert_eq!(used(store.api_key(&key_id(2)).await.unwrap()), (None, Revision(1)));
    let revoked = Write::ApiKey(Versioned {
        record: key(1, "acme").revoke(NOW).unwrap(),
        revision: Revision(1),
    });
    store.commit(batch(vec![revoked])).await.unwrap();
    assert_eq!(
        used(store.api_key(&key_id(1)).await.unwrap()),
        (Some(later(60)), Revision(2))
    );
    let listed = store.api_keys(&Filter::default(), &first(1)).await.unwrap();
    assert_eq!(listed[0].record.last_used_at, Some(later(60)));
}

pub(crate) async fn counts_of_limits_replace_those_before_also_after_reopening(backend: &dyn Backend) {
    let counts = |limit: &str, buckets: &[u8]| LimitCounts {
        limit: limit.parse().unwrap(),
        hash_key: Secret::new(vec![0, 255, 7]),
        buckets: buckets.to_vec(),
    };
    let store = backend.open().await;
    assert_eq!(store.limit_counts().await.unwrap(), []);
    let first = vec![counts("daily", &[0, 1, 255]), counts("gone", &[])];
    store.replace_limit_counts(first.clone()).await.unwrap();
    assert_eq!(store.limit_counts().await.unwrap(), first);
    let second = vec![counts("daily", &[9]), counts("new", &[1, 2])];
    store.replace_limit_counts(second.clone()).await.unwrap();
    store.close().await;
    let store = backend.open().await;
    assert_eq!(store.limit_counts().await.unwrap(), second);
    store.replace_limit_counts(Vec::new()).await.unwrap();
    assert_eq!(store.limit_counts().await.unwrap(), []);
}

pub(crate) async fn the_digest_scheme_replaces_the_one_before_also_after_reopening(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.digest_scheme().await.unwrap(), None);
    for scheme in ["sha256", "hmac-sha256:0123abcd"] {
        store.replace_digest_scheme(scheme.to_owned()).await.unwrap();
        assert_eq!(store.digest_scheme().await.unwrap().as_deref(), Some(scheme));
    }
    store.close().await;
    let store = backend.open().await;
    assert_eq!(
        store.digest_scheme().await.unwrap().as_deref(),
        Some("hmac-sha256:0123abcd")
    );
}

pub(crate) async fn a_probe_is_a_write_that_leaves_nothing(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let (before, health) = (store.contents().await.unwrap(), store.write_health());
    store.probe().await.unwrap();
    let after = store.write_health();
    assert_eq!((after.commits, after.failures), (health.commits + 1, health.failures));
    assert!(after.commit_time > health.commit_time && after.problem.is_none());
    assert_eq!(store.contents().await.unwrap().subscriptions, before.subscriptions);
    store.close().await;
    store.probe().await.unwrap_err();
}

pub(crate) async fn reading_in_parts_returns_every_record_once_and_unchanged(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    // More than one part of each kind, with texts that could confuse the parser of a part.
    let names = [
        "",
        " ",
        "a b 12 {}",
        "{\"id\":\"x\"}",
        "\n\0\r",
        "Schl\u{fc}ssel \u{1f511}",
        "'; --",
    ];
    let named = |number: u32| names[number as usize % names.len()].to_owned();
    let numbers = 1..=2_500;
    let written: Vec<ApiKeyRecord> = numbers
        .map(|number| ApiKeyRecord {
            name: named(number),
            last_used_at: (number % 3 == 0).then(|| later(60)),
            ..key(number, "acme")
        })
        .collect();
    let mut writes: Vec<Write> = written
        .iter()
        .map(|key| Write::ApiKey(Versioned::new(key.clone())))
        .collect();
    writes.extend((0..1_100).map(|number| Write::RevokedToken(revoked(&number.to_string(), later(60)))));
    writes.push(Write::Client(Versioned::new(client("client_1", "other"))));
    store.commit(batch(writes)).await.unwrap();
    let used: Vec<_> = written
        .iter()
        .filter_map(|key| Some((key.id, key.last_used_at?)))
        .collect();
    store.record_key_use(&used).await.unwrap();
    let again = Versioned {
        record: written[9].clone(),
        revision: Revision(1),
    };
    store.commit(batch(vec![Write::ApiKey(again)])).await.unwrap();

    let mut kinds = Vec::new();
    let mut read = Contents::default();
    let mut take = |part: Contents| {
        let counts = [
            part.revoked_tokens.len(),
            part.subscriptions.len(),
            part.api_keys.len(),
            part.clients.len(),
        ];
        kinds.extend(
            counts
                .iter()
                .zip(0..)
                .filter(|(count, _)| **count > 0)
                .map(|(_, kind)| kind),
        );
        read.extend(part);
    };
    store.read(&mut take).await.unwrap();
    assert!(
        kinds.is_sorted(),
        "what ends something, then what is above, then what is under it: {kinds:?}"
    );
    let expected = written.into_iter().zip(1..).map(|(record, place)| Versioned {
        record,
        revision: Revision(if place == 10 { 2 } else { 1 }),
    });
    read.api_keys.sort_by_key(|key| key.record.id);
    assert_eq!(read.api_keys, expected.collect::<Vec<_>>());
    let tokens: HashSet<&str> = read.revoked_tokens.iter().map(|token| token.id.as_str()).collect();
    assert_eq!((tokens.len(), read.revoked_tokens.len()), (1_100, 1_100));
    assert_eq!((read.subscriptions.len(), read.clients.len()), (2, 1));
}

pub(crate) async fn events_are_a_chain_in_the_order_of_their_writing(backend: &dyn Backend) {
    let store = backend.open().await;
    with_organizations(&*store).await;
    let made = (1..=40).map(|number| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let batch = Batch {
                writes: vec![Write::ApiKey(Versioned::new(key(number % 30, "acme")))],
                event: Some(event("api_key.create", &number.to_string())),
                ..Batch::default()
            };
            store.commit(batch).await.is_ok()
        })
    });
    let mut written = 0;
    for made in made.collect::<Vec<_>>() {
        written += u64::from(made.await.unwrap());
    }
    assert_eq!(written, 30, "those in conflict leave no event");
    store.close().await;
    let store = backend.open().await;
    let batch = Batch {
        event: Some(event("api_key.revoke", "1")),
        ..Batch::default()
    };
    store.commit(batch).await.unwrap();
    let events = store.audit(&AuditFilter::default(), 100).await.unwrap();
    let sequences: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=31).rev().collect::<Vec<_>>());
    assert!(events.is_sorted_by(|newer, older| newer.previous_hash == older.hash));
    let whole = ChainState::Whole {
        events: 31,
        head: events[0].hash.clone(),
    };
    assert_eq!(store.verify_audit().await.unwrap(), whole);
}

pub(crate) async fn events_are_filtered_by_every_field(backend: &dyn Backend) {
    let store = backend.open().await;
    let append = async |event: NewAuditEvent| {
        let batch = Batch {
            event: Some(event),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    };
    append(event("client.create", "c1")).await;
    append(NewAuditEvent {
        actor: "local:alice (uid 1000)".to_owned(),
        from: None,
        organization: None,
        at: later(1),
        ..event("backup.create", "b")
    })
    .await;
    append(NewAuditEvent {
        at: later(2),
        ..event("client.delete", "c1")
    })
    .await;
    let find = async |filter: AuditFilter, limit: u32| {
        let found = store.audit(&filter, limit).await.unwrap();
        found.iter().map(|event| event.sequence).collect::<Vec<_>>()
    };
    let all = AuditFilter::default;
    assert_eq!(find(all(), 10).await, [3, 2, 1]);
    assert_eq!(find(all(), 2).await, [3, 2]);
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (
            AuditFilter {
                before: Some(3),
                ..all()
            },
            vec![2, 1],
        ),
        (
            AuditFilter {
                before: Some(1),
                ..all()
            },
            vec![],
        ),
        (
            AuditFilter {
                before: Some(u64::MAX),
                ..all()
            },
            vec![3, 2, 1],
        ),
        (
            AuditFilter {
                organization: Some("acme".parse().unwrap()),
                ..all()
            },
            vec![3, 1],
        ),
        (
            AuditFilter {
                organization: Some("other".parse().unwrap()),
                ..all()
            },
            vec![],
        ),
        (
            AuditFilter {
                actor: text("local"),
                ..all()
            },
            vec![2],
        ),
        (
            AuditFilter {
                actor: text("local:alice"),
                ..all()
            },
            vec![2],
        ),
        (
            AuditFilter {
                actor: text("local:alice (uid 1000)"),
                ..all()
            },
            vec![2],
        ),
        (
            AuditFilter {
                actor: text("local:alic"),
                ..all()
            },
            vec![],
        ),
        (
            AuditFilter {
                actor: text("local:alice (uid 100"),
                ..all()
            },
            vec![],
        ),
        (
            AuditFilter {
                action: text("client.create"),
                ..all()
            },
            vec![1],
        ),
        (
            AuditFilter {
                target: text("c1"),
                ..all()
            },
            vec![3, 1],
        ),
        (
            AuditFilter {
                target: text("c1' OR 1=1 --"),
                ..all()
            },
            vec![],
        ),
        (
            AuditFilter {
                since: Some(later(1)),
                ..all()
            },
            vec![3, 2],
        ),
        (
            AuditFilter {
                until: Some(later(1)),
                ..all()
            },
            vec![1],
        ),
        (
            AuditFilter {
                target: text("c1"),
                since: Some(later(2)),
                until: Some(later(3)),
                ..all()
            },
            vec![3],
        ),
    ] {
        assert_eq!(find(filter.clone(), 10).await, expected, "{filter:?}");
    }
    // In the order of writing.
    let first = store
        .audit(
            &AuditFilter {
                before: Some(2),
                ..all()
            },
            1,
        )
        .await
        .unwrap();
    let (found, expected) = (&first[0], event("client.create", "c1"));
    assert_eq!(
        (&found.actor, found.from, found.at),
        (&expected.actor, expected.from, expected.at)
    );
    assert_eq!(
        (&found.details, &found.organization),
        (&expected.details, &expected.organization)
    );
}

pub(crate) async fn an_empty_store_has_a_whole_chain(backend: &dyn Backend) {
    let store = backend.open().await;
    let whole = ChainState::Whole {
        events: 0,
        head: "0".repeat(64),
    };
    assert_eq!(store.verify_audit().await.unwrap(), whole);
    let contents = store.contents().await.unwrap();
    assert!(contents.api_keys.is_empty() && contents.clients.is_empty() && contents.subscriptions.is_empty());
    store.sweep(NOW).await.unwrap();
    store.commit(Batch::default()).await.unwrap();
}

/// One test for each rule of the battery; `$backend` creates an empty backend.
macro_rules! battery {
    ($backend:expr) => {
        $crate::store::conformance::battery! { $backend =>
            a_written_record_is_read_back_also_after_reopening
            a_record_replaces_only_the_revision_that_it_names
            a_batch_happens_whole_or_not_at_all
            of_many_writers_that_read_the_same_one_wins
            a_batch_fails_if_a_record_that_it_expects_has_changed
            a_record_without_its_parent_is_not_written
            lists_are_sorted_filtered_and_in_pages
            an_assertion_is_marked_once_also_after_reopening
            an_answer_is_kept_under_its_key_and_not_replaced
            sweep_drops_expired_tokens_only
            the_last_use_of_a_key_only_moves_forward
            counts_of_limits_replace_those_before_also_after_reopening
            the_digest_scheme_replaces_the_one_before_also_after_reopening
            a_probe_is_a_write_that_leaves_nothing
            reading_in_parts_returns_every_record_once_and_unchanged
            events_are_a_chain_in_the_order_of_their_writing
            events_are_filtered_by_every_field
            an_empty_store_has_a_whole_chain
        }
    };
    ($backend:expr => $($rule:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::store::conformance::$rule(&$backend).await;
            }
        )+
    };
}
pub(crate) use battery;
