use super::*;
use crate::model::api_key::CredentialDigest;
use crate::model::grace::Grace;
use crate::model::id::ClientId;
use crate::model::subscription::SubscriptionState;
use crate::store::Revision;
use crate::store::Versioned;
use crate::store::conformance::NOW;
use crate::store::conformance::batch;
use crate::store::conformance::client;
use crate::store::conformance::event;
use crate::store::conformance::key;
use crate::store::conformance::key_id;
use crate::store::conformance::later;
use crate::store::conformance::with_organizations;
use crate::store::record::ApiKeyChange;
use crate::store::record::ApiKeyRecord;
use crate::store::record::ClientRecord;
use crate::store::record::IssuedTokens;
use crate::store::record::NewClient;
use crate::store::record::RevokedTokenRecord;
use crate::store::record::client::ClientAuthentication;
use crate::store::record::client::ClientKey;
use crate::store::record::client::ClientSecret;
use crate::store::record::client::ClientState;
use crate::store::record::client::TokenFormat;
use crate::store::record::client::TokenTtl;
use crate::store::sqlite::SqliteStore;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn log_path(folder: &TempDir) -> PathBuf {
    folder.path().join("keygate.db.revocations")
}

fn open(folder: &TempDir) -> RevocationLog {
    RevocationLog::open(&log_path(folder), NOW).unwrap()
}

/// Opens the store `name` in `folder`, or creates it.
async fn open_store(folder: &TempDir, name: &str) -> SqliteStore {
    SqliteStore::open(&folder.path().join(name)).await.unwrap()
}

fn text(folder: &TempDir) -> String {
    std::fs::read_to_string(log_path(folder)).unwrap()
}

/// Returns `record` as a write that replaces the first revision.
fn replacing<T>(record: T) -> Versioned<T> {
    Versioned {
        record,
        revision: Revision(1),
    }
}

fn with_keys(id: &str) -> ClientRecord {
    let fields = NewClient {
        id: id.parse().unwrap(),
        organization: "acme".parse().unwrap(),
        subscription: "sub_acme".parse().unwrap(),
        environment: crate::model::api_key::ApiKeyEnvironment::Live,
        name: "nightly".to_owned(),
        description: String::new(),
        authentication: ClientAuthentication::Keys {
            keys: vec![client_key("kid_1"), client_key("kid_2")],
        },
        scopes: "a".parse().unwrap(),
        token_ttl: TokenTtl::Hour,
        token_format: TokenFormat::Jwt,
    };
    ClientRecord::new(fields, NOW)
}

fn client_key(kid: &str) -> ClientKey {
    ClientKey {
        kid: kid.to_owned(),
        public_pem: String::new(),
        algorithms: Vec::new(),
        generated: false,
        created_at: NOW,
        revoked_at: None,
    }
}

/// Applies `log` to `contents` of `store`, with each record as a part of its own.
async fn reconcile(
    log: &RevocationLog,
    store: &dyn Store,
    contents: &mut Contents,
    now: Timestamp,
) -> ReconciliationReport {
    let mut reconciliation = log.reconcile(now);
    let whole = std::mem::take(contents);
    let mut part = |mut part: Contents| {
        reconciliation.apply(&mut part);
        contents.extend(part);
    };
    macro_rules! parts {
        ($($kind:ident),+) => {
            $(for record in whole.$kind {
                part(Contents { $kind: vec![record], ..Contents::default() });
            })+
        };
    }
    parts!(revoked_tokens, subscriptions, api_keys, clients, opaque_tokens);
    let (report, forgotten) = reconciliation.settle(store).await.unwrap();
    contents.revoked_tokens.extend(forgotten);
    report
}

/// Fills a store with keys 1 to 3, three clients with a secret each, and a client with keys.
async fn fill(store: &dyn Store) {
    with_organizations(store).await;
    let mut writes: Vec<Write> = (1..=3)
        .map(|number| Write::ApiKey(Versioned::new(key(number, "acme"))))
        .collect();
    for id in ["secret", "deleted", "untouched"] {
        writes.push(Write::Client(Versioned::new(client(id, "acme"))));
    }
    writes.push(Write::Client(Versioned::new(with_keys("keys"))));
    store.commit(batch(writes)).await.unwrap();
}

/// Returns the writes that revoke records of [`fill`].
fn revocations() -> Vec<Write> {
    let digest = CredentialDigest::sha256("second");
    let other = crate::store::conformance::subscription("other");
    vec![
        Write::ApiKey(replacing(key(1, "acme").revoke(later(10)).unwrap())),
        Write::ApiKey(replacing(ApiKeyRecord {
            revoked_at: Some(later(3_600)),
            ..key(2, "acme")
        })),
        Write::Subscription(replacing(other.cancel(later(10)).unwrap())),
        Write::Client(replacing(
            client("secret", "acme")
                .rotate_secret(ClientSecret::new(digest, later(10)), Grace::NONE, later(10))
                .unwrap(),
        )),
        Write::Client(replacing(
            client("deleted", "acme").delete(IssuedTokens::End, later(10)).unwrap(),
        )),
        Write::Client(replacing(
            with_keys("keys")
                .revoke_key("kid_1", IssuedTokens::End, later(10))
                .unwrap(),
        )),
        Write::RevokedToken(RevokedTokenRecord {
            id: "jti".to_owned(),
            expires_at: later(600),
        }),
    ]
}

fn find_client<'a>(contents: &'a Contents, id: &str) -> &'a ClientRecord {
    let found = contents.clients.iter().find(|client| client.record.id.as_str() == id);
    &found.unwrap().record
}

fn find_key(contents: &Contents, number: u32) -> &ApiKeyRecord {
    let found = contents.api_keys.iter().find(|key| key.record.id == key_id(number));
    &found.unwrap().record
}

/// Checks that `contents` has all of [`revocations`], and nothing else is revoked.
fn check_revoked(contents: &Contents) {
    assert_eq!(find_key(contents, 1).revoked_at, Some(later(10)));
    assert_eq!(
        find_key(contents, 2).revoked_at,
        Some(later(3_600)),
        "the end of a grace"
    );
    assert_eq!(find_key(contents, 3).revoked_at, None);
    let states: Vec<SubscriptionState> = contents.subscriptions.iter().map(|found| found.record.state).collect();
    assert_eq!(states, [SubscriptionState::Active, SubscriptionState::Cancelled]);
    let secret = find_client(contents, "secret");
    let ClientAuthentication::ClientSecret { secrets } = &secret.authentication else {
        panic!("no secrets");
    };
    assert_eq!(secrets.len(), 1);
    assert_eq!(
        secrets[0].ends_at,
        Some(later(10)),
        "the secret before the rotation ended with it"
    );
    assert_eq!((secret.state, secret.tokens_not_before), (ClientState::Active, None));
    let deleted = find_client(contents, "deleted");
    assert_eq!(
        (deleted.state, deleted.tokens_not_before),
        (ClientState::Deleted, Some(later(10)))
    );
    let keys = find_client(contents, "keys");
    assert_eq!(keys.tokens_not_before, Some(later(10)));
    let ClientAuthentication::Keys { keys } = &keys.authentication else {
        panic!("no keys");
    };
    assert_eq!(keys[0].revoked_at, Some(later(10)));
    assert_eq!(keys[1].revoked_at, None);
    assert_eq!(find_client(contents, "untouched"), &client("untouched", "acme"));
    assert_eq!(contents.revoked_tokens.len(), 1);
}

#[tokio::test]
async fn s078_revocations_hold_when_an_older_database_is_restored() {
    let folder = TempDir::new().unwrap();
    let (database, backup) = (folder.path().join("keygate.db"), folder.path().join("backup.db"));
    let store = SqliteStore::open(&database).await.unwrap();
    fill(&store).await;
    let event_before = Batch {
        event: Some(event("key.create", "1")),
        ..Batch::default()
    };
    store.commit(event_before).await.unwrap();
    store.backup(&backup).await.unwrap();
    let log = open(&folder);
    let batch = Batch {
        writes: revocations(),
        event: Some(event("all.revoke", "1")),
        ..Batch::default()
    };
    store.commit(batch).await.unwrap();
    log.append_writes(&revocations()).await.unwrap();
    log.record_audit_head(&store).await.unwrap();
    store.close().await;
    drop(log);

    std::fs::rename(&backup, &database).unwrap();
    let store = SqliteStore::open(&database).await.unwrap();
    let log = open(&folder);
    // A query alone reports the missing event.
    let state = log.verify_audit(&store).await.unwrap();
    assert!(matches!(state, ChainState::Broken { sequence: 2, .. }), "{state:?}");
    let mut contents = store.contents().await.unwrap();
    assert_eq!(find_key(&contents, 1).revoked_at, None, "as it was");
    let report = reconcile(&log, &store, &mut contents, later(20)).await;
    assert_eq!(
        report,
        ReconciliationReport {
            records: 7,
            events_missing: 1,
        }
    );
    check_revoked(&contents);
    // The store has the same, so that the next change of a record builds on it.
    let stored = store.contents().await.unwrap();
    check_revoked(&stored);
    let revisions = |contents: &Contents| {
        contents
            .clients
            .iter()
            .map(|client| client.revision)
            .collect::<Vec<_>>()
    };
    assert_eq!(revisions(&contents), revisions(&stored));
    // The event is in the audit log.
    let events = store.audit(&AuditFilter::default(), 10).await.unwrap();
    assert_eq!(
        (events[0].action.as_str(), events[0].actor.as_str()),
        ("store.restored", "gate")
    );
    assert_eq!(
        events[0].details,
        serde_json::json!({
            "revoked_again": 7,
            "ids": ["sub_other", key_id(1).as_str(), key_id(2).as_str(), "secret", "deleted", "keys", "jti"],
            "events_missing": 1,
        })
    );
    assert!(matches!(
        log.verify_audit(&store).await.unwrap(),
        ChainState::Whole { events: 2, .. }
    ));
    // A second reconciliation finds nothing to do.
    let mut contents = store.contents().await.unwrap();
    assert_eq!(
        reconcile(&log, &store, &mut contents, later(30)).await,
        ReconciliationReport::default()
    );
    store.close().await;
}

#[tokio::test]
async fn a_store_that_forgot_nothing_is_left_as_it_is() {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    store.commit(batch(revocations())).await.unwrap();
    let log = open(&folder);
    let before = store.contents().await.unwrap();
    let mut contents = before.clone();
    assert_eq!(
        reconcile(&log, &store, &mut contents, later(20)).await,
        ReconciliationReport::default()
    );
    assert_eq!(contents.clients, before.clients);
    assert_eq!(contents.api_keys, before.api_keys);
    // A new log learns the revocations of the store; a second run adds nothing.
    let learned = text(&folder);
    assert_eq!(learned.lines().count(), 9, "{learned}");
    reconcile(&log, &store, &mut contents, later(20)).await;
    assert_eq!(text(&folder), learned);
    // It then applies them to a store that lacks them.
    let older = open_store(&folder, "older.db").await;
    fill(&older).await;
    let mut contents = older.contents().await.unwrap();
    let report = reconcile(&open(&folder), &older, &mut contents, later(20)).await;
    assert_eq!(report.records, 7);
    check_revoked(&contents);
}

#[tokio::test]
async fn revocations_are_written_before_the_answer_to_a_private_file() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder);
    let mode = std::fs::metadata(log_path(&folder)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    log.append_writes(&[Write::ApiKey(Versioned::new(key(1, "acme")))])
        .await
        .unwrap();
    assert_eq!(text(&folder), "", "a key that is made is not revoked");
    log.append_writes(&revocations()).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 9);
    // A later change of the same client adds no entry.
    let renamed = ClientRecord {
        changed_at: later(11),
        ..with_keys("keys")
            .revoke_key("kid_1", IssuedTokens::End, later(10))
            .unwrap()
    };
    log.append_writes(&[Write::Client(replacing(renamed))]).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 9);
}

#[tokio::test]
async fn s064_the_log_holds_ids_and_no_digest() {
    let folder = TempDir::new().unwrap();
    open(&folder).append_writes(&revocations()).await.unwrap();
    let text = text(&folder);
    for secret in ["1", "2", "secret", "deleted", "second"] {
        assert!(!text.contains(&CredentialDigest::sha256(secret).to_hex()));
    }
}

#[tokio::test]
async fn concurrent_revocations_are_all_written() {
    let folder = TempDir::new().unwrap();
    let log = Arc::new(open(&folder));
    let noted = (0..200).map(|number| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let revoked = key(number, "acme").revoke(NOW).unwrap();
            log.append_writes(&[Write::ApiKey(replacing(revoked))]).await.unwrap();
        })
    });
    for noted in noted.collect::<Vec<_>>() {
        noted.await.unwrap();
    }
    assert_eq!(text(&folder).lines().count(), 200);
    assert_eq!(open(&folder).len(), 200);
}

#[tokio::test]
async fn half_a_line_at_the_end_is_dropped_and_anything_else_that_is_no_entry_is_not() {
    let folder = TempDir::new().unwrap();
    open(&folder).append_writes(&revocations()).await.unwrap();
    let whole = text(&folder);
    let last = whole.trim_end().rfind('\n').unwrap() + 1;
    for cut in [last, last + 1, whole.len() - 1] {
        std::fs::write(log_path(&folder), &whole[..cut]).unwrap();
        let log = open(&folder);
        assert_eq!(log.len(), 8, "cut at {cut}");
        // The next line does not continue the partial one.
        log.append_writes(&revocations()[6..]).await.unwrap();
        assert_eq!(text(&folder), whole);
    }
    for bad in [
        "{\"key\":",
        "\u{0}\u{0}",
        "{\"later_kind\":{\"id\":\"1\"}}",
        "{\"subscription\":{\"id\":\"1\",\"x\":1}}",
        "",
    ] {
        std::fs::write(log_path(&folder), format!("{bad}\n{whole}")).unwrap();
        let refused = RevocationLog::open(&log_path(&folder), NOW);
        let Err(StoreError::Unreadable { what, .. }) = refused else {
            panic!("{bad}: {refused:?}");
        };
        assert!(what.starts_with("line 1 of "), "{what}");
    }
}

#[tokio::test]
async fn a_revocation_is_never_taken_back() {
    let log = RevocationLog::default();
    let at = async |at: Timestamp| {
        let revoked = ApiKeyRecord {
            revoked_at: Some(at),
            ..key(1, "acme")
        };
        log.append_writes(&[Write::ApiKey(replacing(revoked))]).await.unwrap();
    };
    at(later(100)).await;
    at(later(10)).await;
    at(later(50)).await;
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    let mut contents = store.contents().await.unwrap();
    reconcile(&log, &store, &mut contents, NOW).await;
    assert_eq!(find_key(&contents, 1).revoked_at, Some(later(10)));
}

#[tokio::test]
async fn s078_a_key_that_was_to_live_longer_stays_revoked_when_an_older_database_is_restored() {
    let shortened = ApiKeyChange {
        expires_at: Some(Some(later(100))),
        ..ApiKeyChange::default()
    };
    let shortened = key(1, "acme").change(shortened, NOW).unwrap();
    assert!(
        key(1, "acme").expires_at > Some(later(1_000)),
        "the backup has a later expiry"
    );
    for through_memory in [false, true] {
        let folder = TempDir::new().unwrap();
        let store = open_store(&folder, "keygate.db").await;
        fill(&store).await;
        let log = open(&folder);
        let written = Write::ApiKey(replacing(shortened.clone()));
        store.commit(batch(vec![written])).await.unwrap();
        if through_memory {
            let (_, event) = revocation(1);
            let revocation = Revocation::ApiKey {
                id: key_id(1),
                at: later(10),
                expires_at: Some(later(100)),
            };
            log.hold(log.note(&revocation, event)).await.unwrap();
            write_pending(&log, &store).await.unwrap();
        } else {
            let revoked = Versioned {
                record: shortened.clone().revoke(later(10)).unwrap(),
                revision: Revision(2),
            };
            log.append_writes(&[Write::ApiKey(revoked)]).await.unwrap();
        }
        // Both in this process and after a restart.
        log.sweep(later(1_000)).await.unwrap();
        drop(log);
        let log = RevocationLog::open(&log_path(&folder), later(1_000)).unwrap();
        let older = open_store(&folder, "older.db").await;
        fill(&older).await;
        let mut contents = older.contents().await.unwrap();
        reconcile(&log, &older, &mut contents, later(1_000)).await;
        assert_eq!(find_key(&contents, 1).revoked_at, Some(later(10)), "{through_memory}");
    }
}

#[tokio::test]
async fn expired_entries_are_dropped_when_they_are_most_of_the_file() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder);
    let tokens = |range: std::ops::Range<u32>, end: u64| -> Vec<Write> {
        range
            .map(|number| {
                Write::RevokedToken(RevokedTokenRecord {
                    id: number.to_string(),
                    expires_at: later(end),
                })
            })
            .collect()
    };
    log.append_writes(&revocations()).await.unwrap();
    log.append_writes(&tokens(0..2_000, 60)).await.unwrap();
    log.sweep(later(59)).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 2_009);
    log.sweep(later(60)).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 9);
    let mode = std::fs::metadata(log_path(&folder)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Appending continues in the new file.
    log.append_writes(&tokens(0..1, 600)).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 10);
    drop(log);
    let log = open(&folder);
    assert_eq!(log.len(), 10);
    // The entries of expired keys and tokens are gone. The others never expire.
    log.sweep(later(86_400 * 3)).await.unwrap();
    assert_eq!(log.len(), 4, "a subscription, a client, its secrets, a client's key");
}

#[tokio::test]
async fn the_error_for_a_log_that_does_not_open_names_the_log() {
    let folder = TempDir::new().unwrap();
    let refused = RevocationLog::open(&folder.path().join("nowhere/log"), NOW);
    assert!(matches!(refused, Err(StoreError::Unavailable(text)) if text.contains("nowhere/log")));
}

#[tokio::test]
async fn s154_a_chain_that_was_shortened_or_written_anew_with_its_head_is_noticed() {
    let append = async |store: &SqliteStore, target: &str| {
        let batch = Batch {
            event: Some(event("client.create", target)),
            ..Batch::default()
        };
        store.commit(batch).await.unwrap();
    };
    let folder = TempDir::new().unwrap();
    let shorter = open_store(&folder, "shorter.db").await;
    let other = open_store(&folder, "other.db").await;
    let store = open_store(&folder, "keygate.db").await;
    let log = RevocationLog::default();
    for target in ["1", "2", "3"] {
        append(&store, target).await;
        log.record_audit_head(&store).await.unwrap();
        append(&other, if target == "2" { "x" } else { target }).await;
    }
    append(&shorter, "1").await;
    assert!(matches!(
        log.verify_audit(&store).await.unwrap(),
        ChainState::Whole { events: 3, .. }
    ));
    append(&store, "4").await;
    append(&other, "4").await;
    assert!(matches!(
        log.verify_audit(&store).await.unwrap(),
        ChainState::Whole { events: 4, .. }
    ));
    for (forged, expected) in [(&shorter, 2), (&other, 3)] {
        // Each chain is intact in itself.
        assert!(matches!(forged.verify_audit().await.unwrap(), ChainState::Whole { .. }));
        match log.verify_audit(forged).await.unwrap() {
            ChainState::Broken { sequence, .. } => assert_eq!(sequence, expected),
            whole @ ChainState::Whole { .. } => panic!("{whole:?}"),
        }
    }
}

#[tokio::test]
async fn a_new_client_adds_no_entry() {
    let id: ClientId = "client_9".parse().unwrap();
    let (old, new) = client("secret", "acme")
        .regenerate(
            id,
            ClientSecret::new(CredentialDigest::sha256("x"), later(10)),
            IssuedTokens::Stay,
            later(10),
        )
        .unwrap();
    let log = RevocationLog::default();
    log.append_writes(&[Write::Client(replacing(old)), Write::Client(Versioned::new(new))])
        .await
        .unwrap();
    assert_eq!(log.len(), 1, "the old one is deleted");
}

/// Moves the database of `store` away, so that its writes fail, and returns its path and the other one.
fn unplug(folder: &TempDir) -> (PathBuf, PathBuf) {
    let paths = (folder.path().join("keygate.db"), folder.path().join("away.db"));
    std::fs::rename(&paths.0, &paths.1).unwrap();
    paths
}

fn revocation(number: u32) -> (Revocation, NewAuditEvent) {
    let revocation = Revocation::ApiKey {
        id: key_id(number),
        at: later(10),
        expires_at: None,
    };
    (revocation, event("api_key.revoke", key_id(number).as_str()))
}

async fn write_pending(log: &RevocationLog, store: &dyn Store) -> Result<usize, StoreError> {
    let mut written = 0;
    log.write_pending(store, later(20), &mut |writes| written += writes.len())
        .await?;
    Ok(written)
}

#[tokio::test]
async fn a_revocation_that_the_store_could_not_take_is_written_with_its_event_once_it_can() {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    let log = open(&folder);
    let (database, away) = unplug(&folder);
    let (key, event) = revocation(1);
    assert_eq!(log.hold(log.note(&key, event)).await.unwrap(), Durability::Log);
    let ended = client("deleted", "acme").delete(IssuedTokens::End, later(10)).unwrap();
    let deleted = Revocation::Client(Box::new(replacing(ended)));
    let target = self::event("client.delete", "deleted");
    assert_eq!(log.hold(log.note(&deleted, target)).await.unwrap(), Durability::Log);
    assert_eq!(log.backlog().in_log, 2);
    let failed = write_pending(&log, &store).await;
    assert!(
        matches!(&failed, Err(StoreError::Unavailable(text)) if text.contains("keygate.db")),
        "{failed:?}"
    );
    assert_eq!(log.backlog().pending(), 2);
    // A change of the client that was made meanwhile does not take the revocation back.
    let stored = Versioned {
        record: client("deleted", "acme"),
        revision: Revision(1),
    };
    assert_eq!(
        log.amend_client(stored.clone(), later(11)).record.state,
        ClientState::Deleted
    );
    std::fs::rename(away, database).unwrap();
    assert_eq!(write_pending(&log, &store).await.unwrap(), 2);
    assert_eq!(log.backlog(), BacklogCounts::default());
    let contents = store.contents().await.unwrap();
    assert_eq!(find_key(&contents, 1).revoked_at, Some(later(10)));
    let record = &contents
        .clients
        .iter()
        .find(|found| found.record.id == stored.record.id)
        .unwrap()
        .record;
    assert_eq!(
        (record.state, record.tokens_not_before),
        (ClientState::Deleted, Some(later(10)))
    );
    let events = store.audit(&AuditFilter::default(), 10).await.unwrap();
    let actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions[..2], ["client.delete", "api_key.revoke"]);
}

#[tokio::test]
async fn a_revocation_is_in_memory_alone_until_the_log_can_be_written() {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    let place = folder.path().join("log");
    std::fs::create_dir(&place).unwrap();
    let path = place.join("keygate.db.revocations");
    let log = RevocationLog::open(&path, NOW).unwrap();
    log.append_writes(&revocations()).await.unwrap();
    let (database, away) = unplug(&folder);
    std::fs::rename(&place, folder.path().join("gone")).unwrap();
    let (key, event) = revocation(3);
    assert_eq!(log.hold(log.note(&key, event)).await.unwrap(), Durability::Memory);
    let counts = log.backlog();
    assert_eq!((counts.in_memory, counts.unlogged), (1, 1));
    // Another folder: the log writes all that it has, not only the newest.
    std::fs::create_dir(&place).unwrap();
    write_pending(&log, &store).await.unwrap_err();
    let counts = log.backlog();
    assert_eq!((counts.in_log, counts.in_memory, counts.unlogged), (1, 0, 0));
    let known = RevocationLog::open(&path, NOW).unwrap();
    assert_eq!(known.len(), 10);
    std::fs::rename(away, database).unwrap();
    write_pending(&log, &store).await.unwrap();
    assert_eq!(log.backlog(), BacklogCounts::default());
}

#[tokio::test]
async fn a_revocation_that_the_store_has_made_late_has_one_event() {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    let log = open(&folder);
    let (key, event) = revocation(1);
    let late = Batch {
        writes: vec![Write::ApiKey(replacing(
            self::key(1, "acme").revoke(later(10)).unwrap(),
        ))],
        event: Some(event.clone()),
        ..Batch::default()
    };
    log.hold(log.note(&key, event)).await.unwrap();
    store.commit(late).await.unwrap();
    assert_eq!(write_pending(&log, &store).await.unwrap(), 0);
    assert_eq!(log.backlog(), BacklogCounts::default());
    let filter = AuditFilter {
        action: Some("api_key.revoke".to_owned()),
        ..AuditFilter::default()
    };
    assert_eq!(store.audit(&filter, 10).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_does_not_wait_for_a_log_that_hangs() {
    let (file, _disk) = LogFile::that_hangs();
    let log = RevocationLog {
        file: Some(file),
        ..RevocationLog::default()
    };
    let (key, event) = revocation(1);
    assert_eq!(log.hold(log.note(&key, event)).await.unwrap(), Durability::Memory);
    assert_eq!(log.backlog().unlogged, 1);
    // An attempt that is given up loses nothing either.
    let attempt = log.write_unlogged();
    tokio::time::timeout(Duration::from_secs(1), attempt).await.unwrap_err();
    assert_eq!(log.backlog().unlogged, 1);
}

#[tokio::test]
async fn a_log_that_is_deleted_is_written_anew_with_the_next_revocation() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder);
    log.append_writes(&revocations()).await.unwrap();
    std::fs::remove_file(log_path(&folder)).unwrap();
    let revoked = key(3, "acme").revoke(NOW).unwrap();
    log.append_writes(&[Write::ApiKey(replacing(revoked))]).await.unwrap();
    assert_eq!(text(&folder).lines().count(), 10);
    assert_eq!(log.backlog(), BacklogCounts::default());
}

#[tokio::test]
async fn a_process_that_ends_takes_no_revocation_that_only_it_would_know() {
    let folder = TempDir::new().unwrap();
    let log = open(&folder);
    log.require_log();
    let (key, event) = revocation(1);
    assert_eq!(log.hold(log.note(&key, event)).await.unwrap(), Durability::Log);
    let without_file = RevocationLog::default();
    without_file.require_log();
    let (key, event) = revocation(1);
    let refused = without_file.hold(without_file.note(&key, event)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(without_file.backlog().pending(), 0);
}

#[tokio::test]
async fn an_older_store_that_cannot_be_written_gets_its_revocations_later() {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder, "keygate.db").await;
    fill(&store).await;
    let log = open(&folder);
    log.append_writes(&revocations()).await.unwrap();
    let mut contents = store.contents().await.unwrap();
    let (database, away) = unplug(&folder);
    reconcile(&log, &store, &mut contents, later(20)).await;
    // In force from the start, although the store does not have it.
    check_revoked(&contents);
    assert_eq!(log.backlog().in_log, 1);
    std::fs::rename(away, database).unwrap();
    assert!(write_pending(&log, &store).await.unwrap() > 0);
    check_revoked(&store.contents().await.unwrap());
    let events = store.audit(&AuditFilter::default(), 10).await.unwrap();
    assert_eq!(events[0].action, "store.restored");
}
